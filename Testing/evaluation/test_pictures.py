"""Outlines lie where the edges are; pictures show the pose they say."""

import numpy as np
import pytest
import torch
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.xray import XRay
from DeepReg2D3DLib.evaluation.edges import edge_opacity
from DeepReg2D3DLib.evaluation.overlay import (
    START_COLOUR,
    ViewPicture,
    bone_renderer,
    footprint,
    grey_levels,
    side_by_side,
    stacked,
    titled,
)
from DeepReg2D3DLib.evaluation.result_pictures import file_labels, write_pictures
from PIL import Image
from small_case import AP, TRUTH, camera, small_volume, start_pose


@pytest.fixture(scope="module")
def xray() -> XRay:
    view = camera("AP", AP)
    renderer = DrrRenderer.from_volume(small_volume())
    image = renderer(view.ct_to_camera(TRUTH)[None], view.intrinsics, view.size)
    return XRay(image.float(), torch.ones_like(image, dtype=torch.bool), view, "AP")


def disc(rows=80, columns=100, centre=(38.0, 55.0), radius=20.0) -> np.ndarray:
    """A soft-edged disc."""
    v, u = np.mgrid[0:rows, 0:columns]
    distance = np.hypot(v - centre[0], u - centre[1])
    return (1 / (1 + np.exp((distance - radius) / 1.0))).astype(np.float32)


def test_the_outline_of_a_disc_is_its_circle():
    opacity = edge_opacity(disc(), np.ones((80, 100), bool))
    v, u = np.nonzero(opacity > 0.3)
    distance = np.hypot(v - 38.0, u - 55.0)
    assert len(v) > 100
    assert np.abs(distance - 20).max() < 1.3 and abs(distance.mean() - 20) < 0.15
    # Closed all around, thin, and anti-aliased.
    angles = np.sort(np.arctan2(v - 38.0, u - 55.0))
    assert np.diff(angles).max() < 0.15
    assert opacity.sum() < 1.7 * 2 * np.pi * 20
    assert ((opacity > 0) & (opacity < 1)).any()


def test_outlines_stay_inside_the_field_shown():
    shown = np.ones((80, 100), bool)
    shown[:, :55] = False
    opacity = edge_opacity(disc(), shown)
    assert opacity[:, 55:].max() > 0.5 and opacity[:, :55].max() == 0


def test_empty_flat_and_tiny_images_have_no_outlines():
    everywhere = np.ones((80, 100), bool)
    assert edge_opacity(np.zeros((80, 100), np.float32), everywhere).max() == 0
    assert edge_opacity(disc(), ~everywhere).max() == 0
    assert edge_opacity(np.ones((4, 4), np.float32), np.ones((4, 4), bool)).shape == (4, 4)


def test_grey_levels_are_bright_for_bone_and_black_outside_the_field():
    mask = np.ones((80, 100), bool)
    mask[:10] = False
    grey = grey_levels(disc() * 2 + 1, mask)
    assert grey.min() == 0 and grey.max() == 1 and (grey[:10] == 0).all()
    assert grey[38, 55] > grey[70, 10] + 0.3
    assert (grey_levels(disc(), np.zeros_like(mask)) == 0).all()


def test_the_cut_holds_the_ct_at_every_pose(xray):
    renderer = bone_renderer(small_volume())
    near = footprint(renderer, xray.camera, [TRUTH])
    moved = TRUTH.clone()
    moved[0, 3] += 30
    both = footprint(renderer, xray.camera, [TRUTH, moved])
    assert both[0] <= near[0] and both[0] + both[2] >= near[0] + near[2]
    away = TRUTH.clone()
    away[0, 3] += 5000
    assert footprint(renderer, xray.camera, [away]) == (0, 0, 128, 112)


def test_outlines_follow_the_pose(xray):
    volume = small_volume()
    renderer = bone_renderer(volume)
    cut = footprint(renderer, xray.camera, [TRUTH])
    view = ViewPicture(renderer, xray, cut, 256)
    at_truth, beside = view.outlines(TRUTH), view.outlines(start_pose(12.0))
    # The bones' edges in the X-ray are steep where the outlines of the true pose lie, and not where the others do.
    slope = np.hypot(*np.gradient(view.grey))
    assert slope[at_truth > 0.5].mean() > 1.5 * slope[beside > 0.5].mean()
    picture = np.asarray(view.drawn(TRUTH, START_COLOUR)).astype(int)
    coloured = picture[..., 0] - picture[..., 2] > 60
    assert (coloured == (at_truth > 0.45)).mean() > 0.97


def test_a_large_ct_is_coarsened_and_a_soft_one_rendered_whole():
    volume = small_volume()
    view = camera("AP", AP)

    def drawn(renderer) -> torch.Tensor:
        return renderer(view.ct_to_camera(TRUTH)[None], view.intrinsics, view.size)[0, 0]

    fine, coarse = drawn(bone_renderer(volume)), drawn(bone_renderer(volume, 20_000))
    assert not torch.allclose(fine, coarse, atol=1e-3)
    assert float(coarse.mean()) == pytest.approx(float(fine.mean()), rel=0.03)
    whole = drawn(DrrRenderer.from_volume(volume))
    assert float(fine.max()) < 0.6 * float(whole.max())
    soft = type(volume)(volume.hu.clamp(max=50), volume.ijk_to_ct)
    soft_whole = drawn(DrrRenderer.from_volume(soft))
    assert float(drawn(bone_renderer(soft)).max()) == pytest.approx(float(soft_whole.max()), rel=0.05)


def test_pictures_are_put_together_without_overlap():
    red, blue = Image.new("RGB", (20, 30), (255, 0, 0)), Image.new("RGB", (10, 5), (0, 0, 255))
    row, column = side_by_side([red, blue], 4), stacked([red, blue], 4)
    assert row.size == (34, 30) and row.getpixel((24, 0)) == (0, 0, 255)
    assert column.size == (20, 39) and column.getpixel((0, 34)) == (0, 0, 255)
    framed = titled(red, "a title that is far too long for so narrow a picture")
    assert framed.size == (20, 76) and framed.getpixel((0, 26)) == (255, 0, 0)


def test_view_names_become_safe_and_different_file_names():
    assert file_labels(["AP", "../LAT 2", "ap", "", "Rück:seite"]) == ["AP", "LAT_2", "ap_3", "view4", "Rück_seite"]


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_any_number_of_iterations_can_be_drawn(xray, tmp_path, steps):
    poses = [start_pose(8.0 / (index + 1)) for index in range(steps)]
    written = write_pictures(tmp_path, small_volume(), [xray], poses, "unreliable")
    assert [path.name for path in written] == [
        "overlay_AP_before.png",
        "overlay_AP_after.png",
        "overview.png",
        "iterations.gif",
    ]
    for path in written:
        with Image.open(path) as picture:
            picture.load()
