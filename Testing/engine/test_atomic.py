"""Files appear whole or not at all."""

import os
import stat

import pytest
from DeepReg2D3DLib.engine.atomic import atomic_path, write_json, write_text
from DeepReg2D3DLib.engine.errors import InputError


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.json"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.json"]


def test_numbers_that_json_has_not_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "out.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []


def test_the_suffix_is_kept_so_that_writers_choose_their_format_by_it(tmp_path):
    for name in ("a.png", "a.nii.gz", "plain"):
        with atomic_path(tmp_path / "new" / name) as part:
            assert part.name.endswith(name[1:] if "." in name else "")
            assert part.parent == tmp_path / "new"
            part.write_text("x")
        assert (tmp_path / "new" / name).read_text() == "x"


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_results_are_readable_like_any_new_file(tmp_path):
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_a_folder_that_cannot_be_made_is_told_in_words(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot be written"):
        write_text(tmp_path / "file" / "out.json", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot be written"):
        write_text(tmp_path / "folder", "x")
