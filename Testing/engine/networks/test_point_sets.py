"""Sampling, neighbourhoods and interpolation of padded point sets, on sets whose answer is known."""

from __future__ import annotations

import pytest
import torch
from DeepReg2D3DLib.engine.networks.point_sets import (
    ball_neighbours,
    farthest_points,
    gather_points,
    interpolate_features,
    normalise_points,
    spread_points,
    squared_distances,
)


def a_set(number: int = 60, seed: int = 0, batch: int = 2) -> torch.Tensor:
    return 2 * torch.rand(batch, number, 3, generator=torch.Generator().manual_seed(seed)) - 1


def everything(points: torch.Tensor) -> torch.Tensor:
    return torch.ones(points.shape[:2], dtype=torch.bool)


def test_normalised_points_lie_in_the_unit_sphere_around_their_mean():
    found = normalise_points(a_set() * 80 + 300, everything(a_set()))
    torch.testing.assert_close(found.mean(dim=1), torch.zeros(2, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.norm(dim=-1).amax(dim=1), torch.ones(2))


def test_padding_moves_no_valid_point_whatever_it_holds():
    points, valid = a_set(), everything(a_set())
    padded = torch.cat([points, torch.full((2, 9, 3), torch.nan)], dim=1)
    mask = torch.cat([valid, torch.zeros(2, 9, dtype=torch.bool)], dim=1)
    found = normalise_points(padded, mask)
    torch.testing.assert_close(found[:, :60], normalise_points(points, valid))
    assert (found[:, 60:] == 0).all()


def test_farthest_points_of_a_line_are_its_ends_then_its_middle():
    line = torch.zeros(1, 9, 3)
    line[0, :, 0] = torch.arange(9.0) - 3.9
    assert farthest_points(line, everything(line), 3).tolist() == [[8, 0, 4]]


@pytest.mark.parametrize("sample", [farthest_points, spread_points])
def test_samples_are_valid_points_and_none_twice(sample):
    points, valid = a_set(200), everything(a_set(200))
    valid[:, ::3] = False
    chosen = sample(points, valid, 40)
    assert valid.gather(1, chosen).all()
    assert all(len(set(row)) == 40 for row in chosen.tolist())


@pytest.mark.parametrize("sample", [farthest_points, spread_points])
def test_samples_do_not_depend_on_the_order_of_the_points(sample):
    points, valid = a_set(200), everything(a_set(200))
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    chosen, shuffled = sample(points, valid, 30), sample(points[:, order], valid, 30)
    torch.testing.assert_close(gather_points(points, chosen), gather_points(points[:, order], shuffled))


@pytest.mark.parametrize("sample", [farthest_points, spread_points])
def test_few_valid_points_repeat(sample):
    points, valid = a_set(20), torch.zeros(2, 20, dtype=torch.bool)
    valid[:, 3:6] = True
    assert set(sample(points, valid, 8).flatten().tolist()) == {3, 4, 5}


def test_spread_samples_cover_the_set_as_widely_as_half_as_many_farthest_ones():
    points = a_set(1000, batch=1)
    valid = everything(points)

    def gap(chosen: torch.Tensor) -> float:
        return squared_distances(points, gather_points(points, chosen)).amin(dim=2).max().sqrt().item()

    assert gap(spread_points(points, valid, 128)) < gap(farthest_points(points, valid, 32))


def test_neighbours_lie_within_the_ball_and_the_nearest_fills_empty_places():
    points, valid = a_set(100), everything(a_set(100))
    centres = points[:, :7]
    index = ball_neighbours(points, valid, centres, 0.5, 12)
    distance = (gather_points(points, index) - centres.unsqueeze(2)).norm(dim=-1)
    assert distance.max() <= 0.5 + 1e-3
    assert (index[..., 0] == torch.arange(7)).all()
    true = (torch.cdist(centres, points) <= 0.5).sum(dim=-1).clamp(max=12)
    assert all(len(set(row)) == n for row, n in zip(index.flatten(0, 1).tolist(), true.flatten().tolist(), strict=True))


def test_neighbours_are_never_padding():
    points, valid = a_set(50), everything(a_set(50))
    valid[:, 25:] = False
    index = ball_neighbours(points, valid, points[:, :5], 1.0, 40)
    assert index.max() < 25


def test_features_at_a_centre_are_its_own_and_between_two_their_mean():
    centres = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [50, 50, 50]]])
    features = torch.tensor([[[2.0], [4.0], [100.0]]])
    points = torch.tensor([[[0.0, 0, 0], [0.5, 0, 0]]])
    found = interpolate_features(points, centres, features)
    torch.testing.assert_close(found, torch.tensor([[[2.0], [3.0]]]), atol=1e-2, rtol=0)


def test_points_follow_the_curve_that_interleaves_the_bits_of_their_coordinates():
    points = torch.rand(1, 300, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1
    cells = ((points[0] + 1) * 512).long().clamp(0, 1023).tolist()
    keys = [
        sum((cell[axis] >> bit & 1) << (3 * bit + axis) for bit in range(10) for axis in range(3)) for cell in cells
    ]
    order = sorted(range(300), key=lambda i: keys[i])
    assert spread_points(points, torch.ones(1, 300, dtype=torch.bool), 300)[0].tolist() == order
