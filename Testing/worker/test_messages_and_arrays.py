"""The protocol's own rules: what is refused, and that arrays survive the way through a file."""

import json

import numpy as np
import pytest
from DeepReg2D3DLib.worker import arrays, messages
from hypothesis import given
from hypothesis import strategies as st

POSE = np.eye(4).tolist()


def line(**fields):
    return json.dumps({"v": 1, "id": 1, **fields})


def test_a_request_comes_through_with_its_fields():
    request = messages.parse_request(line(type="render", ct_to_world=POSE, max_side=None))
    assert request.type == "render" and request.id == 1 and dict(request.fields) == {"ct_to_world": POSE}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"type": "render"}, "'ct_to_world' is missing"),
        ({"type": "render", "ct_to_world": [[1]]}, "4x4"),
        ({"type": "render", "ct_to_world": POSE, "max_side": -1}, "size in pixels"),
        ({"type": "render", "ct_to_world": POSE, "max_side": True}, "size in pixels"),
        ({"type": "render", "ct_to_world": POSE, "pictures": ["skin"]}, "a list of drr, bone"),
        ({"type": "render", "ct_to_world": POSE, "speed": 1}, "unknown field 'speed'"),
        ({"type": "dance"}, "unknown request 'dance'"),
        ({"type": "ping", "v": 2}, "version 2"),
        ({"type": "ping", "id": "x"}, "whole number"),
        ({"type": 3}, "no type"),
        ({"type": "set_views", "views": [{"name": "AP"}]}, "list of views"),
    ],
)
def test_wrong_requests_are_refused_in_words(fields, words):
    with pytest.raises(messages.MessageError, match=words):
        messages.parse_request(line(**fields))


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(data):
    try:
        messages.parse_request(data)
    except messages.MessageError as error:
        assert str(error)
    messages.request_id(data)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_whatever_is_encoded_can_be_parsed(value):
    answer = messages.parse_answer(messages.encode("done", 3, kind=value))
    assert answer["type"] == "done" and answer["id"] == 3


def test_a_message_that_is_too_long_is_not_sent():
    with pytest.raises(messages.MessageError, match="bytes"):
        messages.encode("done", 1, text="x" * messages.MAX_LINE_BYTES)


@pytest.fixture
def folder():
    folder = arrays.ArrayFolder.create()
    yield folder
    folder.remove()


@pytest.mark.parametrize("dtype", arrays.DTYPES)
def test_arrays_of_every_type_come_back(folder, dtype):
    writer = arrays.ArrayWriter(folder)
    sent = {"a": np.arange(24).reshape(2, 3, 4).astype(dtype), "deep": [{"b": np.zeros((0, 2), dtype)}, 5, None]}
    back, files = folder.inside(json.loads(json.dumps(writer.outside(sent))))
    np.testing.assert_array_equal(back["a"], sent["a"])
    assert back["a"].dtype == dtype and back["deep"][0]["b"].shape == (0, 2) and back["deep"][1:] == [5, None]
    assert len(files) == 1


def test_released_files_are_used_again_and_waiting_ones_never(folder):
    writer = arrays.ArrayWriter(folder)
    first, _ = writer.pack({"a": np.zeros(1000)})
    second, _ = writer.pack({"a": np.ones(1000)})
    assert first != second
    writer.release(first)
    third, reference = writer.pack({"a": np.full(500, 3.0)})
    assert third == first
    np.testing.assert_array_equal(folder.read(reference["a"]), 3.0)
    writer.release("never heard of")


def test_a_reader_that_lags_behind_gets_no_more_pictures(folder):
    writer = arrays.ArrayWriter(folder)
    for _ in range(arrays.MAX_WAITING):
        assert not writer.behind
        writer.pack({"a": np.zeros(10)})
    assert writer.behind
    assert writer.outside({"drr": np.zeros(10), "n": 1}, with_pictures=False) == {"drr": None, "n": 1}


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "a\\b", "C:x", "", ".", ".."])
def test_nothing_outside_the_folder_is_read(folder, name):
    with pytest.raises(arrays.ArrayError):
        folder.open({"file": name, "dtype": "int16", "shape": [1]})


@pytest.mark.parametrize("ref", [{"dtype": "object"}, {"shape": [10**9]}, {"offset": 10**6}])
def test_references_that_the_file_cannot_hold_are_refused(folder, ref):
    known = folder.write("a.bin", np.zeros(10, np.int16))
    with pytest.raises(arrays.ArrayError):
        folder.open(known | ref)


def test_only_the_owner_removes_the_folder(folder):
    folder.claim("mine")
    folder.remove_if_mine("other")
    assert folder.path.exists()
    folder.remove_if_mine("mine")
    assert not folder.path.exists()
    folder.remove_if_mine("mine")
