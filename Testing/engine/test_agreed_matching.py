"""Matches placed by patches and believed where the flow agrees."""

from types import SimpleNamespace

import torch
from DeepReg2D3DLib.engine.agreed_matching import AgreedMatching
from DeepReg2D3DLib.engine.correspondences import Matches, Progress

NORMALS = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])
SCENE = SimpleNamespace(normals=NORMALS, progress=Progress())
SETTLED = SimpleNamespace(normals=NORMALS, progress=Progress(settled=True))


def finder(flow, weights):
    flow = torch.tensor(flow)
    return SimpleNamespace(find=lambda scene: Matches(flow + 10, torch.tensor(weights), flow, torch.zeros(3)))


def test_agreement_counts_along_the_normal_alone():
    flow = finder([[1.0, 0], [1.0, 0], [5.0, 2.0]], [1.0, 1.0, 1.0])
    patches = finder([[1.0, 9.0], [4.0, 0], [0.0, 2.0]], [1.0, 1.0, 0.25])
    found = AgreedMatching(flow, patches=patches, tolerance_px=1.0).find(SCENE)
    assert torch.allclose(found.weights, torch.tensor([1.0, 0.0111, 0.5]), atol=1e-4)
    assert torch.equal(found.pixels, patches.find(SCENE).pixels)
    assert torch.equal(found.flow, patches.find(SCENE).flow)


def test_weights_of_a_network_replace_those_of_the_flow():
    flow = finder([[1.0, 0], [1.0, 0], [0.0, 2.0]], [1.0, 1.0, 1.0])
    weighting = SimpleNamespace(weigh=lambda scene, matches: torch.tensor([0.1, 0.2, 0.0]))
    found = AgreedMatching(flow, weighting, flow).find(SCENE)
    assert torch.allclose(found.weights, torch.tensor([0.1, 0.2, 0.0]))


def test_a_settled_pose_stands_in_for_the_flow():
    def fail(scene):
        raise AssertionError("the flow is not asked any more")

    patches = finder([[1.0, 9.0], [4.0, 0], [0.0, 0.0]], [1.0, 1.0, 0.25])
    found = AgreedMatching(SimpleNamespace(find=fail), patches=patches, tolerance_px=1.0).find(SETTLED)
    assert torch.allclose(found.weights, torch.tensor([0.6065, 0.0003, 0.5]), atol=1e-4)
    assert torch.equal(found.flow, patches.find(SETTLED).flow)
