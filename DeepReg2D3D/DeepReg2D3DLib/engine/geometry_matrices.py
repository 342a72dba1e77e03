"""Plain 3x4 projection matrices, world mm to pixels, in text, CSV, JSON and NumPy files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .atomic import atomic_path, write_json, write_text
from .camera import Camera, decompose_projection
from .errors import InputError
from .geometry_file import View
from .geometry_hints import GeometryHints, from_world
from .json_file import read_json

SUFFIXES = (".txt", ".csv", ".json", ".npy")
_MAX_VIEWS = 1000
_MAX_BYTES = 32 * 1024 * 1024


def read_matrices(path: str | Path, hints: GeometryHints) -> tuple[list[View], list[str]]:
    """Views of a file of 3x4 matrices, and notes.

    Text and CSV hold 12 numbers a view, in 3 lines of 4 or in one (a # begins a comment); JSON a 3x4 list, a list of
    them, or an object of them by name; .npy an array (3, 4) or (N, 3, 4), read without pickle. A matrix of unknown sign
    gets the sign that puts ``hints.in_front`` in front of the source. Raises InputError.
    """
    path = Path(path)
    named = _read(path)
    change = from_world(hints.frame(path, "plain matrices"))
    views, notes = [], []
    for index, (name, matrix) in enumerate(named):
        columns, rows = hints.size(index, len(named), path)
        try:
            signed, turned = signed_projection(torch.from_numpy(matrix) @ change, hints.front_point())
            camera = Camera.from_projection_matrix(signed, columns, rows, hints.spacing, name)
        except InputError as error:
            raise InputError(f"{path}: view '{name}': {error}") from None
        if turned:
            notes.append(f"view '{name}': the matrix was multiplied by -1, which puts the CT in front of the source")
        if hints.spacing is None:
            notes.append(f"view '{name}': the pixel spacing is unknown; 1 mm is written, which only serves for display")
        views.append(View(camera))
    return views, notes


def write_matrices(views: Sequence[View], path: str | Path, hints: GeometryHints) -> list[str]:
    """Write the views' 3x4 matrices, scaled so that the third component of P x is the depth in mm; gives notes."""
    path = Path(path)
    change = from_world(hints.frame(path, "plain matrices"))
    matrices = [(view.name, (view.camera.projection_matrix @ change).numpy()) for view in views]
    suffix = path.suffix.lower()
    if suffix == ".json":
        write_json(path, {name: matrix.tolist() for name, matrix in matrices})
    elif suffix == ".npy":
        with atomic_path(path) as part, part.open("wb") as file:
            np.save(file, np.stack([matrix for _, matrix in matrices]), allow_pickle=False)
    elif suffix in (".txt", ".csv"):
        between = "," if suffix == ".csv" else " "
        blocks = [
            f"# {name}\n" + "\n".join(between.join(f"{value:.17g}" for value in row) for row in matrix)
            for name, matrix in matrices
        ]
        head = f"# 3x4 projection matrices, world ({hints.coordinates}, mm) to pixels (column, row), from 0\n"
        write_text(path, head + "\n".join(blocks) + "\n")
    else:
        raise InputError(f"{path}: matrices are written as {', '.join(SUFFIXES)}, not as '{suffix or path.name}'.")
    return [
        f"view '{view.name}': matrices do not hold the image's size ({view.camera.columns} x {view.camera.rows}) or "
        f"pixel spacing ({view.camera.pixel_spacing[0]:.6g} x {view.camera.pixel_spacing[1]:.6g} mm)"
        for view in views
    ]


def signed_projection(matrix: Tensor, in_front: Tensor) -> tuple[Tensor, bool]:
    """The matrix (3, 4), or its opposite, whose third component is positive at ``in_front`` (3,); True if turned."""
    if tuple(matrix.shape) != (3, 4):
        raise InputError(f"a projection matrix has 3 rows of 4 numbers, found shape {tuple(matrix.shape)}.")
    decompose_projection(matrix)  # refuses what is no camera
    depth = float(matrix[2, :3] @ in_front + matrix[2, 3])
    return (-matrix, True) if depth < 0 else (matrix, False)


def _read(path: Path) -> list[tuple[str, np.ndarray]]:
    suffix = path.suffix.lower()
    if suffix == ".json":
        named = _from_json(read_json(path), path)
    elif suffix == ".npy":
        named = _numbered(_load_npy(path), path)
    elif suffix in (".txt", ".csv", ".dat", ""):
        named = _from_text(path)
    else:
        raise InputError(f"{path}: matrices are read from {', '.join(SUFFIXES)} files, not from '{suffix}'.")
    for name, matrix in named:
        if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
            raise InputError(f"{path}: view '{name}' is not 3 rows of 4 finite numbers.")
    if not 1 <= len(named) <= _MAX_VIEWS:
        raise InputError(f"{path}: holds {len(named)} matrices; from 1 to {_MAX_VIEWS} can be views.")
    return named


def _numbered(values: np.ndarray, path: Path) -> list[tuple[str, np.ndarray]]:
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or values.shape[1:] != (3, 4) or values.dtype.kind not in "fiu":
        raise InputError(f"{path}: holds {values.dtype} of shape {values.shape}; expected numbers of shape N x 3 x 4.")
    return [(f"view{index + 1}", matrix.astype(np.float64)) for index, matrix in enumerate(values)]


def _load_npy(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: is too large for projection matrices.")
        values = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or 'damaged'}).") from None
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError):
        raise InputError(f"{path}: is not a NumPy array of plain numbers (.npy).") from None
    if not isinstance(values, np.ndarray):
        raise InputError(f"{path}: is an archive; give one array (.npy).")
    return values


def _from_text(path: Path) -> list[tuple[str, np.ndarray]]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: is too large for projection matrices.")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file.") from None
    numbers: list[float] = []
    for line_number, line in enumerate(text.splitlines(), start=1):
        for word in re.split(r"[\s,;\[\]]+", line.split("#", 1)[0].strip()):
            if word:
                try:
                    numbers.append(float(word))
                except ValueError:
                    raise InputError(f"{path}: line {line_number} holds something that is not a number.") from None
    if not numbers or len(numbers) % 12:
        raise InputError(f"{path}: holds {len(numbers)} numbers; every view needs 12 (3 rows of 4).")
    return _numbered(np.array(numbers).reshape(-1, 3, 4), path)


def _from_json(content: Any, path: Path) -> list[tuple[str, np.ndarray]]:
    if isinstance(content, dict):
        if set(content) == {"projection_matrix"}:
            content = {"view1": content["projection_matrix"]}
        return [(str(name), _array(value, path)) for name, value in content.items()]
    return _numbered(_array(content, path), path)


def _array(value: Any, path: Path) -> np.ndarray:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{path}: expected 3x4 matrices as lists of numbers.") from None
