"""X-rays, geometry, pose and landmarks of the scene as files that the program's commands read.

Only voxels, pixels and numbers are written: no name of a node or of a file, which may be a patient's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..i18n import tr as _
from .xray_node import camera_of, details_of, image_kind_of, image_of, provenance_of

_ORIGINS = ("assumed", "DICOM", "image", "sample", "user")


def view_names(count: int) -> list[str]:
    """Names of views that tell nothing: view1, view2, ..."""
    return [f"view{number}" for number in range(1, count + 1)]


def write_scene_files(
    folder: Path,
    xrays: Sequence,
    pose: np.ndarray | None = None,
    landmarks: Sequence[dict] = (),
    pose_option: str = "--reference",
    kinds: Sequence[str] | None = None,
) -> list[str]:
    """Write them into ``folder``; returns the options (--geometry, ``pose_option``, --landmarks) that name them.

    xrays: nodes. pose: ct_to_world (4, 4) LPS. landmarks: as ``LandmarkLists.pairs``. kinds: what the values of other
    images of these views mean, where these are given to the command. The CT is written by the engine, which holds it.
    Raises OSError where nothing can be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = view_names(len(xrays))
    views = []
    for index, (name, node) in enumerate(zip(names, xrays, strict=True)):
        _write_image(folder / f"{name}.nrrd", np.asarray(image_of(node), np.float32))
        views.append(_view(name, node, image_kind_of(node) if kinds is None else kinds[index]))
    _write(folder / "geometry.json", "geometry", {"views": views})
    options = ["--geometry", str(folder / "geometry.json")]
    if pose is not None:
        _write(folder / "pose.json", "pose", {"ct_to_world": np.asarray(pose, float).tolist()})
        options += [pose_option, str(folder / "pose.json")]
    if landmarks:
        by_id = {node.GetID(): name for name, node in zip(names, xrays, strict=True)}
        marks = [
            {
                "name": mark["name"],
                "ct_mm": [float(x) for x in mark["point"]],
                "clicks": [{"view": by_id[key], "pixel": list(map(float, uv))} for key, uv in mark["clicks"].items()],
            }
            for mark in landmarks
        ]
        _write(folder / "landmarks.json", "landmarks", {"landmarks": marks})
        options += ["--landmarks", str(folder / "landmarks.json")]
    return options


def _write_image(path: Path, image: np.ndarray) -> None:
    import SimpleITK as sitk  # takes a fifth of a second, which the start of the application need not wait for

    try:
        sitk.WriteImage(sitk.GetImageFromArray(image), str(path))
    except RuntimeError as problem:  # ITK does not say why, but where in its own sources
        raise OSError(_("{path} cannot be written; is the disk full?").format(path=path)) from problem


def _write(path: Path, kind: str, content: dict) -> None:
    head = {"format": f"deepreg2d3d-{kind}", "version": 1, "coordinate_system": "LPS"}
    path.write_text(json.dumps(head | content, indent=1) + "\n", encoding="utf-8")


def _view(name: str, node, kind: str) -> dict:
    camera = camera_of(node)
    matrix = camera.intrinsics @ camera.world_to_camera[:3]
    details = details_of(node)
    sources = {}
    for key, origin in provenance_of(node).items():
        known = origin if origin in _ORIGINS else "a geometry file"  # the others are names of files
        sources[key] = f"{known}: {details[key]}" if key in details else known
    view = {
        "name": name,
        "image": f"{name}.nrrd",
        "columns": camera.columns,
        "rows": camera.rows,
        "projection_matrix": matrix.tolist(),
        "pixel_spacing_mm": list(camera.pixel_spacing),
        "image_kind": kind,
    }
    return view | ({"sources": sources} if sources else {})
