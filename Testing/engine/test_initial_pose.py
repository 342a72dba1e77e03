"""The first pose where nobody gave one."""

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.initial_pose import default_pose
from DeepReg2D3DLib.engine.poses import transform_points

AP = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 800], [0, 0, 0, 1]]
LATERAL = [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 700], [0, 0, 0, 1]]
CENTRE = torch.tensor([12.0, -30.0, 250.0], dtype=torch.float64)


def camera_at(world_to_camera, shift=(0.0, 0.0, 0.0)):
    """A camera whose world is moved by ``shift``: the isocentre lies at ``shift``."""
    matrix = torch.tensor(world_to_camera, dtype=torch.float64)
    matrix[:3, 3] -= matrix[:3, :3] @ torch.tensor(shift, dtype=torch.float64)
    return Camera.from_parameters(
        source_to_detector=1200,
        pixel_spacing=(0.5, 0.5),
        principal_point=(99.5, 79.5),
        world_to_camera=matrix,
        columns=200,
        rows=160,
    )


def placed_centre(cameras):
    pose = default_pose(cameras, CENTRE)
    assert torch.equal(pose[:3, :3], torch.eye(3, dtype=torch.float64))
    return transform_points(pose, CENTRE[None])[0]


def test_single_view_puts_the_centre_at_the_worlds_origin_when_the_ray_passes_it():
    assert placed_centre([camera_at(AP)]) == pytest.approx([0, 0, 0], abs=1e-9)


def test_single_view_stays_on_its_principal_ray_at_the_distance_of_the_origin():
    camera = camera_at(AP, shift=(40.0, 0.0, 30.0))
    found = placed_centre([camera])
    assert (found - camera.source).norm() == pytest.approx(float(camera.source.norm()))
    assert torch.linalg.cross(found - camera.source, camera.axis).norm() == pytest.approx(0, abs=1e-9)


def test_two_views_meet_where_their_principal_rays_cross():
    shift = (15.0, -60.0, 35.0)
    assert placed_centre([camera_at(AP, shift), camera_at(LATERAL, shift)]) == pytest.approx(shift, abs=1e-6)


def test_skew_rays_give_the_middle_of_their_shortest_connection():
    found = placed_centre([camera_at(AP, (0.0, 0.0, 10.0)), camera_at(LATERAL, (0.0, 0.0, -10.0))])
    assert found == pytest.approx([0, 0, 0], abs=1e-6)


def test_parallel_rays_fall_back_to_the_distance_of_the_origin():
    found = placed_centre([camera_at(AP, (20.0, 0.0, 0.0)), camera_at(AP, (-20.0, 0.0, 0.0))])
    assert torch.isfinite(found).all()
    assert found == pytest.approx([0, 0, 0], abs=0.6)


def test_no_view_is_refused():
    with pytest.raises(InputError, match="at least one view"):
        default_pose([], CENTRE)
