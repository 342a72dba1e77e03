"""The correlation pyramid against dot products written out, and its windows against known places."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from DeepReg2D3DLib.engine.networks.correlation import CorrelationPyramid, cell_grid


def features(seed: int, rows: int = 8, columns: int = 12, channels: int = 5) -> torch.Tensor:
    return torch.randn(2, channels, rows, columns, generator=torch.Generator().manual_seed(seed))


def test_levels_hold_the_dot_products_pooled_over_the_target():
    reference, target = features(0), features(1)
    pyramid = CorrelationPyramid(reference, target, levels=3, radius=1)
    volume = torch.einsum("bcij,bckl->bijkl", reference, target) / 5**0.5
    for level in pyramid.levels:
        expected = F.avg_pool2d(volume.flatten(0, 2).unsqueeze(1), level.span).view(2, 96, -1)
        torch.testing.assert_close(level.volume, expected)


def test_the_window_of_a_whole_cell_is_its_neighbourhood():
    reference, target = features(0), features(1)
    found = CorrelationPyramid(reference, target, levels=1, radius=1).look_up(
        cell_grid(8, 12, torch.device("cpu")).expand(2, -1, -1, -1)
    )
    volume = torch.einsum("bcij,bckl->bijkl", reference, target) / 5**0.5
    # Cell (row 3, column 7): window rows 2..4, columns 6..8, the column changing fastest.
    torch.testing.assert_close(found[0, :, 3, 7].view(3, 3), volume[0, 3, 7, 2:5, 6:9])


def test_beyond_the_edge_there_is_no_correlation():
    pyramid = CorrelationPyramid(features(0), features(1), levels=1, radius=1)
    found = pyramid.look_up(cell_grid(8, 12, torch.device("cpu")).expand(2, -1, -1, -1) + 100)
    assert (found == 0).all()


def test_half_a_cell_is_the_mean_of_two():
    reference, target = features(0), features(1)
    own = cell_grid(8, 12, torch.device("cpu")).expand(2, -1, -1, -1)
    pyramid = CorrelationPyramid(reference, target, levels=1, radius=0)
    half = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1)
    left, middle, right = (pyramid.look_up(own + k * half)[..., 4, 5] for k in range(3))
    torch.testing.assert_close(middle, (left + right) / 2, atol=1e-5, rtol=1e-4)


def test_a_coarse_level_is_centred_between_the_cells_that_it_averages():
    """A target that grows linearly along the columns reads, between its centres, the same on every level."""
    reference = torch.ones(1, 1, 8, 16)
    target = torch.arange(16.0).expand(1, 1, 8, 16)
    position = torch.full((1, 2, 8, 16), 3.5)
    position[:, 0] = 6.3
    found = CorrelationPyramid(reference, target, levels=3, radius=0).look_up(position)
    torch.testing.assert_close(found, torch.full_like(found, 6.3), atol=1e-4, rtol=0)


def test_a_target_too_small_to_halve_keeps_the_number_of_channels():
    tiny = features(0, rows=1, columns=2)
    found = CorrelationPyramid(tiny, tiny, levels=4, radius=3).look_up(
        cell_grid(1, 2, torch.device("cpu")).expand(2, -1, -1, -1)
    )
    assert found.shape == (2, 4 * 49, 1, 2)
    assert torch.isfinite(found).all()


def test_gradients_reach_both_maps():
    """At whole cells with radius 0, the sum found is sum(a . b) / sqrt(C): each map is the other's gradient."""
    reference, target = features(0).requires_grad_(), features(1).requires_grad_()
    own = cell_grid(8, 12, torch.device("cpu")).expand(2, -1, -1, -1)
    CorrelationPyramid(reference, target, levels=1, radius=0).look_up(own).sum().backward()
    torch.testing.assert_close(reference.grad, target.detach() / 5**0.5, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(target.grad, reference.detach() / 5**0.5, atol=1e-4, rtol=1e-4)
