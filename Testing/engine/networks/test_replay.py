"""What a GPU records: padded sets and images give the same answers, recorded steps are kept, refusals are survived."""

from types import SimpleNamespace

import pytest
import torch
from DeepReg2D3DLib.engine.camera import project
from DeepReg2D3DLib.engine.networks import PointFlow, PointFlowConfig, PointNet2, PointNet2Config, replay
from DeepReg2D3DLib.engine.networks.edge_profiles import edge_pyramid
from DeepReg2D3DLib.engine.networks.point_flow import ContourScene, eliminated
from DeepReg2D3DLib.engine.networks.replay import Replay, padded_map, padded_points, padded_side
from DeepReg2D3DLib.engine.point_matching import PointFlowMatching
from DeepReg2D3DLib.engine.weighting import LearnedWeights

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here to record on")
SIZE = (61, 83)


def contour_scene(count: int, device: str = "cpu") -> ContourScene:
    random = torch.Generator().manual_seed(3)
    points = torch.randn(1, count, 3, generator=random) * torch.tensor([40.0, 40.0, 30.0])
    points[..., 2] += 700
    k = torch.tensor([[[250.0, 0, 41.0], [0, 250.0, 30.0], [0, 0, 1]]])
    angle = torch.rand(1, count, generator=random) * 6.28
    normals = torch.stack([angle.cos(), angle.sin()], -1)
    scene = ContourScene(project(points, k), normals, points, k, torch.ones(1, count, dtype=torch.bool))
    return ContourScene(*(each.to(device) for each in scene))


def point_flow(device: str = "cpu"):
    """A finder, the edges of a DRR, and an encoded X-ray."""
    torch.manual_seed(0)
    network = PointFlow(PointFlowConfig(hidden=16, local=8, window=3, reach=6)).eval()
    drr, xray = torch.randn(1, 2, *SIZE), torch.randn(1, 2, *SIZE)
    network, drr, xray = network.to(device), drr.to(device), xray.to(device)
    return PointFlowMatching(network, 3), drr, network.encode(xray)


def test_points_and_images_grow_to_a_few_sizes():
    assert [padded_points(torch.ones(1, count, 3)).shape[1] for count in (1, 200, 201)] == [200, 200, 400]
    grown = padded_points(torch.ones(1, 3, dtype=torch.bool))
    assert grown.dtype == torch.bool and int(grown.sum()) == 3 and bool(grown[0, :3].all())
    assert [padded_side(size) for size in ((125, 160), (161, 100), (8, 9))] == [160, 192, 32]
    image = torch.ones(1, 2, 5, 7)
    assert torch.equal(padded_map(image, 32)[..., :5, :7], image) and float(padded_map(image, 32).sum()) == 70


@torch.inference_mode()
@pytest.mark.parametrize("count", [5, 37, 200])
def test_a_padded_point_flow_answers_the_same(count):
    finder, drr, encoded = point_flow()
    scene = contour_scene(count)
    plain = finder.network(drr, encoded, scene, 3)[-1]
    padded = finder._padded(edge_pyramid(drr, 3), encoded, scene)
    for one, two in zip(plain, padded, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("count", [37, 200])
def test_a_padded_set_weighs_the_same(count):
    torch.manual_seed(0)
    weights = LearnedWeights(PointNet2(PointNet2Config(features=4)).eval())
    points, features = contour_scene(count).points, torch.randn(1, count, 4)
    counted = torch.ones(1, count, dtype=torch.bool)
    found = weights._replay(*(padded_points(each) for each in (points, features, counted)))[0]
    torch.testing.assert_close(found[:, :count], weights._found(points, features), rtol=1e-4, atol=1e-5)
    assert float(found[:, count:].abs().sum()) == 0


def test_elimination_solves_what_the_library_solves():
    random = torch.Generator().manual_seed(1)
    half = torch.randn(4, 6, 6, generator=random, dtype=torch.float64)
    matrix, right = half @ half.mT + 0.1 * torch.eye(6), torch.randn(4, 6, 1, generator=random, dtype=torch.float64)
    torch.testing.assert_close(eliminated(matrix, right), torch.linalg.solve(matrix, right))


class Places:
    """A recording that cannot be had without a GPU: counts how often it is made and used."""

    made, used = 0, 0

    def __init__(self, function, given):
        Places.made += 1

    def __call__(self, *given):
        Places.used += 1
        return ("replayed",)


def on_gpu(*shape: int) -> SimpleNamespace:
    return SimpleNamespace(device=torch.device("cuda"), shape=shape, dtype=torch.float32)


def test_the_second_call_of_a_size_records_and_old_sizes_are_forgotten(monkeypatch):
    monkeypatch.setattr(replay, "_Recorded", Places)
    monkeypatch.setattr(Places, "made", 0)
    monkeypatch.setattr(replay, "MOST_KNOWN", 2)
    steps = Replay(lambda given: ("taken",))
    assert [steps(on_gpu(1))[0] for _ in range(3)] == ["taken", "replayed", "replayed"] and Places.made == 1
    assert steps(on_gpu(2)) == ("taken",)  # another size has steps of its own
    assert steps(on_gpu(1)) == ("replayed",)
    assert steps(on_gpu(3)) == ("taken",)  # the third size pushes out the one that came only once
    assert steps(on_gpu(1)) == ("replayed",) and steps(on_gpu(2)) == ("taken",)
    made = Places.made
    replay.forget_recordings()
    assert [steps(on_gpu(1))[0] for _ in range(2)] == ["taken", "replayed"] and Places.made == made + 1


def test_where_nothing_can_be_recorded_the_steps_are_taken(monkeypatch):
    def refuse(function, given):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(replay, "_Recorded", refuse)
    steps = Replay(lambda given: ("taken",))
    assert [steps(on_gpu(1))[0] for _ in range(4)] == ["taken"] * 4


def test_on_a_cpu_nothing_is_recorded():
    steps = Replay(lambda given: (given + 1,))
    for number in range(3):
        assert int(steps(torch.tensor(number))[0]) == number + 1
    assert steps._known == {}


@GPU
def test_a_refusal_leaves_the_gpu_as_it_was():
    before = torch.cuda.current_stream()
    steps = Replay(lambda given: (given + float(given.sum()),))  # a look at a value
    with torch.inference_mode():
        found = [float(steps(torch.ones(1, 2, device="cuda"))[0][0, 0]) for _ in range(4)]
    assert found == [3.0] * 4 and steps._refused
    assert torch.cuda.current_stream() == before
    torch.cuda.empty_cache()
    another = Replay(lambda given: (given + 1,))
    assert [float(another(torch.ones(1, 2, device="cuda"))[0][0, 0]) for _ in range(3)] == [2.0] * 3


@GPU
@torch.inference_mode()
def test_recordings_of_several_sizes_do_not_disturb_each_other():
    torch.manual_seed(0)
    network = PointNet2(PointNet2Config(features=4)).eval()
    weights = LearnedWeights(network)
    sets = [(contour_scene(count).points, torch.randn(1, count, 4)) for count in (37, 250, 430)]
    expected = [weights._found(*each) for each in sets]
    on_gpu_too = LearnedWeights(network.cuda())
    for _ in range(4):
        for each, found in zip(sets, expected, strict=True):
            answer = on_gpu_too._found(*(part.cuda() for part in each))
            torch.testing.assert_close(answer.cpu(), found, rtol=1e-3, atol=1e-3)
    assert not on_gpu_too._replay._refused


@GPU
@torch.inference_mode()
def test_what_is_replayed_on_a_gpu_is_what_the_cpu_finds():
    finder, drr, encoded = point_flow("cuda")
    plain, on_cpu, alike = point_flow(), contour_scene(37), contour_scene(41)
    for scene in (on_cpu, alike, on_cpu):
        there = ContourScene(*(each.cuda() for each in scene))
        expected = plain[0].network(plain[1], plain[2], scene, 3)[-1]
        for one, two in zip(expected, finder._padded(edge_pyramid(drr, 3), encoded, there), strict=True):
            torch.testing.assert_close(two.cpu(), one, rtol=1e-3, atol=1e-2)
    assert not finder._replay._refused and None not in finder._replay._known.values()
