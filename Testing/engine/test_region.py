"""Regions of interest: where they lie, and that cropping and resizing keep the geometry."""

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.errors import DegenerateError
from DeepReg2D3DLib.engine.region import (
    cropped_xray,
    depth_of,
    field_is_empty,
    level_xray,
    pixel_at_depth,
    region_of_interest,
)
from DeepReg2D3DLib.engine.surface import SurfacePoints
from DeepReg2D3DLib.engine.xray import XRay


@pytest.fixture
def xray() -> XRay:
    camera = Camera.from_parameters(
        source_to_detector=1000.0,
        pixel_spacing=(0.5, 0.5),
        principal_point=(150.0, 120.0),
        world_to_camera=torch.eye(4),
        columns=300,
        rows=240,
    )
    v, u = torch.meshgrid(torch.arange(240.0), torch.arange(300.0), indexing="ij")
    return XRay((u + 1000 * v)[None, None], torch.ones(1, 1, 240, 300, dtype=torch.bool), camera, "AP")


@pytest.fixture
def surface() -> SurfacePoints:
    corners = torch.cartesian_prod(torch.tensor([-10.0, 10.0]), torch.tensor([-5.0, 15.0]), torch.tensor([500.0]))
    return SurfacePoints(corners, torch.ones(4, 3))


def test_region_is_the_projection_with_its_margin(xray, surface):
    # Focal length 2000 px at 500 mm: 4 px a mm; the margin of 5 mm is 20 px.
    column, row, columns, rows = region_of_interest(surface, torch.eye(4), xray, 5.0)
    assert (column, row) == (150 - 40 - 20, 120 - 20 - 20)
    assert (columns, rows) == (121, 121)


def test_region_stays_inside_the_image(xray, surface):
    column, row, columns, rows = region_of_interest(surface, torch.eye(4), xray, 500.0)
    assert (column, row, columns, rows) == (0, 0, 300, 240)


@pytest.mark.parametrize(("x", "z", "words"), [(0.0, -800.0, "behind"), (400.0, 0.0, "beside")])
def test_a_ct_out_of_the_beam_is_named(xray, surface, x, z, words):
    pose = torch.eye(4)
    pose[0, 3], pose[2, 3] = x, z
    with pytest.raises(DegenerateError, match=f"'AP'.*{words}"):
        region_of_interest(surface, pose, xray, 5.0)


def test_cropping_keeps_where_points_are_seen(xray, surface):
    part = cropped_xray(xray, (90, 80, 121, 121))
    pixel = part.camera.project_world(surface.points.double())[0].round().long()
    whole = xray.camera.project_world(surface.points.double())[0].round().long()
    assert part.line_integral[0, 0, pixel[1], pixel[0]] == xray.line_integral[0, 0, whole[1], whole[0]]


def test_level_has_the_asked_size_and_is_never_finer_than_the_image(xray):
    coarse = level_xray(xray, (0, 0, 300, 240), 100)
    assert coarse.camera.size == (80, 100)
    fine = level_xray(xray, (90, 80, 60, 50), 500)
    assert fine.camera.size == (50, 60)


def test_pixels_grow_with_depth(xray, surface):
    assert pixel_at_depth(xray, 500.0) == pytest.approx(0.25)
    assert depth_of(surface, torch.eye(4)) == pytest.approx(500.0)


def test_an_empty_field_is_seen(xray):
    assert not field_is_empty(xray)
    assert field_is_empty(XRay(xray.line_integral, torch.zeros_like(xray.mask), xray.camera))
