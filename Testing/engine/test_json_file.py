"""Hostile and careless JSON: every complaint is an InputError that names the file, and the key where there is one."""

import contextlib
import json
import os
import time
from pathlib import Path

import pytest
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.json_file import MAX_BYTES, Record, inside, read_record
from hypothesis import given
from hypothesis import strategies as st

GOOD = {"format": "f", "version": 1, "coordinate_system": "LPS"}


def _refused(path, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        read_record(path, "f")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON.* in line 1"),
        ("[1, 2]", "expected an object"),
        ("null", "expected an object in braces, found nothing"),
        ('{"version": 1}', 'format: expected "f", found nothing'),
        ('{"format": "g", "version": 1}', 'found "g"'),
        ('{"format": "f"}', "version: .* found nothing"),
        ('{"format": "f", "version": 2}', "reads version 1, found 2"),
        ('{"format": "f", "version": true}', "reads version 1"),
        ('{"format": "f", "version": "1"}', "reads version 1"),
        ('{"format": "f", "version": 1, "coordinate_system": "RAS"}', 'coordinate_system: only "LPS"'),
        ('{"format": "f", "version": 1, "x": NaN}', "NaN is not a JSON number"),
        ('{"format": "f", "version": 1, "x": -Infinity}', "-Infinity is not a JSON number"),
        ('{"format": "f", "format": "f", "version": 1}', "'format' is there twice"),
        ("[" * 100000, "nested 100000 deep"),
        ('{"a":' * 50 + "1" + "}" * 50, "nested 50 deep"),
        ('{"a\\\\": ' + "[" * 50 + "]" * 50 + ', "b\\"": "["}', "nested 51 deep"),
        ('{"x": [' + '"\\"' * 2, "not valid JSON"),
        ('{"x": ' + "9" * 5000 + "}", "not valid JSON"),
    ],
)
def test_broken_files_are_refused(tmp_path, text, words):
    path = tmp_path / "x.json"
    path.write_text(text)
    _refused(path, words)


def test_missing_binary_and_huge_files_are_refused(tmp_path):
    _refused(tmp_path / "none.json", "cannot be read")
    _refused(tmp_path, "cannot be read")
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00{")
    _refused(binary, "not UTF-8")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    _refused(huge, "at most")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{" + ", ".join(f'"{number}": 0' for number in range(20_000)) + "}", "format: expected"),
        ('"' + '\\"' * 60_000, "not valid JSON"),
    ],
)
def test_a_large_file_is_refused_as_fast_as_it_is_read(tmp_path, text, words):
    path = tmp_path / "x.json"
    path.write_text(text)
    began = time.process_time()
    _refused(path, words)
    assert time.process_time() - began < 1


def test_a_byte_order_mark_and_brackets_in_texts_are_fine(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(GOOD | {"name": "[" * 100 + '\\"'}), encoding="utf-8-sig")
    assert read_record(path, "f").text("name").startswith("[[[")


@pytest.mark.parametrize(
    ("value", "read", "words"),
    [
        (None, lambda r: r.number("k"), "k: this key is missing"),
        ("1", lambda r: r.number("k"), "k: expected a number"),
        (True, lambda r: r.number("k"), "k: expected a number"),
        (10**400, lambda r: r.number("k"), "k: expected a finite number"),
        (1e999, lambda r: r.number("k"), "k: expected a finite number"),
        (1.5, lambda r: r.count("k", 10), "k: expected a whole number from 1 to 10"),
        (11, lambda r: r.count("k", 10), "whole number from 1 to 10"),
        ([1, 2, 3], lambda r: r.numbers("k", (2,)), "k: expected a list of 2 numbers, found a list of 3"),
        ([[1, 2], [3]], lambda r: r.numbers("k", (2, 2)), r"k\[1\]: expected a list of 2"),
        ([[1, 2], [3, "x"]], lambda r: r.numbers("k", (2, 2)), r"k\[1\]\[1\]: expected a number, found \"x\""),
        ({}, lambda r: r.numbers("k", (2, 2)), "found an object"),
        ("", lambda r: r.text("k"), "k: expected a text"),
        (3, lambda r: r.text("k"), "k: expected a text"),
        ("yes", lambda r: r.boolean("k"), "k: expected true or false"),
        (1, lambda r: r.boolean("k", False), "k: expected true or false"),
        ("c", lambda r: r.choice("k", ("a", "b")), "k: expected one of a, b"),
        ([], lambda r: r.choice("k", ("a", "b")), "k: expected one of a, b"),
        ([3], lambda r: r.records("k"), r"k\[0\]: expected an object"),
        ("x", lambda r: r.records("k"), "k: expected a list"),
    ],
)
def test_wrong_values_are_refused_with_their_key(tmp_path, value, read, words):
    with pytest.raises(InputError, match=words) as error:
        read(Record({"k": value}, tmp_path / "x.json"))
    assert "x.json" in str(error.value)


def test_slips_of_the_pen_are_pointed_out(tmp_path):
    record = Record({"mirorred": True, "comment": "mine"}, tmp_path / "x.json", "views[0]")
    with pytest.raises(InputError, match=r"views\[0\].mirorred: unknown key; did you mean 'mirrored'"):
        record.refuse_misspelt(("mirrored", "name"))
    Record({"mirrored": True, "comment": "mine"}, tmp_path / "x.json").refuse_misspelt(("mirrored", "name"))


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "C:/x", "C:x", "\\\\server\\x", "..\\x", ".", "..", "a/..", "a\0b"]
)
def test_paths_that_leave_the_folder_are_refused(name):
    with pytest.raises(ValueError, match="leaves the folder"):
        inside(name)


@pytest.mark.parametrize("name", ["ap.nrrd", "a/b/ap.nrrd", "a\\ap.nrrd", "a/../ap.nrrd", "..ap.nrrd", "a b.png"])
def test_paths_inside_are_accepted(name):
    inside(name)


@given(st.text(max_size=20))
def test_no_accepted_path_ever_leaves_its_folder(name):
    try:
        path = inside(name)
    except ValueError:
        return
    root = "/root/folder"
    assert os.path.normpath(f"{root}/{path}").startswith(f"{root}/")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda c: st.lists(c, max_size=4)))
def test_any_value_is_either_read_or_refused_as_input(value):
    record = Record({"k": value}, Path("x.json"))
    for read in (
        lambda: record.numbers("k", (2, 2)),
        lambda: record.numbers("k", (None, 3)),
        lambda: record.records("k"),
        lambda: record.text("k"),
        lambda: record.file("k"),
    ):
        with contextlib.suppress(InputError):
            read()
