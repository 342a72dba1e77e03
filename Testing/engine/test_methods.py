"""Methods, presets and devices by name."""

import pytest
import torch
from DeepReg2D3DLib.engine.correspondences import Progress
from DeepReg2D3DLib.engine.device import resolve_device
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.methods import METHOD_NAMES, METHODS, get_method
from DeepReg2D3DLib.engine.patch_matching import PatchMatching
from DeepReg2D3DLib.engine.presets import PRESETS, get_preset


def test_dppc_needs_nothing():
    method = get_method("dppc")
    assert method.name == "dppc" and not method.learned and isinstance(method.correspondences, PatchMatching)


def test_methods_without_weights_name_the_one_that_works():
    missing = [name for name in METHOD_NAMES if name not in METHODS]
    for name in missing:
        with pytest.raises(InputError, match=rf"'{name}'.*--method dppc"):
            get_method(name)


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
