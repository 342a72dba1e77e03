"""Requests about files: geometry, X-rays, poses and cases, read and written by the engine for Slicer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from ..engine.camera import Camera
from ..engine.case_file import load_case
from ..engine.dicom_findings import Report
from ..engine.dicom_geometry import read_dicom_geometry
from ..engine.dicom_tags import is_dicom
from ..engine.errors import InputError
from ..engine.geometry_file import View, load_geometry
from ..engine.geometry_formats import read_geometry, write_geometry
from ..engine.geometry_hints import GeometryHints
from ..engine.pose_file import load_pose, save_pose
from ..engine.xray import XRay
from ..engine.xray_io import load_xray, read_pixels
from .arrays import ArrayFolder

# An X-ray node's names for what the DICOM reader found.
_DICOM_NAMES = {
    "source_to_detector_mm": "source_to_detector",
    "source_to_isocenter_mm": "source_to_isocentre",
    "pixel_spacing_mm": "pixel_spacing",
    "principal_point_px": "principal_point",
    "angles_deg": "primary_angle",
    "mirrored": "mirrored",
}


def camera_to_json(camera: Camera) -> dict[str, Any]:
    """A camera as messages carry it; world_to_camera in LPS mm, pixel_spacing_mm [su, sv] at the detector."""
    return {
        "name": camera.name,
        "columns": camera.columns,
        "rows": camera.rows,
        "intrinsics": camera.intrinsics.tolist(),
        "world_to_camera": camera.world_to_camera.tolist(),
        "pixel_spacing_mm": list(camera.pixel_spacing),
    }


def camera_from_json(camera: Mapping[str, Any]) -> Camera:
    """The engine's camera of ``camera_to_json``. Raises InputError for one that cannot be."""
    return Camera(
        torch.tensor(camera["intrinsics"], dtype=torch.float64),
        torch.tensor(camera["world_to_camera"], dtype=torch.float64),
        camera["columns"],
        camera["rows"],
        (camera["pixel_spacing_mm"][0], camera["pixel_spacing_mm"][1]),
        camera["name"],
    )


def read_view(view: Mapping[str, Any], folder: ArrayFolder) -> XRay:
    """The X-ray of a view in a message, from its file or its mapped array (rows, columns)."""
    camera = camera_from_json(view["camera"] | {"name": view["name"]})
    kind = view.get("image_kind", "auto")
    if "image" not in view:
        return load_xray(view["path"], camera, kind)
    pixels = np.array(folder.open(view["image"]), dtype=np.float32).squeeze()
    if pixels.shape != camera.size:
        raise InputError(
            f"X-ray '{view['name']}': its image has {pixels.shape} rows and columns, its geometry {camera.size}."
        )
    # The engine's own reader decides about kinds and masks; a short-lived file takes the array there.
    path = folder.path / "view.mha"
    shown = f"X-ray '{view['name']}'"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))
            xray = load_xray(path, camera, kind)
        except InputError as error:
            raise InputError(str(error).replace(str(path), shown)) from error
        finally:
            path.unlink(missing_ok=True)
    for warning in caught:
        warnings.warn(str(warning.message).replace(str(path), shown), warning.category, stacklevel=2)
    return xray


def _read_geometry(fields: Mapping[str, Any], folder: ArrayFolder) -> dict[str, Any]:
    sizes = [(int(columns), int(rows)) for columns, rows in fields.get("sizes", ())]
    if "coordinates" in fields and not sizes:
        raise InputError("Load the X-ray images first: this kind of file does not say how large they are.")
    hints = GeometryHints(coordinates=fields.get("coordinates"), sizes=sizes)
    # Without a word on the axes of its world only the program's own format is read.
    found, notes = read_geometry(fields["path"], "auto" if "coordinates" in fields else "geometry", hints)
    views = []
    for view in found:
        answer = {"name": view.name, "camera": camera_to_json(view.camera), "image_kind": view.image_kind}
        named = {"path": None if view.image is None else str(view.image), "frame": view.frame}
        views.append(answer | {key: value for key, value in named.items() if value is not None})
    return {"views": views, "warnings": notes}


def _save_geometry(fields: Mapping[str, Any], folder: ArrayFolder) -> dict[str, Any]:
    views = [
        View(
            camera_from_json(view["camera"]),
            Path(view["path"]) if view.get("path") else None,
            view.get("image_kind", "auto"),
            view.get("frame"),
        )
        for view in fields["views"]
    ]
    notes = write_geometry(views, fields["path"], hints=GeometryHints(coordinates="LPS"))
    return {"path": fields["path"], "warnings": notes}


def _read_xray(fields: Mapping[str, Any], folder: ArrayFolder) -> dict[str, Any]:
    path = Path(fields["path"])
    known: dict[str, Any] = {"camera": None}
    frame = fields.get("frame")
    if "camera" in fields:
        camera = camera_from_json(fields["camera"])
        known["camera"] = camera_to_json(camera)
    elif is_dicom(path):
        geometry = read_dicom_geometry(path, frame)
        camera, frame = geometry.camera, geometry.frame
        known = {
            "camera": camera_to_json(camera),
            "provenance": dicom_provenance(geometry.report),
            "details": dicom_details(geometry.report),
            "warnings": geometry.report.warnings,
            "frame": geometry.frame,
            "frames": geometry.frames,
        }
    else:
        rows, columns = read_pixels(path).shape
        camera = placeholder_camera(columns, rows, path.stem)
    xray = load_xray(path, camera, fields.get("image_kind", "auto"), frame)
    return {
        "image": xray.line_integral[0, 0].numpy(),
        "mask": xray.mask[0, 0].numpy(),
        "columns": camera.columns,
        "rows": camera.rows,
        **known,
    }


def dicom_provenance(report: Report) -> dict[str, str]:
    """Where each number of a view came from, "DICOM" or "assumed", by the names that the X-ray's node keeps."""
    origins = {}
    for name, finding_name in _DICOM_NAMES.items():
        finding = report.get(finding_name)
        origins[name] = "assumed" if finding is None or finding.origin == "assumed" else "DICOM"
    return origins


def dicom_details(report: Report) -> dict[str, str]:
    """The tag that each number stands in, or how it came about, by the same names."""
    details = {name: report.get(finding_name) for name, finding_name in _DICOM_NAMES.items()}
    second = report.get("secondary_angle")
    found = {name: finding.source for name, finding in details.items() if finding is not None and finding.source}
    if second is not None and second.source and "angles_deg" in found:
        found["angles_deg"] = f"{found['angles_deg']}; {second.source}"
    return found


def placeholder_camera(columns: int, rows: int, name: str) -> Camera:
    """A camera that only says how large the image is, for reading pixels whose geometry isn't known yet."""
    return Camera.from_parameters(
        source_to_detector=1000.0,
        pixel_spacing=(1.0, 1.0),
        principal_point=((columns - 1) / 2, (rows - 1) / 2),
        world_to_camera=torch.eye(4, dtype=torch.float64),
        columns=columns,
        rows=rows,
        name=name,
    )


def _read_pose(fields: Mapping[str, Any], folder: ArrayFolder) -> dict[str, Any]:
    return {"ct_to_world": load_pose(fields["path"]).tolist()}


def _save_pose(fields: Mapping[str, Any], folder: ArrayFolder) -> dict[str, Any]:
    save_pose(torch.tensor(fields["ct_to_world"], dtype=torch.float64), fields["path"])
    return {"path": fields["path"]}


def _read_case(fields: Mapping[str, Any], folder: ArrayFolder) -> dict[str, Any]:
    """The files of a case folder and its pose: the first start, else the truth, else None."""
    case = load_case(fields["path"])
    images = []
    for view in load_geometry(case.geometry):
        if view.image is None:
            raise InputError(f"{case.geometry}: view '{view.name}' names no image; a case has one for each view.")
        images.append(view.image)
    for path in (case.ct, *images):
        if not path.exists():
            raise InputError(f"{path}: this file does not exist; the case is not complete.")
    pose = case.starts[0][1] if case.starts else case.ground_truth
    return {
        "ct": str(case.ct),
        "geometry": str(case.geometry),
        "ct_to_world": None if pose is None else pose.tolist(),
    }


FILE_REQUESTS: Mapping[str, Callable[[Mapping[str, Any], ArrayFolder], Mapping[str, Any]]] = {
    "read_geometry": _read_geometry,
    "save_geometry": _save_geometry,
    "read_xray": _read_xray,
    "read_pose": _read_pose,
    "read_case": _read_case,
    "save_pose": _save_pose,
}
