"""A view at one resolution: what it remembers of its contour points while the CT moves."""

import math

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.correspondences import Progress
from DeepReg2D3DLib.engine.level_view import LevelView
from DeepReg2D3DLib.engine.phantom import make_phantom
from DeepReg2D3DLib.engine.poses import make_pose
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.xray import XRay

PROGRESS = Progress(0, 1, 0, 1, 10.0, False)


@pytest.fixture(scope="module")
def setup() -> RegistrationSetup:
    return RegistrationSetup.prepare(make_phantom(3, 4.0), "cpu")


@pytest.fixture(scope="module")
def xray() -> XRay:
    """100 x 80 pixels of 3 mm, seen from the front."""
    frontal = torch.tensor([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 700], [0, 0, 0, 1]], dtype=torch.float64)
    camera = Camera.from_parameters(
        source_to_detector=1000.0,
        pixel_spacing=(3.0, 3.0),
        principal_point=(49.5, 39.5),
        world_to_camera=frontal,
        columns=100,
        rows=80,
    )
    return XRay(torch.rand(1, 1, 80, 100), torch.ones(1, 1, 80, 100, dtype=torch.bool), camera, "AP")


def shifted(setup: RegistrationSetup, x: float) -> torch.Tensor:
    centre = setup.volume.centre
    return make_pose(torch.eye(3, dtype=torch.float64), torch.tensor([x, 0.0, 0.0], dtype=torch.float64) - centre)


def test_points_are_kept_until_the_ct_has_moved_and_then_chosen_anew(setup, xray):
    pose = shifted(setup, 0.0)
    view = LevelView.around(setup, xray, pose, 100, 30.0)
    view.render(pose)
    first = view.scene(setup.surface, pose, PROGRESS, 300).contour
    assert len(first) > 40
    in_space, seen = view.moved(pose, shifted(setup, 0.1))
    assert in_space == pytest.approx(0.1, abs=1e-6) and 0 < seen <= 0.1
    assert torch.equal(view.scene(setup.surface, pose, PROGRESS, 300).contour.points, first.points)
    view.moved(pose, shifted(setup, 60.0))
    view.render(shifted(setup, 60.0))
    assert not torch.equal(view.scene(setup.surface, shifted(setup, 60.0), PROGRESS, 300).contour.points, first.points)


def test_a_view_that_shows_no_contour_yet_gets_points_when_the_ct_comes_into_it(setup, xray):
    """The other view of a pair may bring it there; until then its motion is nothing, not NaN."""
    inside = shifted(setup, 0.0)
    view = LevelView.around(setup, xray, inside, 100, 30.0)
    beside = shifted(setup, 900.0)
    view.render(beside)
    assert len(view.scene(setup.surface, beside, PROGRESS, 300).contour) == 0
    assert view.moved(beside, inside) == (0.0, 0.0)
    assert not math.isnan(view.moved_px)
    view.render(inside)
    assert len(view.scene(setup.surface, inside, PROGRESS, 300).contour) > 40
