"""The registered CT as an image: its voxels lie where the pose puts them."""

import math

import pytest
import torch
from DeepReg2D3DLib.engine.poses import motion_about, transform_points
from DeepReg2D3DLib.engine.registered_ct import moved_ct, resampled_ct
from DeepReg2D3DLib.engine.volume import Volume


def ramp() -> Volume:
    """HU that grows linearly with the place: 3 x + 2 y - z, so that interpolation is exact."""
    spacing, shape = (2.0, 3.0, 1.5), (24, 18, 20)  # slices, rows, columns
    matrix = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    matrix[:3, 3] = torch.tensor([-17.0, 4.0, 90.0], dtype=torch.float64)
    k, j, i = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    points = transform_points(matrix, torch.stack([i, j, k], -1).reshape(-1, 3))
    values = points @ torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64)
    return Volume(values.reshape(shape).to(torch.float32), matrix)


def pose(degrees: float) -> torch.Tensor:
    axis = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    turn = axis / axis.norm() * math.radians(degrees)
    return motion_about(turn, torch.tensor([12.0, -7.0, 30.0]), torch.tensor([0.0, 25.0, 110.0], dtype=torch.float64))


def test_moved_voxels_keep_their_values_and_go_where_the_pose_says():
    volume, motion = ramp(), pose(25)
    moved = moved_ct(volume, motion)
    assert torch.equal(moved.hu, volume.hu)
    torch.testing.assert_close(moved.ijk_to_ct, motion @ volume.ijk_to_ct)
    torch.testing.assert_close(moved.centre, transform_points(motion, volume.centre[None])[0])


@pytest.mark.parametrize("degrees", [0, 25, 88])
def test_resampled_values_are_those_of_the_place_they_came_from(degrees):
    volume, motion = ramp(), pose(degrees)
    made = resampled_ct(volume, motion)
    axes = made.ijk_to_ct[:3, :3]
    assert torch.equal(axes, torch.diag(axes.diagonal()))
    ijk = (made.hu > -900).nonzero().flip(1).to(torch.float64)
    in_ct = transform_points(torch.linalg.inv(motion), transform_points(made.ijk_to_ct, ijk))
    index = transform_points(torch.linalg.inv(volume.ijk_to_ct), in_ct)
    inner = ((index > 0.5) & (index < torch.tensor([18.5, 16.5, 22.5]))).all(1)
    wanted = in_ct @ torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64)
    found = made.hu[tuple(ijk.flip(1).long().T)].to(torch.float64)
    assert int(inner.sum()) > 3000
    assert float((found - wanted)[inner].abs().max()) < 0.01
    # All of the CT is inside the new grid.
    low, high = made.corners.amin(0), made.corners.amax(0)
    placed = transform_points(motion, volume.corners)
    half = 0.5 * torch.tensor(made.spacing)
    assert bool((placed.amin(0) > low - half - 1e-6).all()) and bool((placed.amax(0) < high + half + 1e-6).all())
    # Air fills what the turned CT does not reach.
    assert degrees == 0 or float(made.hu.min()) == -1000


def test_unturned_nothing_is_interpolated():
    volume, motion = ramp(), torch.eye(4, dtype=torch.float64)
    motion[:3, 3] = torch.tensor([4.0, 1.0, -2.0])
    made = resampled_ct(volume, motion)
    assert made.shape == volume.shape
    torch.testing.assert_close(made.hu, volume.hu, atol=1e-3, rtol=0)
