"""PointFlow: its rigid layer against exact projections, and its promises about batches and padding."""

import pytest
import torch
from DeepReg2D3DLib.engine.camera import project
from DeepReg2D3DLib.engine.networks import PointFlow, PointFlowConfig
from DeepReg2D3DLib.engine.networks.point_flow import ContourScene, RigidFit, as_flow
from DeepReg2D3DLib.engine.poses import motion_about, transform_points

SMALL = PointFlowConfig(hidden=16, local=8, window=3, reach=6)


def scene_of(count: int = 120, seed: int = 0, batch: int = 1) -> ContourScene:
    random = torch.Generator().manual_seed(seed)
    points = torch.randn(batch, count, 3, generator=random) * torch.tensor([40.0, 60.0, 30.0])
    points[..., 2] += 700
    k = torch.tensor([[500.0, 0, 79.5], [0, 500.0, 63.5], [0, 0, 1]]).expand(batch, 3, 3)
    angle = torch.rand(batch, count, generator=random) * 6.28
    normals = torch.stack([angle.cos(), angle.sin()], -1)
    return ContourScene(project(points, k), normals, points, k, torch.ones(batch, count, dtype=torch.bool))


def moved(scene: ContourScene, rotation: tuple[float, ...], translation: tuple[float, ...]) -> torch.Tensor:
    centre = scene.points.mean(1, keepdim=True)[:, 0]
    motion = motion_about(torch.tensor([rotation]), torch.tensor([translation]), centre)
    return project(transform_points(motion, scene.points), scene.intrinsics) - scene.pixels


@pytest.mark.parametrize("motion", [((0, 0, 0.02), (1.0, -2.0, 0)), ((0.01, -0.015, 0), (0.5, 0.5, 10.0))])
def test_rigid_fit_explains_a_small_motion(motion):
    scene = scene_of()
    true = moved(scene, *motion)
    along = (true * scene.normals).sum(-1)
    fitted = RigidFit(scene, damping=1e-6)(along, torch.zeros_like(along))
    assert (fitted - true).norm(dim=-1).median() < 0.05 * true.norm(dim=-1).median() + 0.02


def test_rigid_fit_ignores_a_quarter_of_wrong_points():
    scene = scene_of(200)
    true = moved(scene, (0, 0, 0.01), (2.0, 1.0, 0))
    along = (true * scene.normals).sum(-1)
    along[:, :50] += 15.0
    fitted = RigidFit(scene, damping=1e-6)(along, torch.zeros_like(along))
    assert (fitted - true).norm(dim=-1).median() < 0.3


def test_padding_points_change_nothing():
    torch.manual_seed(0)
    network = PointFlow(SMALL).eval()
    drr, xray = torch.randn(1, 2, 64, 80), torch.randn(1, 2, 64, 80)
    scene = scene_of(40)._replace(intrinsics=torch.tensor([[[250.0, 0, 39.5], [0, 250.0, 31.5], [0, 0, 1]]]))
    scene = scene._replace(pixels=project(scene.points, scene.intrinsics))
    padded = ContourScene(
        *(torch.cat([x, x[:, :7]], 1) for x in scene[:3]),
        scene.intrinsics,
        torch.cat([scene.valid, torch.zeros(1, 7, dtype=torch.bool)], 1),
    )
    with torch.no_grad():
        alone, more = network(drr, xray, scene)[-1], network(drr, xray, padded)[-1]
    # The floor of the evidence is a mean over all points drawn, so equality is not exact.
    assert torch.allclose(alone.along, more.along[:, :40], atol=0.05)


def test_items_of_a_batch_are_independent_and_x_rays_are_shared():
    torch.manual_seed(1)
    network = PointFlow(SMALL).eval()
    drr, xray = torch.randn(2, 2, 64, 80), torch.randn(1, 2, 64, 80)
    scene = scene_of(50, batch=2)
    with torch.no_grad():
        together = network(drr, network.encode(xray), scene, 3, torch.tensor([0, 0]))
        alone = network(drr[1:], xray, ContourScene(*(x[1:] for x in scene)), 3)
    assert len(together) == 3
    assert torch.allclose(together[-1].along[1:], alone[-1].along, atol=1e-3)
    assert torch.allclose(together[-1].rigid[1:], alone[-1].rigid, atol=1e-3)


def test_odd_image_sizes_and_constant_images_stay_finite():
    network = PointFlow(SMALL).eval()
    drr, xray = torch.zeros(1, 2, 61, 83), torch.zeros(1, 2, 61, 83)
    found = network(drr, xray, scene_of(30))[-1]
    assert torch.isfinite(found.along).all() and torch.isfinite(found.rigid).all()
    assert torch.isfinite(found.log_scale).all()


def test_flow_keeps_the_networks_own_estimate_along_the_normals():
    network = PointFlow(SMALL).eval()
    scene = scene_of(30)
    with torch.no_grad():
        found = network(torch.randn(1, 2, 64, 80), torch.randn(1, 2, 64, 80), scene)[-1]
    flow = as_flow(found, scene.normals).flow
    assert torch.allclose((flow * scene.normals).sum(-1), found.along, atol=1e-4)


def test_gradients_reach_every_parameter():
    network = PointFlow(SMALL)
    found = network(torch.randn(1, 2, 64, 80), torch.randn(1, 2, 64, 80), scene_of(30), 2)
    sum(e.along.sum() + e.log_scale.sum() + e.rigid.square().sum() for e in found).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
