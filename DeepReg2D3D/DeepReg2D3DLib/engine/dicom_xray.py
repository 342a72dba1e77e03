"""X-ray views from DICOM files: image and camera together, with the source of every number.

``read_dicom_xrays(["a.dcm", "b.dcm"])`` gives a pair (XRay, DicomGeometry) for each; ``geometry.report.lines()`` tells
people what is known and whence, ``geometry.report.as_json()`` programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from .camera import Camera
from .dicom_geometry import DicomGeometry, Frame, read_dicom_geometry
from .dicom_pixels import DicomPixels, read_dicom_pixels
from .errors import InputError
from .xray import XRay
from .xray_checks import check_content, check_size
from .xray_kind import Recognised, line_integrals, recognise


def read_dicom_xray(path: str | Path, frame: Frame = None) -> tuple[XRay, DicomGeometry]:
    """One view of a DICOM file, by its own geometry; ``DicomGeometry.complete`` tells whether that is enough.

    frame: a number from 1, 'mean' or 'maximum' over all frames, or None for the first. Raises InputError.
    """
    geometry = read_dicom_geometry(path, frame)
    pixels = read_dicom_pixels(path, geometry.frame)
    xray, notes = xray_of_pixels(pixels, geometry.camera, Path(path))
    for note in pixels.steps:
        geometry.report.add("pixels", note, "", "file", "")
    for note in notes:
        geometry.report.warn(note)
    return xray, geometry


def read_dicom_xrays(paths: Sequence[str | Path] | str | Path, frame: Frame = None) -> list[tuple[XRay, DicomGeometry]]:
    """The views of several DICOM files (or of one), with names that differ."""
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    views = [read_dicom_xray(path, frame) for path in paths]
    _warn_of_moved_tables([geometry for _, geometry in views])
    names = distinct_names([xray.camera.name for xray, _ in views])
    renamed = []
    for (xray, geometry), name in zip(views, names, strict=True):
        camera = replace(xray.camera, name=name)
        renamed.append((replace(xray, camera=camera, name=name), replace(geometry, camera=camera)))
    return renamed


def read_dicom_geometries(paths: Sequence[str | Path], frame: Frame = None) -> list[DicomGeometry]:
    """The geometries alone of several files, with names that differ; no pixels are read."""
    views = [read_dicom_geometry(path, frame) for path in paths]
    _warn_of_moved_tables(views)
    names = distinct_names([view.camera.name for view in views])
    return [replace(view, camera=replace(view.camera, name=name)) for view, name in zip(views, names, strict=True)]


def _warn_of_moved_tables(views: Sequence[DicomGeometry]) -> None:
    """Views are related through the isocentre; where the table lay elsewhere, the patient did too."""
    places = [view.report.get("table_position") for view in views]
    for view, place in zip(views[1:], places[1:], strict=True):
        if places[0] is None or place is None:
            continue
        moved = sum((a - b) ** 2 for a, b in zip(places[0].value, place.value, strict=True)) ** 0.5
        if moved > 1.0:
            view.report.warn(
                f"the table had moved by {moved:.4g} mm since the first view ({place.source}); that is not applied, so "
                "the views are off against each other by it"
            )


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, those that were there before with _2, _3, ... behind them."""
    taken: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.append(candidate)
    return taken


def xray_of_pixels(pixels: DicomPixels, camera: Camera, path: Path, image_kind: str = "auto") -> tuple[XRay, list[str]]:
    """Line integrals and mask of DICOM pixels that ``camera`` took, and what is worth a warning.

    image_kind: 'auto' goes by the file's tags, and by the picture where they are silent; anything else is the user's
    word, which goes over the tags. Raises InputError for another size than the camera's and images that show nothing.
    """
    check_size(pixels.values, camera, path)
    values = torch.from_numpy(pixels.values)
    check_content(values, path, image_kind)
    kind = pixels.kind if image_kind == "auto" else image_kind
    found, notes = _recognised(values, kind, declared=image_kind != "auto")
    mask = torch.ones_like(values, dtype=torch.bool) if found.field is None else found.field.mask
    if pixels.valid is not None:
        mask = mask & torch.from_numpy(pixels.valid)
        if not bool(mask.any()):
            raise InputError(f"{path}: every pixel is padding or outside the collimated field.")
    image = line_integrals(values, found.kind, mask, pixels.whole_numbers)
    return XRay(image[None, None], mask[None, None], camera, camera.name), [f"{path}: {note}" for note in notes]


def recognised_kind(values: torch.Tensor, kind: str) -> Recognised:
    """What values (rows, columns) mean whose tags say ``kind`` (see ``DicomPixels.kind``)."""
    return _recognised(values, kind, declared=False)[0]


def _recognised(values: torch.Tensor, kind: str, declared: bool) -> tuple[Recognised, list[str]]:
    """What the values mean, and a note where the tags and the picture disagree."""
    if declared:
        return recognise(values, kind), []
    seen = recognise(values, "auto")
    if kind == "auto":
        dark = "dark" if seen.kind == "intensity" else "bright"
        doubt = f"bone looks {dark}, but not clearly so; declare its brightness (image_kind in the geometry)"
        return seen, [] if seen.sure else [doubt]
    by_tags = "intensity" if kind == "intensity" else "line_integral"
    if (seen.kind == "intensity") == (by_tags == "intensity"):
        found = seen if kind == "bone_bright" else recognise(values, by_tags)
        return found, []
    told = "dark" if by_tags == "intensity" else "bright"
    note = f"by its tags bone is {told} in this image, but it looks the other way; the tags are followed"
    return recognise(values, by_tags), [note] if seen.sure else []
