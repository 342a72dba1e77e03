"""Methods, presets and devices by name."""

from types import SimpleNamespace

import pytest
import torch
from adapted_networks import write_adapted_flow
from DeepReg2D3DLib.engine.correspondences import Matches, Progress
from DeepReg2D3DLib.engine.device import resolve_device
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.flow_matching import FlowMatching
from DeepReg2D3DLib.engine.methods import METHODS, Method, get_method
from DeepReg2D3DLib.engine.networks import build_network
from DeepReg2D3DLib.engine.patch_matching import PatchMatching
from DeepReg2D3DLib.engine.point_matching import PointFlowMatching
from DeepReg2D3DLib.engine.presets import PRESETS, get_preset
from DeepReg2D3DLib.engine.weights import load_network, network_loader, read_manifest, save_network


def test_dppc_needs_nothing():
    method = get_method("dppc")
    assert method.name == "dppc" and not method.learned and isinstance(method.correspondences, PatchMatching)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "dppc"])
def test_methods_without_weights_name_the_one_that_works(name, tmp_path, monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.engine.weights.models_dir", lambda: tmp_path)
    with pytest.raises(InputError, match=rf"'{name}'.*--method dppc"):
        get_method(name)


class Recorded:
    """A finder that remembers the scenes it was given."""

    def __init__(self):
        self.scenes = []

    def find(self, scene):
        self.scenes.append(scene)
        return Matches(torch.zeros(3, 2), torch.ones(3), torch.zeros(3, 2))


@pytest.mark.parametrize(("level", "levels", "finished"), [(0, 2, False), (1, 2, True), (0, 1, False)])
def test_the_last_of_several_levels_is_finished_by_another_finder(level, levels, finished):
    usual, finishing = Recorded(), Recorded()
    weighting = SimpleNamespace(weigh=lambda scene, matches: torch.full((3,), 0.5))
    method = Method("any", usual, weighting, finishing=finishing)
    found = method.find(SimpleNamespace(progress=Progress(level, levels)))
    assert len(finishing.scenes) == finished and len(usual.scenes) == (not finished)
    assert float(found.weights[0]) == (1.0 if finished else 0.5)


def test_the_shipped_weights_match_their_manifest_and_make_their_methods():
    for shipped in ("deep-iterative", "dppc-attention"):
        method = get_method(shipped)
        assert method.learned and method.weighting is not None
    for name, entry in read_manifest().items():
        parameters = sum(p.numel() for p in load_network(name).parameters())
        assert parameters == entry["parameters"]
        assert entry["training"]["held_out"] == ["thoracolumbar_a", "lumbar_c"]


@pytest.fixture
def adapted(tmp_path):
    """A folder with a flow network that answers otherwise than the shipped one."""
    return write_adapted_flow(tmp_path)


def test_networks_of_a_folder_stand_in_for_the_installed_ones(adapted):
    load = network_loader(torch.device("cpu"), adapted)
    flows = [net.state_dict() for net in (load_network("deep-iterative-flow"), load("deep-iterative-flow"))]
    assert any(not torch.equal(flows[0][key], flows[1][key]) for key in flows[0])
    judges = [net.state_dict() for net in (load_network("deep-iterative-weights"), load("deep-iterative-weights"))]
    assert all(torch.equal(judges[0][key], judges[1][key]) for key in judges[0])
    assert get_method("deep-iterative", weights=adapted).learned


def test_the_papers_own_flow_network_serves_deep_iterative(tmp_path):
    sizes = {"stem": 16, "width": 16, "coarse": 16, "features": 16, "hidden": 16}
    save_network("deep-iterative-flow", build_network("compact", sizes), "compact", {}, tmp_path)
    method = get_method("deep-iterative", weights=tmp_path)
    assert isinstance(method.correspondences, FlowMatching)
    assert isinstance(get_method("deep-iterative").correspondences, PointFlowMatching)


def test_a_folder_without_networks_of_the_method_is_refused(adapted, tmp_path):
    with pytest.raises(InputError, match="no network of method 'dppc-attention'"):
        get_method("dppc-attention", weights=adapted)
    with pytest.raises(InputError, match="holds no network weights"):
        get_method("deep-iterative", weights=tmp_path / "elsewhere")


def test_a_damaged_network_of_a_folder_is_told_with_the_way_out(adapted):
    path = adapted / "deep-iterative-flow.pt"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="leave --weights out"):
        get_method("deep-iterative", weights=adapted)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"Unknown method 'best'.*deep-iterative, dppc"):
        get_method("best")
    with pytest.raises(InputError, match=r"Unknown preset 'best'.*accurate, fast, paper"):
        get_preset("best")


def test_the_paper_preset_is_ten_iterations_at_one_resolution_without_extras():
    paper = get_preset("paper")
    assert [level.steps for level in paper.levels] == [10] and paper.exact_steps
    assert paper.learned_solver.robust_iterations == 0 and paper.search is None
    assert paper.levels[0].damping == (1e-6, 1e-6)


def test_presets_go_from_coarse_to_fine():
    for preset in PRESETS.values():
        sizes = [level.long_side for level in preset.levels]
        assert sizes == sorted(sizes)


def test_progress_counts_levels_and_steps():
    assert Progress(1, 2, 2, 4).fraction == pytest.approx(0.75)
    assert Progress(1, 2).last_level and not Progress(0, 2).last_level


def test_devices_by_name():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="Unknown device 'tpu'"):
        resolve_device("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a usable NVIDIA GPU")
def test_cuda_where_there_is_none_is_refused_with_a_way_out():
    with pytest.raises(InputError, match="--device cpu"):
        resolve_device("cuda")


def test_a_method_is_built_once_and_anew_when_a_file_of_its_weights_changes(tmp_path, monkeypatch):
    weights = write_adapted_flow(tmp_path / "adapted")
    built = get_method("deep-iterative", weights=weights)
    assert get_method("deep-iterative", weights=weights) is built
    assert get_method("deep-iterative") is not built
    (file,) = weights.glob("*.pt")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="altered or cut off"):
        get_method("deep-iterative", weights=weights)
