"""The protocol's own rules: what is refused, and that arrays survive the way through a file."""

import json

import numpy as np
import pytest
from DeepReg2D3DLib.worker import arrays, messages
from hypothesis import example, given
from hypothesis import strategies as st

POSE = np.eye(4).tolist()


CAMERA = {
    "name": "AP",
    "columns": 4,
    "rows": 3,
    "intrinsics": np.eye(3).tolist(),
    "world_to_camera": POSE,
    "pixel_spacing_mm": [1, 1.5],
}
ARRAY = {"file": "a.bin", "dtype": "int16", "shape": [2, 3, 4], "offset": 0}
BOX = {"centre": [0, 0, 0], "axes": np.eye(3).tolist(), "size_mm": [9, 9, 9]}
VIEW = {"name": "AP", "camera": CAMERA, "image": ARRAY, "image_kind": "auto"}
VALID = {
    "ping": {},
    "state": {},
    "shutdown": {},
    "release": {"files": ["a.bin"]},
    "load_ct": {
        "name": "CT", "path": "ct.nrrd", "array": ARRAY, "ijk_to_ct": POSE, "file_ijk_to_ct": POSE, "shape": [2, 3, 4],
    },
    "set_views": {"views": [VIEW, {"name": "LAT", "camera": CAMERA, "path": "lat.png"}]},
    "set_region": {"name": "L3", "box": BOX, "labels": ARRAY, "ijk_to_ct": POSE, "label": 1},
    "render": {"ct_to_world": POSE, "max_side": 64, "pictures": ["drr", "bone"], "views": ["AP"]},
    "register": {
        "run": "1", "ct_to_world": POSE, "method": "dppc", "preset": "fast", "device": "cpu", "weights": "w",
        "steps": 2, "views": ["AP"],
    },
    "resume": {"steps": 1},
    "cancel": {},
    "read_geometry": {"path": "g.json", "coordinates": "LPS", "sizes": [[4, 3]]},
    "save_geometry": {
        "path": "g.json", "views": [{"camera": CAMERA, "path": None, "image_kind": "auto", "frame": "mean"}],
    },
    "read_xray": {"path": "x.png", "camera": CAMERA, "image_kind": "auto", "frame": 2},
    "make_sample": {"seed": 0},
    "initial_pose": {"kind": "auto", "ct_to_world": POSE, "angles_deg": [30, 0.5]},
    "landmark_pose": {"landmarks": [{"name": "L1", "point": [0, 0, 0], "clicks": {"AP": [1, 2.5]}}]},
    "bone_surface": {"hu": 250.0, "spacing_mm": 3},
    "read_case": {"path": "case"},
    "read_pose": {"path": "p.json"},
    "save_pose": {"path": "p.json", "ct_to_world": POSE},
    "save_ct": {"path": "ct.nrrd"},
    "save_report": {"path": "r.json"},
}  # fmt: skip


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
        ({"type": "save_geometry", "path": "x", "views": [1]}, "list of views"),
        ({"type": "save_geometry", "path": "x", "views": [{"camera": CAMERA, "path": 1}]}, "list of views"),
        ({"type": "bone_surface", "hu": 10**400}, "'hu' must be a number"),
        ({"type": "ping", "v": [2]}, "protocol version none"),
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


def test_valid_requests_of_every_type_come_through():
    assert set(VALID) == set(messages.REQUESTS)
    for kind, fields in VALID.items():
        known = messages.REQUESTS[kind]
        assert set(fields) == set(known)  # no check is left out below
        assert dict(messages.parse_request(line(type=kind, **fields)).fields) == fields


def places(value, path=()):
    """Where something stands in a JSON value: every key and index that leads to a part of it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def replaced(value, path, part):
    if not path:
        return part
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], part)
    return copy


PLACES = [(kind, place) for kind, fields in VALID.items() for place in places(fields)]
WRONG = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers()
    | st.sampled_from([10**400, -(10**400), 1 << 62, "x" * 5000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "camera", "file"]), inner),
    max_leaves=6,
)  # fmt: skip


@given(place=st.sampled_from(PLACES), part=WRONG)
@example(place=("save_geometry", ("views", 0)), part=1)
@example(place=("render", ("ct_to_world", 0, 0)), part=10**400)
def test_no_value_of_a_field_breaks_the_parser(place, part):
    kind, path = place
    fields = replaced(VALID[kind], path, part)
    name = path[0]
    assert messages.REQUESTS[kind][name].check(fields[name]) in (True, False)
    try:
        messages.parse_request(line(type=kind, **fields))
    except messages.MessageError as error:
        assert "\n" not in str(error)


def test_a_check_that_trips_refuses_the_message(monkeypatch):
    tripping = {"seed": messages.Field(lambda value: value.nothing, "a whole number")}
    monkeypatch.setattr(messages, "REQUESTS", {"make_sample": tripping})
    with pytest.raises(messages.MessageError, match="a whole number"):
        messages.parse_request(line(type="make_sample", seed=1))


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
