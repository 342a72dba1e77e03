"""CompactFlow's own parts: the affine fit, matching, the first flow, size and cost."""

from __future__ import annotations

import torch
from DeepReg2D3DLib.engine.networks.compact import CompactConfig, CompactFlow, fit_affine_flow
from DeepReg2D3DLib.engine.networks.correlation import cell_grid

NARROW = CompactConfig(stem=8, width=16, coarse=16, features=32, hidden=16)
CPU = torch.device("cpu")


def affine_field(rows: int, columns: int) -> torch.Tensor:
    """A flow of rotation, scale and shift (1, 2, rows, columns), in cells."""
    u, v = cell_grid(rows, columns, CPU)[0]
    return torch.stack([2.0 + 0.1 * u - 0.3 * v, -1.0 + 0.3 * u + 0.05 * v]).unsqueeze(0)


def test_an_affine_flow_is_fitted_within_the_small_damping():
    flow = affine_field(16, 20)
    found = fit_affine_flow(flow, torch.ones(1, 1, 16, 20))
    assert (found - flow).abs().max() < 0.2  # the slopes are damped by about 3 %
    torch.testing.assert_close(found.mean((2, 3)), flow.mean((2, 3)), atol=1e-3, rtol=1e-3)


def test_the_fit_ignores_cells_without_weight():
    flow, weight = affine_field(16, 20), torch.ones(1, 1, 16, 20)
    spoiled, trusted = flow.clone(), weight.clone()
    spoiled[..., 3:6, 4:9] += 1e4
    trusted[..., 3:6, 4:9] = 0
    torch.testing.assert_close(fit_affine_flow(spoiled, trusted), fit_affine_flow(flow, trusted))


def test_the_fit_is_finite_where_nothing_is_trusted():
    assert torch.isfinite(fit_affine_flow(affine_field(4, 6), torch.full((1, 1, 4, 6), 1e-30))).all()


def test_distinct_features_are_matched_across_a_large_displacement():
    """Cells with features of their own, moved by 6 columns and 3 rows: the softmax finds them without training."""
    network = CompactFlow(NARROW)
    own = torch.randn(1, 64, 12, 16, generator=torch.Generator().manual_seed(0))
    moved = torch.roll(own, (3, 6), dims=(2, 3))
    volume = torch.bmm(own.flatten(2).transpose(1, 2), moved.flatten(2))
    with torch.no_grad():
        matches, spread = network.first._match(volume, 12, 16)
    inside = matches[..., :9, :10]
    torch.testing.assert_close(inside, torch.tensor([6.0, 3.0]).view(1, 2, 1, 1).expand_as(inside), atol=0.05, rtol=0)
    assert spread[..., :9, :10].max() < 0.5


def test_cells_that_match_nothing_stay_where_they_are():
    network = CompactFlow(NARROW)
    with torch.no_grad():
        matches, spread = network.first._match(torch.zeros(1, 32 * 32, 32 * 32), 32, 32)
    assert matches[..., 16, 16].abs().max() < 0.2
    assert spread[..., 16, 16].item() > 3.0


def test_there_is_a_first_flow_and_one_estimate_a_step():
    network = CompactFlow(NARROW)
    with torch.no_grad():
        images = torch.randn(2, 2, 32, 48), torch.randn(2, 2, 32, 48)
        assert len(network(*images, iterations=0)) == 1
        assert len(network(*images, iterations=3)) == 4
        assert len(network(*images)) == 1 + NARROW.iterations


def test_the_first_estimate_starts_from_the_initial_flow():
    network = CompactFlow(NARROW)
    for parameter in network.update.head[2].parameters():
        torch.nn.init.zeros_(parameter)
    start = torch.tensor([11.0, -7.0]).view(1, 2, 1, 1).expand(1, 2, 27, 35)
    with torch.no_grad():
        found = network(torch.randn(1, 2, 27, 35), torch.randn(1, 2, 27, 35), 1, initial_flow=start)
    for estimate in found:
        torch.testing.assert_close(estimate.flow, start.contiguous(), atol=1e-4, rtol=1e-5)


def test_it_stays_compact():
    """The size that the model card states; the first weights depend on it."""
    parameters = sum(p.numel() for p in CompactFlow().parameters())
    assert 1.0e6 < parameters < 2.0e6


def test_a_few_steps_of_training_reduce_the_error():
    """Four fixed pairs of smooth noise, moved by known shifts: the loss at points falls by a third in 15 steps."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    noise = torch.nn.functional.avg_pool2d(torch.randn(4, 2, 100, 100, generator=generator), 5, 1) * 5
    shifts = torch.tensor([[10, 4], [-8, 6], [0, -12], [6, 6]])
    drr = noise[:, :, 16:80, 16:80]
    xray = torch.stack(
        [n[:, 16 - v : 80 - v, 16 - u : 80 - u] for n, (u, v) in zip(noise, shifts.tolist(), strict=True)]
    )
    points = 10 + 44 * torch.rand(4, 100, 2, generator=generator)
    network = CompactFlow(NARROW)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        estimates = network(drr, xray, iterations=1, points=points)
        loss = sum((e.flow - shifts[:, None]).abs().mean() for e in estimates)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.67 * losses[0]
