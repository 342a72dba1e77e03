"""Correspondences from PointFlow in a registration's terms."""

from types import SimpleNamespace

import pytest
import torch
from DeepReg2D3DLib.engine.contours import ContourPoints
from DeepReg2D3DLib.engine.correspondences import Scene
from DeepReg2D3DLib.engine.networks import PointFlow, PointFlowConfig
from DeepReg2D3DLib.engine.networks.point_flow import EncodedEdges, PointEstimate
from DeepReg2D3DLib.engine.point_matching import PointFlowMatching
from DeepReg2D3DLib.engine.xray import XRay


@pytest.fixture
def scene() -> Scene:
    """Twelve points on a sphere's rim, 500 mm from the source, in a 48 x 40 image."""
    angle = torch.linspace(0, 5.8, 12)
    points = torch.stack([20 * angle.cos(), 20 * angle.sin(), torch.zeros(12)], -1)
    intrinsics = torch.tensor([[400.0, 0, 23.5], [0, 400.0, 19.5], [0, 0, 1]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = 500.0
    pixels = torch.stack([400 * points[:, 0] / 500 + 23.5, 400 * points[:, 1] / 500 + 19.5], -1)
    mask = torch.ones(1, 1, 40, 48, dtype=torch.bool)
    mask[..., 40:] = False
    camera = SimpleNamespace(intrinsics=intrinsics, size=(40, 48))
    xray = XRay(torch.rand(1, 1, 40, 48, generator=torch.Generator().manual_seed(0)), mask, camera, "x")
    contour = ContourPoints(points, points / 20, pixels)
    return Scene(torch.rand(1, 1, 40, 48, generator=torch.Generator().manual_seed(1)), xray, pose, contour, None, None)


class Told:
    """In place of the network: a fixed flow along the normals."""

    def __init__(self, along, log_scale):
        self.along, self.log_scale = along, log_scale
        self.encoded = 0

    def encode(self, xray):
        self.encoded += 1
        return EncodedEdges([], (40, 48))

    def __call__(self, drr, xray, scene, iterations):
        self.asked = scene
        return [PointEstimate(self.along[None], self.log_scale[None], torch.zeros(1, 12, 2))]


def test_flow_lies_along_the_normals_and_bad_points_have_no_weight(scene):
    along = torch.full((12,), 1.5)
    along[3] = torch.nan
    along[0] = 30.0  # leads out of the field
    network = Told(along, torch.zeros(12))
    found = PointFlowMatching(network).find(scene)
    expected = scene.normals * 1.5
    assert torch.allclose(found.flow[4:], expected[4:], atol=1e-5)
    assert found.weights[3] == 0 and found.weights[0] == 0 and (found.flow[3] == 0).all()
    assert found.weights[5] > 0.9
    assert torch.allclose(network.asked.points[0], scene.points_in_camera)


def test_an_x_ray_is_encoded_once(scene):
    network = Told(torch.zeros(12), torch.zeros(12))
    matching = PointFlowMatching(network)
    matching.find(scene)
    matching.find(scene)
    assert network.encoded == 1


def test_a_real_network_answers(scene):
    torch.manual_seed(0)
    network = PointFlow(PointFlowConfig(hidden=16, local=8, reach=6)).eval()
    found = PointFlowMatching(network).find(scene)
    assert found.flow.shape == (12, 2) and torch.isfinite(found.flow).all()
    assert ((found.weights >= 0) & (found.weights <= 1)).all()
