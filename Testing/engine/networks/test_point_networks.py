"""What both weighting networks promise: shapes, order and batch independence, padding, gradients, published sizes."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.networks import build_network
from DeepReg2D3DLib.engine.networks.pointnet import PointNet, PointNetConfig, orthogonality_penalty
from DeepReg2D3DLib.engine.networks.pointnet2 import PointNet2, PointNet2Config

FEATURES = 4


def small_levels() -> list[dict]:
    return [
        {"centres": 32, "radius": 0.3, "neighbours": 8, "widths": [16, 16]},
        {"centres": 8, "radius": 0.6, "neighbours": 8, "widths": [16, 32]},
    ]


VARIANTS = {
    "pointnet": ("pointnet", {"width": 0.125}),
    "pointnet, no alignment": ("pointnet", {"width": 0.125, "transforms": False}),
    "pointnet2, farthest": ("pointnet2", {"sampling": "farthest", "levels": small_levels(), "back": [[32], [16]]}),
    "pointnet2, spread": ("pointnet2", {"sampling": "spread", "levels": small_levels(), "back": [[32], [16]]}),
}


@pytest.fixture(params=VARIANTS)
def a_network(request):
    torch.manual_seed(0)
    name, config = VARIANTS[request.param]
    network = build_network(name, config | {"features": FEATURES})
    for module in network.modules():  # alignments begin as the identity; here they shall do something
        if hasattr(module, "matrix"):
            torch.nn.init.normal_(module.matrix.weight, std=0.1)
    return network.eval()


def a_batch(number: int = 90, batch: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(batch, number, 3, generator=generator) * 60 + 500  # mm, far from the origin
    return points, torch.randn(batch, number, FEATURES, generator=generator)


def weights(network, points, features, mask=None) -> torch.Tensor:
    with torch.no_grad():
        return network(points, features, mask)


def test_every_point_gets_a_weight_between_0_and_1_and_they_differ(a_network):
    found = weights(a_network, *a_batch())
    assert found.shape == (3, 90) and found.dtype == torch.float32
    assert (found > 0).all() and (found < 1).all()
    assert found.std() > 1e-3


def test_shuffled_points_get_the_same_weights_shuffled(a_network):
    points, features = a_batch()
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        weights(a_network, points[:, order], features[:, order]),
        weights(a_network, points, features)[:, order],
        atol=1e-4,
        rtol=1e-3,
    )


def test_an_item_does_not_depend_on_its_batch(a_network):
    points, features = a_batch()
    a_network.train()
    together, alone = weights(a_network, points, features), weights(a_network, points[1:2], features[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-3)


def test_padding_changes_nothing_whatever_it_holds(a_network):
    points, features = a_batch()
    padded = torch.cat([points, torch.full((3, 30, 3), torch.nan)], dim=1)
    with_features = torch.cat([features, torch.full((3, 30, FEATURES), torch.inf)], dim=1)
    mask = torch.arange(120).expand(3, -1) < 90
    found = weights(a_network, padded, with_features, mask)
    torch.testing.assert_close(found[:, :90], weights(a_network, points, features), atol=1e-4, rtol=1e-3)
    assert (found[:, 90:] == 0).all()


def test_a_set_without_valid_points_has_no_weight_and_no_nan(a_network):
    points, features = a_batch()
    mask = torch.ones(3, 90, dtype=torch.bool)
    mask[1] = False
    found = weights(a_network, points, features, mask)
    assert torch.isfinite(found).all()
    assert (found[1] == 0).all() and (found[0] > 0).all()


def test_moving_and_scaling_the_points_changes_nothing(a_network):
    points, features = a_batch()
    torch.testing.assert_close(
        weights(a_network, points * 0.5 + 40, features), weights(a_network, points, features), atol=1e-3, rtol=1e-3
    )


def test_every_parameter_learns_and_gradients_are_finite(a_network):
    points, features = a_batch()
    mask = torch.arange(90).expand(3, -1) < 70
    a_network(points, features, mask).sum().backward()
    for name, parameter in a_network.named_parameters():
        assert parameter.grad is not None, f"{name} takes no part"
        assert torch.isfinite(parameter.grad).all(), name


def test_bfloat16_autocast_changes_the_weights_little(a_network):
    points, features = a_batch()
    exact = weights(a_network, points, features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = weights(a_network, points, features)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.02


def test_the_configuration_builds_the_network_again(a_network):
    name = "pointnet2" if isinstance(a_network, PointNet2) else "pointnet"
    again = build_network(name, asdict(a_network.config))
    again.load_state_dict(a_network.state_dict())
    assert again.config == a_network.config


def test_shapes_that_do_not_fit_are_refused(a_network):
    points, features = a_batch()
    with pytest.raises(InputError, match="features"):
        a_network(points, features[..., :2])
    with pytest.raises(InputError, match=r"\(B, N, 3\)"):
        a_network(points[..., :2], features)
    with pytest.raises(InputError, match="mask"):
        a_network(points, features, torch.ones(3, 91))


def test_coordinates_alone_will_do():
    points, _ = a_batch()
    for network in (PointNet(PointNetConfig(features=0, width=0.125)), PointNet2(PointNet2Config(features=0))):
        assert weights(network, points, None).shape == (3, 90)


def test_the_penalty_of_a_rotation_is_nothing_and_of_twice_the_identity_is_known():
    quarter_turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    assert orthogonality_penalty(quarter_turn) == 0
    assert orthogonality_penalty(2 * torch.eye(2).unsqueeze(0)) == 18  # two entries of (1 - 4)^2


def test_the_published_variant_has_the_published_layers():
    network = PointNet2(PointNet2Config.published(features=9))
    assert [block.level.centres for block in network.down] == [1024, 256, 64, 16]
    assert [block[0][0].in_features for block in network.up] == [512 + 256, 256 + 128, 256 + 64, 128 + 9]


def test_an_unknown_way_of_sampling_is_refused():
    with pytest.raises(InputError, match="farthest"):
        PointNet2Config(sampling="random")
