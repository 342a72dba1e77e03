"""Geometries in this program's own format and in foreign ones, read and written by name or by the look of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .dicom_xray import distinct_names
from .errors import InputError
from .geometry_file import FORMAT, View, load_geometry, save_geometry
from .geometry_hints import GeometryHints
from .geometry_matrices import read_matrices, write_matrices
from .geometry_opencv import read_opencv, write_opencv
from .geometry_rtk import read_rtk, write_rtk
from .json_file import read_json
from .opencv_storage import first_of

GEOMETRY_FORMATS = ("geometry", "rtk", "matrix", "opencv")
"""geometry.json; RTK's XML; plain 3x4 matrices (.txt, .csv, .json, .npy); OpenCV's K, R, t (.yaml, .yml, .json)."""

_Reader = Callable[[Path, GeometryHints], tuple[list[View], list[str]]]
_Writer = Callable[[Sequence[View], Path, GeometryHints], list[str]]
_BY_SUFFIX = {".xml": "rtk", ".yaml": "opencv", ".yml": "opencv", ".npy": "matrix", ".txt": "matrix", ".csv": "matrix"}
NO_HINTS = GeometryHints()


def read_geometry(
    path: str | Path, kind: str = "auto", hints: GeometryHints = NO_HINTS
) -> tuple[list[View], list[str]]:
    """The views of a geometry file of any format, with names that differ, and notes worth telling.

    kind: one of GEOMETRY_FORMATS, or 'auto' by suffix and content. Raises InputError.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'does not exist'}.")
    reader: _Reader = {
        "geometry": lambda path, hints: (load_geometry(path), []),
        "rtk": read_rtk,
        "matrix": read_matrices,
        "opencv": read_opencv,
    }[_kind_of(path, kind)]
    views, notes = reader(path, hints)
    names = distinct_names([view.name for view in views])
    return [
        replace(view, camera=replace(view.camera, name=name)) for view, name in zip(views, names, strict=True)
    ], notes


def write_geometry(
    views: Sequence[View], path: str | Path, kind: str = "auto", hints: GeometryHints = NO_HINTS
) -> list[str]:
    """Write views in a format, which 'auto' chooses by suffix (.json is geometry.json); gives notes worth telling."""
    path = Path(path)
    if kind == "auto":
        kind = _BY_SUFFIX.get(path.suffix.lower(), "geometry")
        if kind == "geometry" and path.suffix.lower() != ".json":
            raise InputError(f"{path}: choose a suffix of {', '.join(('.json', *_BY_SUFFIX))}, or say --out-format.")
    if kind == "geometry":
        return _write_own(views, path)
    writer: _Writer = {"rtk": write_rtk, "matrix": write_matrices, "opencv": write_opencv}[kind]
    return writer(views, path, hints)


def _write_own(views: Sequence[View], path: Path) -> list[str]:
    """geometry.json; images that do not lie beside it or below are left out of it, with a note."""
    notes, kept = [], []
    folder = path.absolute().parent
    for view in views:
        image = view.image
        if image is not None:
            image = image.absolute()
            if folder not in image.parents:
                notes.append(f"view '{view.name}': its image lies elsewhere, so the file does not name it; use --xray")
                image = None
        kept.append(replace(view, image=image))
    save_geometry(kept, folder / path.name)
    return notes


def _kind_of(path: Path, kind: str) -> str:
    if kind != "auto":
        return kind
    if path.suffix.lower() != ".json":
        found = _BY_SUFFIX.get(path.suffix.lower())
        if found is None:
            raise InputError(f"{path}: what format is this? Say it with --format ({', '.join(GEOMETRY_FORMATS)}).")
        return found
    content = read_json(path)
    if isinstance(content, dict) and (content.get("format") == FORMAT or "format" in content):
        return "geometry"
    if isinstance(content, dict) and _looks_like_opencv(content):
        return "opencv"
    return "matrix"


def _looks_like_opencv(content: dict) -> bool:
    keys = {str(key).lower().rstrip("0123456789") for key in content}
    named = {"camera_matrix", "cameramatrix", "k", "mtx", "r", "rvec", "views", "cameras"}
    nested = (value for value in content.values() if isinstance(value, dict))
    return bool(keys & named) or any(first_of(value, ("camera_matrix", "cameraMatrix", "K")) for value in nested)
