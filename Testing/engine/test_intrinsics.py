"""Intrinsics in doubt: what two views can say about them, how sure that is, and what they can't."""

from dataclasses import replace

import pytest
import torch
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.intrinsics import PRINCIPAL_MM, SDD_SHARE, describe_intrinsics, refine_intrinsics
from DeepReg2D3DLib.engine.level import Level
from DeepReg2D3DLib.engine.metrics import mtre
from DeepReg2D3DLib.engine.presets import Preset
from DeepReg2D3DLib.engine.registration import register
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.xray import XRay
from small_case import AP, CENTRE, LATERAL, TRUTH, camera, small_volume, start_pose

QUICK = Preset("quick", (Level(128, 6, 30.0, (12, 6), max_points=700),))
GRID = torch.tensor([-30.0, 0.0, 30.0], dtype=torch.float64)
TARGETS = torch.cartesian_prod(0.5 * GRID, 0.5 * GRID, GRID) + CENTRE


@pytest.fixture(scope="module")
def setup():
    return RegistrationSetup.prepare(small_volume(), "cpu")


@pytest.fixture(scope="module")
def images():
    renderer = DrrRenderer.from_volume(small_volume())
    taken = []
    for number, (name, matrix) in enumerate((("AP", AP), ("LAT", LATERAL))):
        view = camera(name, matrix)
        image = renderer(view.ct_to_camera(TRUTH)[None], view.intrinsics, view.size).float()
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(number))
        taken.append((view, image + 0.02 * noise))
    return taken


def given(images, errors):
    """X-rays whose geometry is wrong: (SDD by a share, principal point by (u, v) px) a view."""
    xrays = []
    for (view, image), (longer, u, v) in zip(images, errors, strict=True):
        k = view.intrinsics.clone()
        k[:2, :2] *= 1 + longer
        k[:2, 2] += torch.tensor([u, v], dtype=torch.float64)
        mask = torch.ones_like(image, dtype=torch.bool)
        xrays.append(XRay(image, mask, replace(view, intrinsics=k), view.name))
    return xrays


def registered(setup, xrays):
    return list(register(None, xrays, start_pose(2.0), method="dppc", preset=QUICK, setup=setup))[-1].ct_to_world


def refined(setup, xrays, shared=False):
    pose = registered(setup, xrays)
    return pose, refine_intrinsics(setup, xrays, pose, method="dppc", preset=QUICK, shared=shared)


def test_a_right_geometry_stays_right(setup, images):
    _, found = refined(setup, given(images, [(0, 0, 0), (0, 0, 0)]))
    for view in found.views:
        assert view.sdd == pytest.approx(1000, abs=2)
        assert view.principal_point == pytest.approx((63.5, 55.5), abs=0.5)
    assert mtre(found.ct_to_world, TRUTH, TARGETS) < 0.8


@pytest.mark.parametrize("errors", [[(0.015, 0, 0), (0, 0, 0)], [(-0.02, 0, 0), (0.01, 2.0, 1.0)]])
def test_wrong_distances_are_found_within_their_uncertainty(setup, images, errors):
    _, found = refined(setup, given(images, errors))
    for view in found.views:
        assert view.determined[0]
        assert view.sdd_deviation < 0.4 * SDD_SHARE * view.sdd
        assert view.sdd == pytest.approx(1000, abs=max(5.0, 2.5 * view.sdd_deviation))
        for value, true, deviation in zip(view.principal_point, (63.5, 55.5), view.principal_deviation, strict=True):
            assert value == pytest.approx(true, abs=2.5 * deviation)


def test_what_one_c_arm_shares_is_found_best(setup, images):
    before, found = refined(setup, given(images, [(0.015, 0, 0), (0.015, 0, 0)]), shared=True)
    first, second = found.views
    assert (first.sdd, first.principal_point) == (second.sdd, second.principal_point)
    assert first.sdd == pytest.approx(1000, abs=3) and first.sdd_deviation < 3
    assert mtre(found.ct_to_world, TRUTH, TARGETS) < 0.6 * mtre(before, TRUTH, TARGETS)


def test_what_the_images_leave_open_is_said(setup, images):
    """A shift along the columns of one view is the depth of the other: hardly better known than before."""
    xrays = given(images, [(0, 0, 0), (0, 0, 0)])
    _, found = refined(setup, xrays)
    lines = describe_intrinsics(found, [xray.camera for xray in xrays])
    for view, line in zip(found.views, lines, strict=True):
        assert not view.determined[1]
        assert view.principal_deviation[0] > 0.7 * PRINCIPAL_MM / 2.0  # pixels of 2 mm
        assert "say little about the principal point along u" in line and "+-" in line


def test_one_view_is_refused_plainly(setup, images):
    with pytest.raises(InputError, match="depth and source-detector distance can't be told apart"):
        refine_intrinsics(setup, given(images, [(0, 0, 0), (0, 0, 0)])[:1], TRUTH, method="dppc", preset=QUICK)


def test_shared_numbers_that_differ_are_refused(setup, images):
    with pytest.raises(InputError, match=r"1000\.0 to 1015\.0"):
        refine_intrinsics(
            setup, given(images, [(0.015, 0, 0), (0, 0, 0)]), TRUTH, method="dppc", preset=QUICK, shared=True
        )
