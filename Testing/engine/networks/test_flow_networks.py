"""What every flow network promises, whatever its architecture: shapes, sizes, independence, sampling, gradients."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.networks import FLOW_ARCHITECTURES, build_network

# Narrow versions: what is tested does not depend on the width, and CI has two cores.
NARROW = {
    "compact": {"stem": 8, "width": 16, "coarse": 16, "features": 16, "hidden": 16},
    "raft": {"hidden": 16, "context": 16, "features": 32, "radius": 2},
    "raft-small": {"hidden": 16, "context": 16, "features": 32, "radius": 2},
    "flownetc": {"width": 0.0625},
    "flownets": {"width": 0.0625},
}
CHANNELS = 2


@pytest.fixture(params=sorted(FLOW_ARCHITECTURES))
def a_network(request):
    torch.manual_seed(0)
    return build_network(request.param, NARROW[request.param]).eval()


def images(number: int, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, CHANNELS, rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("rows", "columns"), [(64, 48), (37, 75), (9, 5), (65, 130)])
def test_estimates_cover_the_image_whatever_its_size(a_network, rows, columns):
    with torch.no_grad():
        estimates = a_network(images(2, rows, columns), images(2, rows, columns, 1), iterations=2)
    for estimate in estimates:
        assert estimate.flow.shape == (2, 2, rows, columns)
        assert estimate.log_scale.shape == (2, 1, rows, columns)
        assert torch.isfinite(estimate.flow).all() and torch.isfinite(estimate.log_scale).all()


def test_an_item_does_not_depend_on_its_batch(a_network):
    drr, xray = images(3, 64, 48), images(3, 64, 48, 1)
    a_network.train()  # the promise holds in training, too
    with torch.no_grad():
        together = a_network(drr, xray, iterations=2)[-1]
        alone = a_network(drr[1:2], xray[1:2], iterations=2)[-1]
    torch.testing.assert_close(together.flow[1:2], alone.flow, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(together.log_scale[1:2], alone.log_scale, atol=1e-4, rtol=1e-4)


def test_the_items_of_a_batch_differ(a_network):
    with torch.no_grad():
        estimate = a_network(images(2, 64, 48), images(2, 64, 48, 1), iterations=2)[-1]
    assert (estimate.flow[0] - estimate.flow[1]).abs().max() > 1e-3


def test_drrs_that_share_an_xray_equal_repeating_it(a_network):
    drr, xray, index = images(4, 40, 56), images(2, 40, 56, 1), torch.tensor([1, 0, 0, 1])
    with torch.no_grad():
        shared = a_network(drr, xray, iterations=2, xray_index=index)[-1]
        repeated = a_network(drr, xray[index], iterations=2)[-1]
        encoded = a_network(drr, a_network.encode(xray), iterations=2, xray_index=index)[-1]
    torch.testing.assert_close(shared.flow, repeated.flow, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(encoded.flow, shared.flow, atol=1e-3, rtol=1e-4)


def test_sampling_at_pixels_equals_the_dense_map_there(a_network):
    rows, columns = 37, 75
    drr, xray = images(2, rows, columns), images(2, rows, columns, 1)
    generator = torch.Generator().manual_seed(2)
    u = torch.randint(0, columns, (2, 40), generator=generator)
    v = torch.randint(0, rows, (2, 40), generator=generator)
    with torch.no_grad():
        dense = a_network(drr, xray, iterations=2)
        sparse = a_network(drr, xray, iterations=2, points=torch.stack([u, v], dim=-1).float())
    item = torch.arange(2)[:, None]
    for a, b in zip(dense, sparse, strict=True):
        torch.testing.assert_close(a.flow[item, :, v, u], b.flow, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(a.log_scale[item, 0, v, u], b.log_scale, atol=1e-4, rtol=1e-4)


def test_every_parameter_learns_and_gradients_are_finite(a_network):
    estimates = a_network(images(1, 64, 48), images(1, 64, 48, 1), iterations=2, points=torch.rand(1, 20, 2) * 40)
    sum(e.flow.square().mean() + e.log_scale.square().mean() for e in estimates).backward()
    for name, parameter in a_network.named_parameters():
        assert parameter.grad is not None, f"{name} takes no part"
        assert torch.isfinite(parameter.grad).all(), name


def test_bfloat16_autocast_changes_the_flow_little(a_network):
    drr, xray = images(1, 64, 48), images(1, 64, 48, 1)
    with torch.no_grad():
        exact = a_network(drr, xray, iterations=2)[-1]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = a_network(drr, xray, iterations=2)[-1]
    assert rough.flow.dtype == torch.float32
    spread = exact.flow.abs().mean() + 0.1
    assert (rough.flow - exact.flow).abs().mean() < 0.15 * spread


def test_the_configuration_of_a_network_builds_it_again(a_network):
    kind = type(a_network)
    name = next(
        n
        for n, (network, _, preset) in FLOW_ARCHITECTURES.items()
        if network is kind and all(getattr(a_network.config, k) == v for k, v in preset.items() if k not in NARROW[n])
    )
    again = build_network(name, asdict(a_network.config))
    again.load_state_dict(a_network.state_dict())
    assert again.config == a_network.config


def test_images_of_different_size_are_refused(a_network):
    with pytest.raises(InputError, match="one size"):
        a_network(images(1, 64, 48), images(1, 64, 56))


def test_an_unclear_pairing_is_refused(a_network):
    with pytest.raises(InputError, match="xray_index"):
        a_network(images(3, 64, 48), images(2, 64, 48))
    with pytest.raises(InputError, match="xray_index"):
        a_network(images(3, 64, 48), images(2, 64, 48), xray_index=torch.tensor([0, 1]))


def test_images_with_another_number_of_channels_are_refused(a_network):
    with pytest.raises(InputError, match="takes DRRs of shape"):
        a_network(images(1, 64, 48)[:, :1], images(1, 64, 48))


def test_unknown_names_and_settings_are_refused():
    with pytest.raises(InputError, match="compact"):
        build_network("resnet")
    with pytest.raises(InputError, match="no setting 'depth'"):
        build_network("compact", {"depth": 3})
