"""The protocol between Slicer and the engine's process: one JSON object a line, UTF-8, both ways.

A request carries ``v`` (the protocol's version), ``type``, ``id`` (chosen by the client, repeated in every answer to
it) and the fields listed in ``REQUESTS``. An answer carries ``v``, ``type``, ``id`` (null where it answers nothing) and
fields of its own. Arrays travel beside the lines, in mapped files (see ``arrays``). Poses are 4x4 lists, LPS mm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

VERSION = 1
# A line holds poses, names and numbers; images travel in files. 1 MiB is far above any honest message.
MAX_LINE_BYTES = 1 << 20
MAX_VIEWS = 64
MAX_LANDMARKS = 1000
MAX_IMAGE_SIDE = 16384
# What a view can be rendered as: the whole CT (as the X-ray shows it) or its bone alone (where one looks to compare).
PICTURES = ("drr", "bone")

Check = Callable[[Any], bool]


class MessageError(ValueError):
    """A line that isn't a message of this protocol; the text says what is wrong with it."""


def _is_number(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 4096


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 1 << 31


def _is_matrix(rows: int, columns: int) -> Check:
    def check(value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) == rows
            and all(isinstance(row, list) and len(row) == columns and all(map(_is_number, row)) for row in value)
        )

    return check


def _is_array_reference(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    shape = value.get("shape")
    return (
        _is_text(value.get("file"))
        and _is_text(value.get("dtype"))
        and isinstance(shape, list)
        and len(shape) <= 5
        and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
        and isinstance(value.get("offset", 0), int)
        and value.get("offset", 0) >= 0
    )


def is_camera(value: Any) -> bool:
    """Whether ``value`` has a camera's fields: name, columns, rows, intrinsics, world_to_camera, pixel_spacing_mm."""
    return (
        isinstance(value, dict)
        and _is_text(value.get("name"))
        and _is_count(value.get("columns"))
        and _is_count(value.get("rows"))
        and max(value["columns"], value["rows"]) <= MAX_IMAGE_SIDE
        and _is_matrix(3, 3)(value.get("intrinsics"))
        and _is_matrix(4, 4)(value.get("world_to_camera"))
        and isinstance(value.get("pixel_spacing_mm"), list)
        and len(value["pixel_spacing_mm"]) == 2
        and all(map(_is_number, value["pixel_spacing_mm"]))
    )


def _is_view(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_text(value.get("name"))
        and is_camera(value.get("camera"))
        and (_is_text(value.get("path")) or _is_array_reference(value.get("image")))
        and _is_text(value.get("image_kind", "auto"))
    )


def _is_views(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_VIEWS and all(map(_is_view, value))


def _is_camera_with_path(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and is_camera(value.get("camera"))
        and (value.get("path") is None or _is_text(value["path"]))
        and _is_text(value.get("image_kind", "auto"))
        and (value.get("frame") is None or _is_frame(value["frame"]))
    )


def _are_cameras_with_paths(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_VIEWS and all(map(_is_camera_with_path, value))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_VIEWS and all(map(_is_text, value))


def _are_pictures(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(name in PICTURES for name in value)


def _are_numbers(count: int) -> Check:
    return lambda value: isinstance(value, list) and len(value) == count and all(map(_is_number, value))


def _is_landmark(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_text(value.get("name"))
        and _are_numbers(3)(value.get("point"))
        and isinstance(value.get("clicks"), dict)
        and all(_is_text(view) and _are_numbers(2)(pixel) for view, pixel in value["clicks"].items())
    )


def _are_landmarks(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_LANDMARKS and all(map(_is_landmark, value))


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _are_numbers(3)(value.get("centre"))
        and _is_matrix(3, 3)(value.get("axes"))
        and _are_numbers(3)(value.get("size_mm"))
    )


def _is_frame(value: Any) -> bool:
    return value in ("mean", "maximum") or _is_count(value)


_POSE = _is_matrix(4, 4)


@dataclass(frozen=True)
class Field:
    """One field of a request: what it must be, in words for the error, and whether it may be left out or null."""

    check: Check
    words: str
    required: bool = True


def _need(check: Check, words: str) -> Field:
    return Field(check, words)


def _may(check: Check, words: str) -> Field:
    return Field(check, words, required=False)


_POSE_WORDS = "a 4x4 matrix of finite numbers"
REQUESTS: Mapping[str, Mapping[str, Field]] = {
    "ping": {},
    "state": {},
    "shutdown": {},
    "release": {"files": _need(_is_names, "a list of file names")},
    "load_ct": {
        "name": _need(_is_text, "a text"),
        "path": _may(_is_text, "a text"),
        "array": _may(_is_array_reference, "an array reference"),
        "ijk_to_ct": _may(_POSE, _POSE_WORDS),
        "file_ijk_to_ct": _may(_POSE, _POSE_WORDS),
        "shape": _may(lambda v: isinstance(v, list) and len(v) == 3 and all(map(_is_count, v)), "three sizes"),
    },
    "set_views": {"views": _need(_is_views, "a list of views (name, camera, path or image)")},
    "set_region": {
        "name": _may(_is_text, "a text"),
        "box": _may(_is_box, "a box (centre, axes, size_mm)"),
        "labels": _may(_is_array_reference, "an array reference"),
        "ijk_to_ct": _may(_POSE, _POSE_WORDS),
        "label": _may(_is_count, "a whole number from 1"),
    },
    "render": {
        "ct_to_world": _need(_POSE, _POSE_WORDS),
        "max_side": _may(lambda v: _is_count(v) and v <= MAX_IMAGE_SIDE, "a size in pixels"),
        "pictures": _may(_are_pictures, f"a list of {', '.join(PICTURES)}"),
        "views": _may(_is_names, "a list of view names"),
    },
    "register": {
        "run": _need(_is_text, "a text"),
        "ct_to_world": _need(_POSE, _POSE_WORDS),
        "method": _need(_is_text, "a text"),
        "preset": _need(_is_text, "a text"),
        "device": _may(_is_text, "a text"),
        "weights": _may(_is_text, "a text"),
        "steps": _may(_is_count, "a whole number from 1"),
        "views": _may(_is_names, "a list of view names"),
    },
    "resume": {"steps": _may(_is_count, "a whole number from 1")},
    "cancel": {},
    "read_geometry": {
        "path": _need(_is_text, "a text"),
        "coordinates": _may(_is_text, "a text"),
        "sizes": _may(lambda v: isinstance(v, list) and all(map(_are_numbers(2), v)), "a list of image sizes"),
    },
    "save_geometry": {
        "path": _need(_is_text, "a text"),
        "views": _need(_are_cameras_with_paths, "a list of views (camera, path)"),
    },
    "read_xray": {
        "path": _need(_is_text, "a text"),
        "camera": _may(is_camera, "a camera"),
        "image_kind": _may(_is_text, "a text"),
        "frame": _may(_is_frame, "a frame number from 1, 'mean' or 'maximum'"),
    },
    "make_sample": {"seed": _may(lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number")},
    "initial_pose": {
        "kind": _may(_is_text, "a text"),
        "ct_to_world": _may(_POSE, _POSE_WORDS),
        "angles_deg": _may(_are_numbers(2), "two angles"),
    },
    "landmark_pose": {
        "landmarks": _need(_are_landmarks, "a list of landmarks (name, point, clicks: pixel by view)"),
    },
    "bone_surface": {
        "hu": _may(_is_number, "a number"),
        "spacing_mm": _may(lambda v: _is_number(v) and v > 0, "a length in mm above 0"),
    },
    "read_pose": {"path": _need(_is_text, "a text")},
    "read_case": {"path": _need(_is_text, "a text")},
    "save_pose": {"path": _need(_is_text, "a text"), "ct_to_world": _need(_POSE, _POSE_WORDS)},
    "save_ct": {"path": _need(_is_text, "a text")},
    "save_report": {"path": _need(_is_text, "a text")},
}


@dataclass(frozen=True)
class Request:
    """A checked request: its type, its id and its fields (absent and null ones are left out)."""

    type: str
    id: int
    fields: Mapping[str, Any]


def _object(line: bytes | str) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise MessageError(f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        message = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"the line is not JSON ({error})") from None
    if not isinstance(message, dict):
        raise MessageError("the line is JSON but not an object")
    found = message.get("v")
    if found != VERSION:
        shown = str(found)[:80] if isinstance(found, (int, float, str)) else "none"
        raise MessageError(f"protocol version {shown} instead of {VERSION}")
    if not isinstance(message.get("type"), str):
        raise MessageError("the message has no type")
    return message


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def parse_request(line: bytes | str) -> Request:
    """The request in a line from the client. Raises MessageError in words."""
    message = _object(line)
    kind, number = message["type"], message.get("id")
    if kind not in REQUESTS:
        raise MessageError(f"unknown request '{kind[:80]}'")
    if not isinstance(number, int) or isinstance(number, bool):
        raise MessageError(f"request '{kind}': its id must be a whole number")
    known = REQUESTS[kind]
    for name in message:
        if name not in known and name not in ("v", "type", "id"):
            raise MessageError(f"request '{kind}': unknown field '{name[:80]}'")
    fields = {}
    for name, field in known.items():
        value = message.get(name)
        if value is None:
            if field.required:
                raise MessageError(f"request '{kind}': field '{name}' is missing")
            continue
        if not _passes(field.check, value):
            raise MessageError(f"request '{kind}': field '{name}' must be {field.words}")
        fields[name] = value
    return Request(kind, number, fields)


def _passes(check: Check, value: Any) -> bool:
    try:
        return check(value)
    except Exception:  # one line, whatever is in it, must not end the process that reads it
        return False


def request_id(line: bytes | str) -> int | None:
    """The id in a line that ``parse_request`` refused, so that the refusal can name what it answers."""
    try:
        number = json.loads(line).get("id")
    except (ValueError, AttributeError, RecursionError):
        return None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def parse_answer(line: bytes | str) -> dict[str, Any]:
    """The answer in a line from the worker. Raises MessageError in words."""
    return _object(line)


def json_ready(value: Any) -> Any:
    """``value`` with everything JSON can't hold replaced: not-finite numbers by null, arrays by lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if hasattr(value, "tolist"):
        return json_ready(value.tolist())
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def encode(kind: str, number: int | None, /, **fields: Any) -> bytes:
    """One message as a line of UTF-8 JSON with its newline. Raises MessageError where it would be too long."""
    message = {"v": VERSION, "type": kind, "id": number, **json_ready(fields)}
    line = json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise MessageError(f"message '{kind}' has {len(line)} bytes, more than {MAX_LINE_BYTES}")
    return line
