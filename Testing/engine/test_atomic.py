"""Files appear whole or not at all."""

import os
import stat

import pytest
from DeepReg2D3DLib.engine.atomic import atomic_path, cut_torn_line, write_json, write_text, written_together
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


def test_files_written_together_are_all_there_or_none(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyError), written_together(tmp_path, last="a.txt") as folder:
        (folder / "a.txt").write_text("new")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"
    left = tmp_path / ".part-result"  # by a process that was killed
    left.mkdir()
    (left / "c.txt").write_text("half")
    with written_together(tmp_path, last="a.txt") as folder:
        for name in ("a.txt", "b.txt"):
            (folder / name).write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "new", "b.txt": "new"}


@pytest.mark.parametrize(("content", "whole"), [(b"", b""), (b"a\nb\n", b"a\nb\n"), (b"a\nb", b"a\n"), (b"a", b"")])
def test_a_torn_line_is_cut_off(tmp_path, content, whole):
    cut_torn_line(tmp_path / "none")
    (tmp_path / "log").write_bytes(content)
    cut_torn_line(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == whole and [path.name for path in tmp_path.iterdir()] == ["log"]
