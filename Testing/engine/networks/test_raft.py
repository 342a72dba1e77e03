"""RAFT against its publication: parameters, tensor shapes, and the convex upsampling."""

from __future__ import annotations

import pytest
import torch
from DeepReg2D3DLib.engine.networks.raft import Raft, RaftConfig, upsample_convex


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (RaftConfig(channels=3, uncertainty=False), 5_257_536),
        (RaftConfig.small(channels=3, uncertainty=False), 990_162),
    ],
)
def test_parameter_counts_are_the_published_ones(config, published):
    """Counted in the authors' code (princeton-vl/RAFT): 5.3 M and 1.0 M in the paper's figures."""
    assert sum(p.numel() for p in Raft(config).parameters()) == published


def test_one_channel_less_changes_only_the_first_convolutions():
    three, one = (Raft(RaftConfig.small(channels=c, uncertainty=False)) for c in (3, 1))
    saved = sum(p.numel() for p in three.parameters()) - sum(p.numel() for p in one.parameters())
    assert saved == 2 * 2 * 32 * 7 * 7  # two encoders, two channels, 32 kernels of 7x7


def test_the_maps_inside_have_the_published_shapes():
    network, image = Raft(), torch.zeros(1, 2, 64, 96)
    assert network.encode(image).maps[0].shape == (1, 256, 8, 12)
    assert network.context_encoder(image).shape == (1, 256, 8, 12)
    assert network.update.motion.correlation[0].in_channels == 4 * 9**2
    assert network.mask_head[2].out_channels == 9 * 8 * 8


def test_there_is_one_estimate_a_step_and_they_move():
    torch.manual_seed(0)
    network = Raft(RaftConfig.small(hidden=16, context=16, features=16))
    with torch.no_grad():
        estimates = network(torch.randn(1, 2, 32, 32), torch.randn(1, 2, 32, 32), iterations=3)
    assert len(estimates) == 3
    assert (estimates[0].flow - estimates[2].flow).abs().max() > 0


def test_no_step_leaves_the_initial_flow_behind():
    """With update weights of zero, the flow after one step is the initial one."""
    network = Raft(RaftConfig.small(hidden=16, context=16, features=16))
    torch.nn.init.zeros_(network.update.flow_head[2].weight)
    torch.nn.init.zeros_(network.update.flow_head[2].bias)
    start = torch.tensor([3.0, -5.0]).view(1, 2, 1, 1).expand(1, 2, 27, 35)
    with torch.no_grad():
        found = network(torch.randn(1, 2, 27, 35), torch.randn(1, 2, 27, 35), 2, initial_flow=start)[-1]
    torch.testing.assert_close(found.flow, start.contiguous())


def test_without_the_uncertainty_head_the_scale_is_one_pixel():
    network = Raft(RaftConfig.small(hidden=16, context=16, features=16, uncertainty=False))
    with torch.no_grad():
        found = network(torch.randn(1, 2, 32, 32), torch.randn(1, 2, 32, 32), iterations=1)[-1]
    assert (found.log_scale == 0).all()


def test_upsampling_with_equal_weights_is_the_mean_of_nine_cells():
    coarse = torch.randn(1, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    fine = upsample_convex(coarse, torch.zeros(1, 576, 5, 6))
    assert fine.shape == (1, 2, 40, 48)
    torch.testing.assert_close(
        fine[0, :, 16:24, 24:32], coarse[0, :, 1:4, 2:5].mean((1, 2)).view(2, 1, 1).expand(2, 8, 8)
    )


def test_each_fine_pixel_has_its_own_weights():
    """All weight of fine pixel (row 3, column 5) on the cell above, of the others on their own cell."""
    coarse = torch.arange(20.0).view(1, 1, 4, 5)
    mask = torch.zeros(1, 9, 8, 8, 4, 5)
    mask[:, 4] = 50
    mask[:, 4, 3, 5] = 0
    mask[:, 1, 3, 5] = 50
    fine = upsample_convex(coarse, mask.view(1, 576, 4, 5))[0, 0]
    assert fine[2 * 8 + 3, 1 * 8 + 5] == coarse[0, 0, 1, 1]
    assert fine[2 * 8 + 3, 1 * 8 + 4] == coarse[0, 0, 2, 1]


def test_a_constant_flow_stays_constant_up_to_the_rim():
    fine = upsample_convex(torch.full((1, 2, 3, 3), 7.0), torch.randn(1, 576, 3, 3))
    torch.testing.assert_close(fine, torch.full_like(fine, 7.0))
