"""Correspondences and weights by networks: what is sampled where, what counts, what is refused."""

import dataclasses

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.contours import ContourPoints
from DeepReg2D3DLib.engine.correspondences import Scene
from DeepReg2D3DLib.engine.flow_matching import FlowMatching, seen_in, weights_from_scale
from DeepReg2D3DLib.engine.networks import build_network
from DeepReg2D3DLib.engine.networks.flow_protocol import EncodedImage, FlowEstimate
from DeepReg2D3DLib.engine.surface import SurfacePoints
from DeepReg2D3DLib.engine.weighting import FEATURES, LearnedWeights, correspondence_features
from DeepReg2D3DLib.engine.xray import XRay

ROWS, COLUMNS = 40, 60


class ShiftNetwork:
    """Answers one and the same displacement, and counts how often it encodes an X-ray."""

    def __init__(self, shift, log_scale=0.0):
        self.shift, self.log_scale, self.encoded = torch.tensor(shift), log_scale, 0

    def encode(self, xray):
        self.encoded += 1
        return EncodedImage((xray,), xray.shape[-2:])

    def __call__(self, drr, xray, iterations=None, initial_flow=None, xray_index=None, points=None):
        assert isinstance(xray, EncodedImage)
        flow = self.shift.expand(1, points.shape[1], 2)
        return [FlowEstimate(flow, torch.full(flow.shape[:2], self.log_scale))]


def camera(mirrored: bool = False) -> Camera:
    return Camera.from_parameters(
        source_to_detector=1000.0,
        pixel_spacing=(1.0, 1.0),
        principal_point=(29.5, 19.5),
        world_to_camera=torch.eye(4, dtype=torch.float64),
        columns=COLUMNS,
        rows=ROWS,
        mirrored=mirrored,
    )


def scene(mask=None, mirrored=False) -> Scene:
    view = camera(mirrored)
    random = torch.Generator().manual_seed(0)
    points = torch.rand(50, 3, generator=random) * torch.tensor([30.0, 20.0, 10.0]) + torch.tensor([-15, -10, 800.0])
    gradients = torch.randn(50, 3, generator=random) * torch.tensor([1.0, 1.0, 0.01])
    pixels = view.project_world(points.double()).float()
    contour = ContourPoints(points, gradients, pixels)
    image = torch.rand(1, 1, ROWS, COLUMNS, generator=random)
    valid = torch.ones(1, 1, ROWS, COLUMNS, dtype=torch.bool) if mask is None else mask
    surface = SurfacePoints(points, gradients)
    pose = torch.eye(4, dtype=torch.float64)
    return Scene(image, XRay(image, valid, view, "view"), pose, contour, surface, renderer=None)


def test_matches_are_contour_pixels_plus_flow():
    matches = FlowMatching(ShiftNetwork([2.0, -3.0])).find(scene())
    assert torch.allclose(matches.pixels - scene().contour.pixels, torch.tensor([2.0, -3.0]).expand(50, 2))
    assert matches.weights.max() == 1.0 and matches.weights.min() >= 0.0


def test_matches_beyond_the_valid_field_have_no_weight():
    mask = torch.ones(1, 1, ROWS, COLUMNS, dtype=torch.bool)
    mask[..., 30:] = False
    shown = scene(mask)
    matches = FlowMatching(ShiftNetwork([0.0, 0.0])).find(shown)
    left = shown.contour.pixels[:, 0].round() < 30
    assert 0 < left.sum() < 50
    assert (matches.weights[left] > 0).all() and (matches.weights[~left] == 0).all()


def test_flow_that_is_not_finite_moves_nothing_and_counts_nothing():
    matches = FlowMatching(ShiftNetwork([float("nan"), 0.0])).find(scene())
    assert torch.isfinite(matches.pixels).all()
    assert (matches.weights == 0).all()


def test_an_xray_is_encoded_once_for_all_steps():
    network = ShiftNetwork([0.0, 0.0])
    finder, shown = FlowMatching(network), scene()
    finder.find(shown)
    finder.find(dataclasses.replace(shown, drr=shown.drr + 1))
    assert network.encoded == 1
    finder.find(scene())
    assert network.encoded == 2


def test_weights_follow_inverse_variance_with_a_floor():
    scale = torch.tensor([0.1, 0.5, 1.0, 2.0] + [0.5] * 30)
    weights = weights_from_scale(scale.log())
    assert weights[0] == weights[1] == 1.0
    assert weights[2].item() == pytest.approx(0.25)
    assert weights[3].item() == pytest.approx(0.0625)


def test_seen_in_takes_whole_pixels_and_refuses_what_is_outside():
    view = scene().xray
    pixels = torch.tensor([[0.0, 0.0], [59.4, 39.4], [59.6, 0.0], [-0.6, 0.0], [float("nan"), 5.0]])
    assert seen_in(view, pixels).tolist() == [1, 1, 0, 0, 0]


def test_features_tell_along_from_across_the_normal():
    """A contour with a horizontal normal: du is along it, dv across."""
    points, gradients = torch.tensor([[[0.0, 0.0, 800.0]]]), torch.tensor([[[1.0, 0.0, 0.0]]])
    intrinsics = camera().intrinsics.float()[None]
    image = torch.rand(1, 2, ROWS, COLUMNS)
    flow = torch.tensor([[[8.0, 16.0]]])
    pixels, one = torch.tensor([[[29.5, 19.5]]]), torch.ones(1, 1)
    features = correspondence_features(points, gradients, intrinsics, pixels, flow, 0 * one, one, image, image)
    assert features.shape == (1, 1, FEATURES)
    assert features[0, 0, :2].tolist() == pytest.approx([1.0, 2.0])
    assert features[0, 0, 3:5].tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("architecture", ["pointnet", "pointnet2"])
def test_a_weight_network_weighs_what_a_finder_found(architecture):
    torch.manual_seed(0)
    network = build_network(architecture, {"features": FEATURES}).eval()
    mask = torch.ones(1, 1, ROWS, COLUMNS, dtype=torch.bool)
    mask[..., 30:] = False
    shown = scene(mask, mirrored=True)
    matches = FlowMatching(ShiftNetwork([1.0, 0.0])).find(shown)
    weights = LearnedWeights(network).weigh(shown, matches)
    assert weights.shape == (50,)
    assert ((weights > 0) == (matches.weights > 0)).all()
    assert weights.max() <= 1.0
