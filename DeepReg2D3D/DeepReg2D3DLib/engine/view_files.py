"""The views of a command: from a geometry file and images, or from DICOM X-rays that carry their own geometry."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .dicom_geometry import DicomGeometry, Frame
from .dicom_tags import is_dicom
from .dicom_xray import read_dicom_geometries
from .errors import InputError
from .geometry_file import View, load_geometry

_NOT_WORTH_A_WORD = ("frame",)
_LONGEST_STEM = 60
_KEYS_OF = {
    "source_to_detector": "source_to_detector_mm",
    "source_to_isocentre": "world_to_camera (distance)",
    "pixel_spacing": "pixel_spacing_mm",
    "principal_point": "principal_point_px",
    "primary_angle": "world_to_camera (primary angle)",
    "secondary_angle": "world_to_camera (secondary angle)",
    "isocentre_angles": "world_to_camera (isocentre angles)",
    "gantry_angle": "world_to_camera (gantry angle)",
    "mirrored": "mirrored",
}


def load_views(geometry: str | Path | None, images: Sequence[str | Path] | None, frame: Frame = None) -> list[View]:
    """The views, each with its camera and, where one is named, its image.

    geometry: a geometry.json; images, where given, replace those it names, in order. None: every image must be a DICOM
    file that says the distance from source to detector and the spacing there; what else it leaves open is assumed, and
    told in Python warnings. frame: of DICOM files with several; goes over that of the geometry. Raises InputError.
    """
    paths = None if images is None else [Path(image) for image in images]
    if geometry is None:
        return views_of_dicom(_all_dicom(paths), frame)
    views = load_geometry(geometry)
    for view in views:
        for key in ("source_to_detector_mm", "pixel_spacing_mm"):
            if view.sources.get(key, "").startswith("assumed"):
                warnings.warn(
                    f"{geometry}: view '{view.name}': {key} is a default, not a measurement (see its 'sources'); "
                    "correct it and remove that entry.",
                    stacklevel=2,
                )
    if paths is not None:
        if len(paths) != len(views):
            raise InputError(f"--xray: {len(paths)} images were given for {len(views)} views of {geometry}.")
        views = [replace(view, image=path) for view, path in zip(views, paths, strict=True)]
    if frame is not None:
        views = [replace(view, frame=frame) for view in views]
    return views


def image_stems(names: Sequence[str]) -> list[str]:
    """File names without suffix for the images of views: all different, and not that of the CT beside them."""
    stems: list[str] = []
    for index, name in enumerate(names):
        stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in name).lower()[:_LONGEST_STEM] or "view"
        # The other names are devices on Windows.
        taken = stem in (*stems, "ct", "view", "con", "prn", "aux", "nul") or stem[:3] in ("com", "lpt")
        stems.append(f"{stem}_{index + 1}" if taken else stem)
    return stems


def views_of_dicom(paths: Sequence[Path], frame: Frame = None) -> list[View]:
    """Views of DICOM files by their own geometry; raises InputError where that is not enough to register by."""
    found = read_dicom_geometries(paths, frame)
    for path, view in zip(paths, found, strict=True):
        if not view.complete:
            lacks = "; ".join(view.report.missing)
            raise InputError(
                f"{path}: lacks {lacks}. Write what is there with 'deepreg2d3d geometry --xray {path} --out "
                "geometry.json', fill in the rest by hand, and give it with --geometry."
            )
        tell(path, view)
    return [as_view(path, view) for path, view in zip(paths, found, strict=True)]


def as_view(path: Path, found: DicomGeometry) -> View:
    """A view of geometry.json, with the sources of its numbers."""
    sources = {
        key: f"{finding.origin}: {finding.source}"
        for name, key in _KEYS_OF.items()
        for finding in [found.report.get(name)]
        if finding is not None
    }
    return View(found.camera, path, frame=found.frame if found.frames > 1 else None, sources=sources)


def tell(path: Path, view: DicomGeometry) -> None:
    """Python warnings for what a view assumes and for what contradicts itself."""
    assumed = [finding for finding in view.report.assumed if finding.name not in _NOT_WORTH_A_WORD]
    if assumed:
        text = "; ".join(f"{finding.name} {finding.text} ({finding.source})" for finding in assumed)
        warnings.warn(f"{path}: view '{view.camera.name}' assumes {text}.", stacklevel=3)
    if view.report.get("frame") and view.report.get("frame").origin == "assumed":
        warnings.warn(
            f"{path}: has {view.frames} frames; the first is taken. Choose another with --frame.", stacklevel=3
        )
    for text in view.report.warnings:
        warnings.warn(f"{path}: {text}.", stacklevel=3)


def _all_dicom(paths: list[Path] | None) -> list[Path]:
    if not paths:
        raise InputError("Give --geometry, or DICOM X-rays with --xray, which carry a geometry of their own.")
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: does not exist.")
        if not is_dicom(path):
            raise InputError(f"{path}: is no DICOM file, so it has no geometry of its own; give one with --geometry.")
    return paths
