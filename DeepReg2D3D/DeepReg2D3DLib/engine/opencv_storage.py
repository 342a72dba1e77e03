"""Files of OpenCV's cv2.FileStorage, in YAML and JSON, read and written without OpenCV.

Read is what FileStorage writes, and the plain YAML that people write by hand for it: maps, lists, numbers, strings and
``!!opencv-matrix``. Anchors, other tags and several documents in a file are not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .json_file import read_json, read_text

_DEEPEST = 16
_MAX_ENTRIES = 1_000_000
_MATRIX_KEYS = {"rows", "cols", "dt", "data"}
_KEY = re.compile(r"""("[^"]*"|'[^']*'|[^\s:#\[\]{},'"&*!|>%@`][^:#]*?)\s*:(?:\s+|$)""")


def read_storage(path: str | Path) -> dict[str, Any]:
    """The top map of a .json, .yaml or .yml file; matrices as float64 arrays. Raises InputError naming the line."""
    path = Path(path)
    if path.suffix.lower() == ".json":
        content = _with_matrices(read_json(path), path)
    else:
        content = _Yaml(read_text(path), path).content()
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a map of names and values, as cv2.FileStorage writes.")
    return content


def yaml_text(content: Mapping[str, Any]) -> str:
    """YAML as cv2.FileStorage reads it, of maps, lists of maps, numbers, strings and 2-D arrays."""
    return "%YAML:1.0\n---\n" + "\n".join(_yaml_lines(content, 0)) + "\n"


def json_content(content: Any) -> Any:
    """What json.dump makes a file of that cv2.FileStorage reads, of the same."""
    if isinstance(content, np.ndarray):
        rows, cols = content.shape
        return {"type_id": "opencv-matrix", "rows": rows, "cols": cols, "dt": "d", "data": content.ravel().tolist()}
    if isinstance(content, Mapping):
        return {key: json_content(value) for key, value in content.items()}
    if isinstance(content, list):
        return [json_content(value) for value in content]
    return content


def _yaml_lines(content: Mapping[str, Any], depth: int) -> list[str]:
    pad, lines = "   " * depth, []
    for key, value in content.items():
        if isinstance(value, np.ndarray):
            rows, cols = value.shape
            lines += [
                f"{pad}{key}: !!opencv-matrix",
                f"{pad}   rows: {rows}",
                f"{pad}   cols: {cols}",
                f"{pad}   dt: d",
            ]
            numbers = [_yaml_number(number) for number in value.ravel()]
            wrapped = [", ".join(numbers[start : start + 4]) for start in range(0, len(numbers), 4)]
            lines.append(f"{pad}   data: [ " + f",\n{pad}       ".join(wrapped) + " ]")
        elif isinstance(value, Mapping):
            lines += [f"{pad}{key}:", *_yaml_lines(value, depth + 1)]
        elif isinstance(value, list):
            lines.append(f"{pad}{key}:")
            for entry in value:
                lines += [f"{pad}   -", *_yaml_lines(entry, depth + 2)]
        elif isinstance(value, str):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'{pad}{key}: "{escaped}"')
        else:
            lines.append(f"{pad}{key}: {_yaml_number(value)}")
    return lines


def _yaml_number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    text = f"{value:.17g}"
    return text if re.search(r"[.en]", text) else text + "."


def _with_matrices(value: Any, path: Path, depth: int = 0) -> Any:
    """Maps of rows, cols, dt and data become arrays."""
    if depth > _DEEPEST:
        raise InputError(f"{path}: is nested too deep.")
    if isinstance(value, dict):
        if _MATRIX_KEYS <= set(value):
            return _matrix(value, path)
        return {key: _with_matrices(item, path, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_matrices(item, path, depth + 1) for item in value]
    return value


def _matrix(value: Mapping[str, Any], path: Path) -> np.ndarray:
    rows, cols, kind, data = (value[key] for key in ("rows", "cols", "dt", "data"))
    if kind not in ("d", "f", "i", "u", "w", "s", "c") or not isinstance(data, list):
        raise InputError(f"{path}: holds a matrix of a kind that is not read (dt must be d, f or a whole number's).")
    try:
        numbers = np.array([float(item) for item in data], dtype=np.float64)
        shape = (int(rows), int(cols))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{path}: holds a matrix whose rows, cols or data are no numbers.") from None
    if min(shape) < 1 or len(numbers) != shape[0] * shape[1]:
        raise InputError(f"{path}: holds a matrix of {shape[0]} x {shape[1]} with {len(numbers)} numbers.")
    return numbers.reshape(shape)


class _Yaml:
    """A reader of block maps and lists by indentation, with flow lists and maps inside."""

    def __init__(self, text: str, path: Path) -> None:
        self.path = path
        self.lines = self._logical_lines(text)
        self.at = 0

    def content(self) -> Any:
        if not self.lines:
            return {}
        value = self._block(self.lines[0][0], 0)
        if self.at < len(self.lines):
            raise self._error("is not indented like the lines before it")
        return value

    def _error(self, what: str, number: int | None = None) -> InputError:
        line = number if number is not None else self.lines[min(self.at, len(self.lines) - 1)][2]
        return InputError(f"{self.path}: line {line} {what}.")

    def _logical_lines(self, text: str) -> list[tuple[int, str, int]]:
        """(indentation, text, line number), without comments; a flow value that spans lines is one."""
        lines: list[tuple[int, str, int]] = []
        open_brackets = 0
        for number, raw in enumerate(text.splitlines(), start=1):
            line = _without_comment(raw)
            if not line.strip() or (not open_brackets and re.match(r"%|---\s*$|\.\.\.\s*$", line)):
                continue
            if "\t" in line[: len(line) - len(line.lstrip())]:
                raise InputError(f"{self.path}: line {number} is indented with tabs; YAML wants spaces.")
            if open_brackets > 0:
                indent, before, first = lines[-1]
                lines[-1] = (indent, f"{before} {line.strip()}", first)
            else:
                lines.append((len(line) - len(line.lstrip(" ")), line.strip(), number))
            open_brackets += _bracket_balance(line)
            if len(lines) > _MAX_ENTRIES:
                raise InputError(f"{self.path}: has too many lines.")
        if open_brackets > 0:
            raise InputError(f"{self.path}: a bracket of line {lines[-1][2]} is never closed.")
        return lines

    def _block(self, indent: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise self._error("is nested too deep")
        if self.lines[self.at][1].startswith(("- ", "-")) and not re.match(r"-[\d.]", self.lines[self.at][1]):
            return self._list(indent, depth)
        return self._map(indent, depth)

    def _list(self, indent: int, depth: int) -> list[Any]:
        values: list[Any] = []
        while self.at < len(self.lines) and self.lines[self.at][0] == indent and self.lines[self.at][1][0] == "-":
            _, text, number = self.lines[self.at]
            rest = text[1:].lstrip()
            if not rest:
                self.at += 1
                values.append(self._nested(indent, depth))
            elif _KEY.match(rest):  # a map that begins on the line of its dash
                self.lines[self.at] = (indent + len(text) - len(rest), rest, number)
                values.append(self._block(self.lines[self.at][0], depth + 1))
            else:
                self.at += 1
                values.append(self._scalar(rest, number))
        return values

    def _map(self, indent: int, depth: int) -> Any:
        values: dict[str, Any] = {}
        while self.at < len(self.lines) and self.lines[self.at][0] == indent:
            _, text, number = self.lines[self.at]
            match = _KEY.match(text)
            if match is None:
                raise self._error("is not 'name: value'")
            key = match[1].strip("\"'")
            if key in values:
                raise self._error(f"names '{key}' a second time")
            rest = re.sub(r"^!!?[\w-]+\s*", "", text[match.end() :].strip())
            self.at += 1
            values[key] = self._scalar(rest, number) if rest else self._nested(indent, depth)
        if self.at < len(self.lines) and self.lines[self.at][0] > indent:
            raise self._error("is not indented like the lines before it")
        return _matrix(values, self.path) if _MATRIX_KEYS <= set(values) else values

    def _nested(self, indent: int, depth: int) -> Any:
        """The block under a name or dash; a list may stand at the indentation of its name."""
        if self.at >= len(self.lines):
            return None
        below, text, _ = self.lines[self.at]
        if below > indent or (below == indent and text.startswith("-") and depth >= 0 and text[1:2] in ("", " ")):
            return self._block(below, depth + 1)
        return None

    def _scalar(self, text: str, number: int) -> Any:
        if text[0] in "[{":
            value, end = self._flow(text, 0, number, 0)
            if text[end:].strip():
                raise self._error("has something behind its closing bracket", number)
            return _with_matrices(value, self.path)
        return _plain(text)

    def _flow(self, text: str, at: int, number: int, depth: int) -> tuple[Any, int]:
        """A flow list or map that begins at text[at], and where it ends."""
        if depth > _DEEPEST:
            raise self._error("is nested too deep", number)
        is_map, closing = text[at] == "{", "}" if text[at] == "{" else "]"
        entries: list[Any] = []
        at += 1
        while True:
            at = _skip(text, at)
            if at >= len(text):
                raise self._error(f"lacks a '{closing}'", number)
            if text[at] == closing:
                at += 1
                break
            key = None
            if is_map:
                match = _KEY.match(text, at) or re.compile(r"""("[^"]*"|'[^']*'|\w+)\s*:""").match(text, at)
                if match is None:
                    raise self._error("has an entry in braces that is not 'name: value'", number)
                key, at = match[1].strip("\"'"), _skip(text, match.end())
            if at < len(text) and text[at] in "[{":
                value, at = self._flow(text, at, number, depth + 1)
            else:
                quoted = re.compile(r""""(?:[^"\\]|\\.)*"|'[^']*'|[^,\[\]{}]*""").match(text, at)
                assert quoted is not None
                value, at = _plain(quoted[0].strip()), quoted.end()
            entries.append((key, value))
            at = _skip(text, at)
            if at < len(text) and text[at] == ",":
                at += 1
            elif at < len(text) and text[at] != closing:
                raise self._error("lacks a comma between values", number)
        return (dict(entries) if is_map else [value for _, value in entries]), at


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _plain(text: str) -> Any:
    """A scalar: a quoted string, a number, or a word."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\") if text[0] == '"' else text[1:-1]
    special = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
    if text.lower() in special:
        return special[text.lower()]
    if re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text):
        return float(text)
    return text


def _without_comment(line: str) -> str:
    quote = ""
    for at, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at]
    return line


def _bracket_balance(line: str) -> int:
    bare = re.sub(r""""(?:[^"\\]|\\.)*"|'[^']*'""", "", line)
    return sum(bare.count(letter) for letter in "[{") - sum(bare.count(letter) for letter in "]}")


def first_of(content: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value under the first of ``names`` that is there, letter case aside; None where none is."""
    lower = {str(key).lower(): value for key, value in content.items()}
    return next((lower[name.lower()] for name in names if lower.get(name.lower()) is not None), None)
