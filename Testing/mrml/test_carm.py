"""A view in words of the clinic: angles, distances and spacing against cameras worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs slicer-core==5.12.*")

from DeepReg2D3DLib.mrml.carm import (
    angles_of,
    assumed_camera,
    camera_with_numbers,
    carm_frame,
    numbers_from_camera,
    summary,
)


def camera(lateral=False, size=(320, 240), spacing=0.8):
    return assumed_camera(*size, "AP", lateral, spacing)


def at_isocenter(view):
    """Where the world's origin is seen, pixels."""
    p = view.intrinsics @ (view.world_to_camera @ np.array([0.0, 0.0, 0.0, 1.0]))[:3]
    return p[:2] / p[2]


@pytest.mark.parametrize(
    ("a", "b", "d"),
    [
        (0, 0, (0, -1, 0)),  # detector in front of the patient
        (90, 0, (1, 0, 0)),  # LAO 90: detector at the patient's left
        (-90, 0, (-1, 0, 0)),
        (180, 0, (0, 1, 0)),
        (0, 90, (0, 0, 1)),  # cranial
        (45, 0, (np.sqrt(0.5), -np.sqrt(0.5), 0)),
    ],
)
def test_detector_direction(a, b, d):
    frame = carm_frame(a, b)
    assert frame[:, 2] == pytest.approx(d, abs=1e-12)
    assert frame.T @ frame == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(frame) == pytest.approx(1.0)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (30, -20), (-120, 45), (179, 80)])
def test_angles_come_back(a, b):
    assert angles_of(carm_frame(a, b)[:, 2]) == pytest.approx((a, b), abs=1e-9)


def test_numbers_of_a_usual_frontal_view():
    numbers = numbers_from_camera(camera())
    assert numbers.source_to_detector == pytest.approx(1000.0)
    assert numbers.source_to_isocenter == pytest.approx(700.0)
    assert numbers.pixel_spacing == pytest.approx((0.8, 0.8))
    assert numbers.principal_point == pytest.approx((159.5, 119.5))
    # Source in front of the patient, detector behind: a C-arm turned half round.
    assert abs(numbers.primary_deg) == pytest.approx(180.0)
    assert numbers.secondary_deg == pytest.approx(0.0)
    assert not numbers.mirrored


def test_lateral_view_looks_from_the_left():
    view = camera(lateral=True)
    source = -view.world_to_camera[:3, :3].T @ view.world_to_camera[:3, 3]
    assert source == pytest.approx((700.0, 0.0, 0.0))  # LPS: +x is the patient's left


def test_the_same_numbers_change_nothing():
    view = camera()
    same = camera_with_numbers(view, numbers_from_camera(view))
    assert same.world_to_camera == pytest.approx(view.world_to_camera, abs=1e-9)
    assert same.intrinsics == pytest.approx(view.intrinsics, abs=1e-9)


def changed(view, **values):
    from dataclasses import replace

    return camera_with_numbers(view, replace(numbers_from_camera(view), **values))


def test_turning_keeps_the_isocenter_in_place():
    turned = changed(camera(), primary_deg=150.0, secondary_deg=20.0)
    numbers = numbers_from_camera(turned)
    assert (numbers.primary_deg, numbers.secondary_deg) == pytest.approx((150.0, 20.0))
    assert numbers.source_to_isocenter == pytest.approx(700.0)
    assert at_isocenter(turned) == pytest.approx((159.5, 119.5))
    rotation = turned.world_to_camera[:3, :3]
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_turning_by_90_degrees_gives_the_lateral_view():
    # From the source in front (180) to the source at the left: the detector goes to the right (-90).
    turned = changed(camera(), primary_deg=-90.0)
    assert turned.world_to_camera == pytest.approx(camera(lateral=True).world_to_camera, abs=1e-9)


def test_distance_and_spacing_set_the_magnification():
    far = changed(camera(), source_to_detector=1500.0, pixel_spacing=(0.5, 0.25))
    assert far.intrinsics[0, 0] == pytest.approx(3000.0)
    assert far.intrinsics[1, 1] == pytest.approx(6000.0)
    near = changed(camera(), source_to_isocenter=500.0)
    assert near.world_to_camera[2, 3] == pytest.approx(500.0)


def test_mirroring_flips_the_columns_alone():
    plain, mirrored = camera(), changed(camera(), mirrored=True)
    point = np.array([10.0, 0.0, 5.0, 1.0])

    def seen(view):
        p = view.intrinsics @ (view.world_to_camera @ point)[:3]
        return p[:2] / p[2]

    u, v = seen(plain)
    um, vm = seen(mirrored)
    assert vm == pytest.approx(v)
    assert um - 159.5 == pytest.approx(-(u - 159.5))
    assert np.linalg.det(mirrored.world_to_camera[:3, :3]) == pytest.approx(1.0)


def test_summary_is_one_line():
    text = summary(numbers_from_camera(camera()))
    assert "SDD 1000 mm" in text and "0.8 mm/px" in text and "\n" not in text
