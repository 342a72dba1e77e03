"""FlowNetC and FlowNetS against their publication, and the correlation layer against sums written out."""

from __future__ import annotations

import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.networks.flownet import FlowNet, FlowNetConfig, correlate


@pytest.mark.parametrize(("correlation", "published"), [(True, 39_174_320), (False, 38_675_536)])
def test_at_full_width_the_parameter_count_is_the_published_one(correlation, published):
    """Counted in the PyTorch port that the field uses (ClementPinard/FlowNetPytorch): 39 M and 38 M."""
    with torch.device("meta"):
        network = FlowNet(FlowNetConfig(correlation=correlation, width=1.0, uncertainty=False, channels=3))
    assert sum(p.numel() for p in network.parameters()) == published


@pytest.mark.parametrize("correlation", [True, False])
def test_ours_has_about_five_million_parameters(correlation):
    network = FlowNet(FlowNetConfig(correlation=correlation))
    assert 4.9e6 < sum(p.numel() for p in network.parameters()) < 6.0e6


@pytest.mark.parametrize("correlation", [True, False])
def test_five_scales_come_out_the_finest_last(correlation):
    network = FlowNet(FlowNetConfig(correlation=correlation, width=0.0625))
    sizes = []
    for layer in network.decoder.predict:
        layer.register_forward_hook(lambda module, given, result: sizes.append(tuple(result.shape[-2:])))
    with torch.no_grad():
        estimates = network(torch.randn(1, 2, 128, 64), torch.randn(1, 2, 128, 64))
    assert sizes == [(2, 1), (4, 2), (8, 4), (16, 8), (32, 16)]
    assert len(estimates) == 5


def test_the_correlation_of_a_displacement_is_the_mean_product():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(1, 3, 10, 12, generator=generator), torch.randn(1, 3, 10, 12, generator=generator)
    found = correlate(a, b, reach=4, spacing=2)
    assert found.shape == (1, 25, 10, 12)
    # Displacement rows +2, columns -4: place (row 3, column 0) of the 5 x 5 displacements.
    torch.testing.assert_close(found[0, 15, 5, 6], (a[0, :, 5, 6] * b[0, :, 7, 2]).mean())
    assert found[0, 15, 9, 6] == 0  # beyond the edge


def test_an_initial_flow_is_refused_rather_than_ignored():
    network = FlowNet(FlowNetConfig(width=0.0625))
    with pytest.raises(InputError, match="initial flow"):
        network(torch.zeros(1, 2, 64, 64), torch.zeros(1, 2, 64, 64), initial_flow=torch.zeros(1, 2, 8, 8))
