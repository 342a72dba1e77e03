"""Reading of the program's JSON files: every complaint names the file and the key."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from .errors import InputError

MAX_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 16
_REQUIRED = object()


class Record:
    """A JSON object that knows its file and its place in it, and gives its values checked.

    Every method raises InputError, naming the file and the key, for a missing key, a wrong type or a value that is
    not finite. A key without a default is required.
    """

    def __init__(self, values: Any, path: Path, place: str = "") -> None:
        self.path, self.place = path, place
        if not isinstance(values, dict):
            raise self.error(f"expected an object in braces, found {_kind(values)}")
        self._values = values

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def error(self, complaint: str, key: str | None = None) -> InputError:
        """The InputError for ``complaint`` about ``key`` of this object."""
        where = self.place if key is None else _join(self.place, key)
        return InputError(f"{self.path}: {where + ': ' if where else ''}{complaint}.")

    def refuse_misspelt(self, known: Collection[str]) -> None:
        """Refuse keys that look like a slip for one of ``known``; other unknown keys are left to their owners."""
        for key in self._values:
            if key in known:
                continue
            close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.85)
            if close and close[0] not in self._values:
                raise self.error(f"unknown key; did you mean '{close[0]}'?", key)

    def get(self, key: str, default: Any = _REQUIRED) -> Any:
        value = self._values.get(key)
        if value is not None:
            return value
        if default is _REQUIRED:
            raise self.error("this key is missing", key)
        return default

    def text(self, key: str, default: Any = _REQUIRED) -> Any:
        """A string that is not empty."""
        value = self.get(key, default)
        if value is default:
            return value
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"expected a text, found {_kind(value)}", key)
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise self.error("holds half a character (a lone surrogate), which no file can be named by", key)
        return value

    def boolean(self, key: str, default: Any = _REQUIRED) -> Any:
        value = self.get(key, default)
        if value is not default and not isinstance(value, bool):
            raise self.error(f"expected true or false, found {_kind(value)}", key)
        return value

    def choice(self, key: str, options: Collection[str], default: Any = _REQUIRED) -> Any:
        value = self.get(key, default)
        if value is not default and (not isinstance(value, str) or value not in options):
            raise self.error(f"expected one of {', '.join(options)}, found {_kind(value)}", key)
        return value

    def number(self, key: str) -> float:
        return _number(self.get(key), lambda complaint: self.error(complaint, key))

    def count(self, key: str, largest: int) -> int:
        """A whole number from 1 to ``largest``."""
        value = self.number(key)
        if value != int(value) or not 1 <= value <= largest:
            raise self.error(f"expected a whole number from 1 to {largest}, found {value:g}", key)
        return int(value)

    def numbers(self, key: str, shape: tuple[int | None, ...]) -> Tensor:
        """A float64 tensor of ``shape``; None as its first length stands for any."""

        def read(value: Any, shape: tuple[int | None, ...], place: str) -> Any:
            if not shape:
                return _number(value, lambda complaint: self.error(complaint, place))
            if not isinstance(value, list) or (shape[0] is not None and len(value) != shape[0]):
                count = "" if shape[0] is None else f"{shape[0]} "
                items = "lists" if len(shape) > 1 else "numbers"
                raise self.error(f"expected a list of {count}{items}, found {_kind(value)}", place)
            return [read(item, shape[1:], f"{place}[{i}]") for i, item in enumerate(value)]

        values = read(self.get(key), shape, key)
        return torch.tensor(values, dtype=torch.float64).reshape([n if n is not None else len(values) for n in shape])

    def records(self, key: str, default: Any = _REQUIRED) -> list[Record]:
        """A list of objects."""
        value = self.get(key, default)
        if not isinstance(value, list):
            raise self.error(f"expected a list, found {_kind(value)}", key)
        return [Record(item, self.path, f"{_join(self.place, key)}[{i}]") for i, item in enumerate(value)]

    def file(self, key: str, default: Any = _REQUIRED) -> Any:
        """A file or folder inside the folder of the JSON, as a path; one that leads out of it is refused."""
        value = self.text(key, default)
        if value is default:
            return value
        try:
            return self.path.parent / inside(value)
        except ValueError as error:
            raise self.error(str(error), key) from error


def inside(name: str) -> PurePosixPath:
    """The relative path ``name``; raises ValueError when it is absolute, leaves its folder or names nothing."""
    windows = PureWindowsPath(name)
    posix = PurePosixPath(windows.as_posix())
    depth = 0
    for part in posix.parts:
        depth += -1 if part == ".." else 1
        if depth < 0 or posix.is_absolute() or windows.drive or "\0" in part:
            break
    else:
        if depth > 0:
            return posix
    raise ValueError(f"'{name}' leaves the folder of the file; give a path inside it")


def read_json(path: str | Path) -> Any:
    """The content of any JSON file, with the limits of ``read_record``. Raises InputError."""
    path = Path(path)
    return _parse(read_text(path), path)


def read_record(path: str | Path, format_name: str, version: int = 1) -> Record:
    """Read a JSON file of ours and check its ``format``, ``version`` and ``coordinate_system`` (LPS, where given).

    Raises InputError for a file that is missing, larger than 32 MB, nested deeper than 16, not JSON (NaN and infinity
    are not), with a key twice, or of another format or version.
    """
    path = Path(path)
    record = Record(read_json(path), path)
    found = record.get("format", None)
    if found != format_name:
        raise record.error(f'expected "{format_name}", found {_kind(found)}', "format")
    found = record.get("version", None)
    if isinstance(found, bool) or found != version:
        raise record.error(f"this program reads version {version}, found {_kind(found)}", "version")
    if record.get("coordinate_system", "LPS") != "LPS":
        raise record.error(f'only "LPS" is read, found {_kind(record.get("coordinate_system"))}', "coordinate_system")
    return record


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, of 32 MB at most. Raises InputError."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: cannot be read ({'a folder' if path.is_dir() else 'no ordinary file'}).")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path}: has {size / 1e6:.0f} MB; a file of this kind has at most {MAX_BYTES / 1e6:.0f}.")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file in UTF-8 (byte {error.start} is not UTF-8).") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _parse(text: str, path: Path) -> Any:
    deepest = _deepest(text)
    if deepest > MAX_DEPTH:
        raise InputError(f"{path}: its lists and objects are nested {deepest} deep; {MAX_DEPTH} is the limit.")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"the key '{key}' is there twice")
            found[key] = value
        return found

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not a JSON number")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is not valid JSON: {error.msg} in line {error.lineno}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON: {error}.") from error


def _deepest(text: str) -> int:
    """How deep lists and objects are nested in a JSON text; brackets within quotes don't count."""
    depth = deepest = 0
    quoted = False
    for found in re.finditer(r'\\.|["\[\]{}]', text, re.DOTALL):
        mark = found[0]
        if mark == '"':
            quoted = not quoted
        elif not quoted and mark in ("[", "{"):
            depth += 1
            deepest = max(deepest, depth)
        elif not quoted and mark in ("]", "}"):
            depth -= 1
    return deepest


def _number(value: Any, error: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise error(f"expected a number, found {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise error("expected a finite number")
    return number


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _kind(value: Any) -> str:
    """A JSON value in words, short."""
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
