"""A case folder made of anybody's files: what a registration needs, without what identifies the patient.

CT and X-rays are written anew from their voxels and pixels alone, under this program's names. What is in the pictures
themselves stays: a face in a CT of the head, letters burned into an X-ray.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from .engine.atomic import make_folder, written_together
from .engine.case_file import FILE_NAME as CASE
from .engine.case_file import Case, save_case
from .engine.dicom_pixels import read_dicom_pixels
from .engine.dicom_tags import DicomTags, is_dicom, quiet
from .engine.errors import InputError
from .engine.folder_lock import folder_lock
from .engine.geometry_file import View, save_geometry
from .engine.image_files import write_image
from .engine.landmark_file import save_landmarks
from .engine.landmarks import Landmark
from .engine.pose_file import save_pose
from .engine.view_files import image_stems
from .engine.volume import Volume
from .engine.volume_io import save_volume
from .engine.xray import XRay
from .engine.xray_io import load_xray, read_pixels
from .training.simulate_case import draw_targets

CT, GEOMETRY, START, LANDMARKS = "ct.nrrd", "geometry.json", "start.json", "landmarks.json"
_SAME_SHARE = 0.005
"""Of an X-ray's pixels, so many may be valid in one reading and not in the other."""


@dataclass(frozen=True)
class CaseContent:
    """What goes into a case folder. reference: ct_to_world (4, 4) that counts as the truth; start: a first pose.

    views: with their images. targets: CT points (N, 3), or None for points drawn on dense bone.
    """

    name: str
    volume: Volume
    views: Sequence[View]
    reference: Tensor | None = None
    start: Tensor | None = None
    landmarks: Sequence[Landmark] = ()
    targets: Tensor | None = None


def write_case(content: CaseContent, folder: Path, tell: Callable[[str], None] = lambda text: None) -> Case:
    """Write the folder, whole or nothing of it; returns the case as ``load_case`` reads it.

    Python warnings tell where an X-ray cannot be handed on exactly, and where letters may be burned in. Raises
    InputError for a folder that holds another case, or into which another process is writing, and for inputs that
    cannot be used.
    """
    with folder_lock(folder):
        if (folder / CASE).exists():
            raise InputError(f"{folder}: holds a case already; choose another folder, or empty it.")
        with written_together(folder, last=CASE) as unfinished:
            case = fill_case(content, unfinished, tell)
    return replace(case, ct=folder / CT, geometry=folder / GEOMETRY)


def fill_case(content: CaseContent, folder: Path, tell: Callable[[str], None]) -> Case:
    """``write_case`` into a folder of the caller's own, file after file; case.json is the last."""
    make_folder(folder)
    views = []
    for view, stem in zip(content.views, image_stems([view.name for view in content.views]), strict=True):
        tell(f"writing X-ray {view.name}")
        views.append(_anonymous_xray(view, folder / f"{stem}.nrrd"))
    tell("writing the CT")
    save_volume(content.volume, folder / CT)
    save_geometry(views, folder / GEOMETRY)
    if content.start is not None:
        save_pose(content.start, folder / START)
    if content.landmarks:
        save_landmarks(content.landmarks, [view.name for view in views], folder / LANDMARKS)
    targets = content.targets
    if targets is None and content.reference is not None:
        generator = torch.Generator().manual_seed(0)
        targets = draw_targets(content.volume, [view.camera for view in views], content.reference, generator)
    starts = [] if content.start is None else [("given", content.start)]
    case = Case(content.name, folder / CT, folder / GEOMETRY, content.reference, targets, starts)
    save_case(case, folder)
    return case


def _anonymous_xray(view: View, path: Path) -> View:
    """Write the pixels of a view's image as NRRD; returns the view of that file."""
    if view.image is None:
        raise InputError(f"View '{view.name}' names no image.")
    original = load_xray(view.image, view.camera, view.image_kind, view.frame)
    kind = view.image_kind
    if is_dicom(view.image):
        pixels, kind = _dicom_pixels(view)
    else:
        pixels = read_pixels(view.image)
    _write(pixels, path)
    again = replace(view, image=path, image_kind=kind, frame=None)
    copy = load_xray(path, view.camera, kind)
    if not _same(original, copy):
        for other in ("intensity", "line_integral"):
            copy = load_xray(path, view.camera, other)
            if _same(original, copy):
                return replace(again, image_kind=other)
        warnings.warn(
            f"X-ray '{view.name}': its valid field or brightness is not recognised from pixels alone as from the "
            "original file; a registration of the case may differ a little.",
            stacklevel=3,
        )
    return again


def _dicom_pixels(view: View) -> tuple[np.ndarray, str]:
    """Pixels (rows, columns) with the padding made the collimator's shadow, and the image_kind to read them by."""
    with quiet():
        burned = DicomTags.read(view.image).codes("BurnedInAnnotation", ("YES", "NO"))
    if burned and burned.value == "YES":
        warnings.warn(
            f"X-ray '{view.name}': the file says that letters are burned into its pixels (0028,0301); look whether "
            "they name the patient before you hand the case on.",
            stacklevel=4,
        )
    found = read_dicom_pixels(view.image, view.frame)
    kind = view.image_kind if view.image_kind != "auto" else found.kind
    values = found.values.copy()
    if found.valid is not None:
        values[~found.valid] = values.min() if kind == "intensity" else values.max()
    if found.whole_numbers and -32768 <= values.min() and values.max() <= 65535:
        values = values.astype(np.uint16 if values.min() >= 0 else np.int32)
    return values, "auto" if kind == "bone_bright" else kind


def _write(pixels: np.ndarray, path: Path) -> None:
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize > 4:
        pixels = pixels.astype(np.int32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(pixels))
    write_image(image, path)


def _same(one: XRay, other: XRay) -> bool:
    """The same picture where both are valid, and nearly the same pixels valid."""
    if float((one.mask != other.mask).float().mean()) > _SAME_SHARE:
        return False
    both = one.mask & other.mask
    difference = (one.line_integral - other.line_integral)[both].abs()
    scale = float(one.line_integral[both].std()) if int(both.sum()) > 1 else 1.0
    return float(difference.mean()) < 0.01 * max(scale, 1e-6)
