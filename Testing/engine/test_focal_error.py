"""A wrong focal length shows where two views are to see one body at one place."""

import math
from collections.abc import Sequence

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera, project
from DeepReg2D3DLib.engine.contours import ContourPoints
from DeepReg2D3DLib.engine.correspondences import Matches, Scene
from DeepReg2D3DLib.engine.focal_error import focal_errors
from DeepReg2D3DLib.engine.joint_system import joint_system
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose, transform_points
from DeepReg2D3DLib.engine.xray import XRay

DEPTH = 700.0


def looking(angle_deg: float, source_to_detector: float = 1000.0) -> Camera:
    """A camera 700 mm from the origin of world, turned about its y axis."""
    turn = exp_rotation(torch.tensor([0.0, math.radians(angle_deg), 0.0], dtype=torch.float64))
    return Camera.from_parameters(
        source_to_detector=source_to_detector,
        pixel_spacing=(1.0, 1.0),
        principal_point=(190.0, 210.0),
        world_to_camera=make_pose(turn, torch.tensor([0.0, 0.0, DEPTH], dtype=torch.float64)),
        columns=400,
        rows=400,
        name=f"{angle_deg:.0f}",
    )


def measured(angles: list[float], zooms: Sequence[float], noise_px: float = 0.0):
    """What ``focal_errors`` says of views whose cameras claim a focal length ``zooms`` times the true one, of a body
    that lies where it is."""
    generator = torch.Generator().manual_seed(3)
    points = (2 * torch.rand(400, 3, generator=generator, dtype=torch.float64) - 1) * 100
    gradients = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    truth, scenes, found = torch.eye(4, dtype=torch.float64), [], []
    for angle, zoom in zip(angles, zooms, strict=True):
        true, claimed = looking(angle), looking(angle, 1000.0 * zoom)
        seen = claimed.ct_to_camera(truth)
        in_camera = transform_points(seen, points)
        ends = project(in_camera, true.intrinsics) + noise_px * torch.randn(400, 2, generator=generator)
        contour = ContourPoints(points, gradients, project(in_camera, claimed.intrinsics))
        xray = XRay(torch.zeros(1, 1, 400, 400), torch.ones(1, 1, 400, 400, dtype=torch.bool), claimed, claimed.name)
        scenes.append(Scene(xray.line_integral, xray, seen, contour, None, None))
        found.append(Matches(ends, torch.ones(400), ends - contour.pixels))
    return focal_errors(scenes, joint_system(scenes, found, truth))


@pytest.mark.parametrize("zooms", [(1.0, 1.0), (0.9, 0.9), (1.1, 1.1), (1.1, 1.0), (0.98, 1.03)])
def test_the_error_of_every_view_is_found(zooms):
    errors = measured([0.0, 90.0], zooms)
    assert errors == pytest.approx([1 - 1 / zoom for zoom in zooms], abs=1e-3)


@pytest.mark.parametrize("angles", [[0.0], [0.0, 5.0], [0.0, 180.0], [4.0, -3.0, 176.0]])
def test_views_along_one_beam_say_nothing(angles):
    assert measured(angles, [1.1] * len(angles)) == []


def test_a_third_view_may_lie_beside_another():
    zooms = (1.05, 1.0, 1.0)
    assert measured([0.0, 3.0, 70.0], zooms) == pytest.approx([1 - 1 / zoom for zoom in zooms], abs=1e-3)


def test_noise_hardly_matters():
    assert measured([0.0, 60.0], [1.05, 1.0], noise_px=0.5) == pytest.approx([1 - 1 / 1.05, 0.0], abs=2e-3)
