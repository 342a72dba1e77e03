"""case.json: round trips, what may be left out, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from DeepReg2D3DLib.engine.case_file import Case, find_cases, load_case, save_case
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose

MINIMAL = {"format": "deepreg2d3d-case", "version": 1, "ct": "ct.nrrd", "geometry": "geometry.json"}
IDENTITY = torch.eye(4).tolist()


def _pose(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    turn, shift = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    return make_pose(exp_rotation(turn), 100 * shift)


def _written(folder: Path, **changes) -> Path:
    (folder / "case.json").write_text(json.dumps(MINIMAL | changes))
    return folder


def test_round_trip(tmp_path):
    targets = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    starts = [(f"{i:03d}", _pose(i)) for i in range(4)]
    case = Case("spine", tmp_path / "ct.nrrd", tmp_path / "geometry.json", _pose(50), targets, starts)
    save_case(case, tmp_path)
    found = load_case(tmp_path)
    assert (found.name, found.ct, found.geometry) == ("spine", tmp_path / "ct.nrrd", tmp_path / "geometry.json")
    torch.testing.assert_close(found.ground_truth, case.ground_truth)
    torch.testing.assert_close(found.targets, targets)
    assert [name for name, _ in found.starts] == ["000", "001", "002", "003"]
    for (_, own), (_, other) in zip(starts, found.starts, strict=True):
        torch.testing.assert_close(other, own)
    torch.testing.assert_close(load_case(tmp_path / "case.json").ground_truth, case.ground_truth)


def test_what_may_be_left_out(tmp_path):
    case = load_case(_written(tmp_path))
    assert (case.name, case.ground_truth, case.targets, case.starts) == (tmp_path.name, None, None, [])
    save_case(case, tmp_path)
    assert load_case(tmp_path) == case


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ct": None}, "ct: this key is missing"),
        ({"ct": "../ct.nrrd"}, "ct: '../ct.nrrd' leaves the folder"),
        ({"geometry": "/g.json"}, "geometry: '/g.json' leaves the folder"),
        ({"ground_truth": "/pose.json"}, "ground_truth: '/pose.json' leaves the folder"),
        ({"ground_truth": "none.json"}, "none.json: cannot be read"),
        ({"targets": [[1, 2]]}, r"targets\[0\]: expected a list of 3"),
        ({"targets": [[1, 2, None]]}, r"targets\[0\]\[2\]: expected a number"),
        ({"starts": [IDENTITY]}, r"starts\[0\]: expected an object"),
        ({"starts": [{"id": "0"}]}, r"starts\[0\].ct_to_world: this key is missing"),
        ({"starts": [{"id": 0, "ct_to_world": IDENTITY}]}, r"starts\[0\].id: expected a text"),
        ({"starts": [{"id": "0", "ct_to_world": IDENTITY}] * 2}, "id '0' is there twice"),
        ({"starts": [{"id": "0", "ct_to_world": (2 * torch.eye(4)).tolist()}]}, r"starts\[0\].ct_to_world: the last"),
        ({"start": []}, "did you mean 'starts'"),
    ],
)
def test_wrong_cases_are_refused_with_file_and_key(tmp_path, change, words):
    with pytest.raises(InputError, match=words) as error:
        load_case(_written(tmp_path, **change))
    assert str(tmp_path) in str(error.value)


def test_files_outside_the_folder_are_not_written_into_a_case(tmp_path):
    (tmp_path / "case").mkdir()
    with pytest.raises(InputError, match="does not lie in this folder"):
        save_case(Case("x", tmp_path / "ct.nrrd", Path("geometry.json")), tmp_path / "case")


def test_cases_are_found_in_a_folder_of_folders(tmp_path):
    for name in ("b", "a", "no"):
        (tmp_path / name).mkdir()
    _written(tmp_path / "b")
    _written(tmp_path / "a")
    assert find_cases(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert find_cases(tmp_path / "a") == [tmp_path / "a"]
    with pytest.raises(InputError, match=r"no case\.json"):
        find_cases(tmp_path / "no")


def test_the_real_cases_are_read(shared_data):
    folders = find_cases(shared_data / "cases")
    assert len(folders) == 4
    for folder in folders:
        case = load_case(folder)
        assert case.ground_truth is not None and len(case.targets) >= 100 and len(case.starts) >= 20
