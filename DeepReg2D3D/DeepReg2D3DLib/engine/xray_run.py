"""A fluoroscopy run of one view, frame by frame: a DICOM file with frames, a stack of images, or a folder of images.

What the values mean, and where the collimated field is, is decided once, on the mean of some frames over the run: a
single frame would flicker between readings, and neither changes while the beam is on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from .camera import Camera
from .dicom_geometry import read_dicom_geometry
from .dicom_pixels import open_dicom_frames, read_dicom_pixels
from .dicom_tags import is_dicom
from .dicom_xray import recognised_kind
from .errors import InputError
from .geometry_file import View
from .image_files import XRAY_FORMATS, opened_image, quiet_itk
from .xray import XRay
from .xray_checks import check_content, check_size
from .xray_io import read_pixels
from .xray_kind import line_integrals, recognise

MOST_PIXELS = 4_000_000_000
_SUFFIXES = (".nrrd", ".nii", ".gz", ".mha", ".mhd", ".png", ".tif", ".tiff", ".dcm", ".dicom", ".ima", "")
_LOOKED_AT = 7
"""Frames whose mean decides what the values mean."""


@dataclass(frozen=True)
class _Frames:
    """count frames; pixels: number from 1 -> (values (rows, columns) float32, kind by tags, valid, whole numbers)."""

    count: int
    pixels: Callable[[int], tuple[np.ndarray, str, np.ndarray | None, bool]]


class XRayRun:
    """``run[1]`` to ``run[len(run)]`` are the frames' X-rays; ``run.name`` is the view's."""

    def __init__(self, view: View, camera_of: Callable[[int], Camera] | None = None) -> None:
        """view: its image is a file with frames, or a folder of images. camera_of: of each frame, where it differs.

        Raises InputError for what is no run of at least two frames of the camera's size.
        """
        if view.image is None or not view.image.exists():
            raise InputError(f"View '{view.name}': its images are missing ({view.image}).")
        self.view, self.name, self._path = view, view.name, view.image
        self._camera_of = camera_of or (lambda number: view.camera)
        self._frames = _open(view.image)
        if self._frames.count < 2:
            raise InputError(f"{view.image}: holds one frame; use 'register' for a single image.")
        self._kind, self._field = self._decide()

    def __len__(self) -> int:
        return self._frames.count

    def camera(self, number: int) -> Camera:
        """Of a frame, from 1."""
        return self._camera_of(number)

    def __getitem__(self, number: int) -> XRay:
        """A frame's X-ray, by its number from 1. Raises InputError for a frame that shows nothing."""
        pixels, _, valid, whole = self._frames.pixels(number)
        camera = self._camera_of(number)
        check_size(pixels, camera, self._path)
        values = torch.from_numpy(pixels.astype(np.float32))
        check_content(values, self._path, "auto")
        mask = self._field if valid is None else self._field & torch.from_numpy(valid)
        image = line_integrals(values, self._kind, mask, whole)
        return XRay(image[None, None], mask[None, None], camera, camera.name)

    def shown(self, number: int) -> XRay:
        """A frame's X-ray for pictures, by its number from 1: without a valid pixel where the frame can't be used."""
        try:
            return self[number]
        except InputError:
            size = (1, 1, *self.view.camera.size)
            return XRay(torch.zeros(size), torch.zeros(size, dtype=torch.bool), self.view.camera, self.name)

    def _decide(self) -> tuple[str, Tensor]:
        """The kind of the values, and the collimated field (rows, columns) bool."""
        looked = self._looked_at()
        mean = torch.from_numpy(np.mean([pixels for pixels, *_ in looked], axis=0).astype(np.float32))
        check_content(mean, self._path, self.view.image_kind)
        if self.view.image_kind != "auto":
            found = recognise(mean, self.view.image_kind)
        else:
            found = recognised_kind(mean, looked[0][1])
        field = torch.ones_like(mean, dtype=torch.bool) if found.field is None else found.field.mask
        return found.kind, field

    def _looked_at(self) -> list[tuple[np.ndarray, str, np.ndarray | None, bool]]:
        """Some frames over the run, less those that can't be used. Raises InputError where that is all of them."""
        numbers = np.unique(np.linspace(1, self._frames.count, _LOOKED_AT).round().astype(int)).tolist()
        usable, refusals = [], []
        for number in numbers:
            try:
                found = self._frames.pixels(number)
                check_size(found[0], self._camera_of(1), self._path)
                check_content(torch.from_numpy(found[0].astype(np.float32)), self._path, "auto")
                usable.append(found)
            except InputError as error:
                refusals.append(error)
        if not usable:
            raise refusals[0]
        return usable


def runs_of_dicom(paths: list[Path], views: list[View]) -> list[XRayRun]:
    """Runs of DICOM files by their own geometry, which may change from frame to frame. views: of their first frames."""

    def moving(path: Path, view: View) -> Callable[[int], Camera]:
        files = frame_files(path) if path.is_dir() else None

        def camera_of(number: int) -> Camera:
            found = read_dicom_geometry(files[number - 1]) if files else read_dicom_geometry(path, number)
            camera = found.camera
            return Camera(
                camera.intrinsics, camera.world_to_camera, camera.columns, camera.rows, camera.pixel_spacing, view.name
            )

        return camera_of

    return [XRayRun(view, moving(path, view)) for path, view in zip(paths, views, strict=True)]


def frame_files(folder: Path) -> list[Path]:
    """The images of a folder, by the numbers in their names: 'frame 2' comes before 'frame 10'. Raises InputError."""
    files = [
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() in _SUFFIXES
        and (path.suffix or is_dicom(path))
    ]  # fmt: skip
    if not files:
        raise InputError(f"{folder}: holds no images.")
    return sorted(files, key=lambda path: [int(part) if part.isdigit() else part.lower() for part in _parts(path.name)])


def _parts(name: str) -> list[str]:
    """Words and numbers by turns, a word first."""
    return re.split(r"(\d+)", name)


def _open(path: Path) -> _Frames:
    if path.is_dir():
        return _of_folder(frame_files(path))
    if is_dicom(path):
        frames = open_dicom_frames(path)

        def of_dicom(number: int) -> tuple[np.ndarray, str, np.ndarray | None, bool]:
            found = frames[number]
            return found.values, found.kind, found.valid, found.whole_numbers

        return _Frames(frames.count, of_dicom)
    stack = read_stack(path)
    whole = stack.dtype.kind in "iu"
    return _Frames(len(stack), lambda number: (stack[number - 1], "auto", None, whole))


def _of_folder(files: list[Path]) -> _Frames:
    def of_file(number: int) -> tuple[np.ndarray, str, np.ndarray | None, bool]:
        path = files[number - 1]
        if is_dicom(path):
            found = read_dicom_pixels(path)
            return found.values, found.kind, found.valid, found.whole_numbers
        pixels = read_pixels(path)
        return pixels, "auto", None, pixels.dtype.kind in "iu"

    return _Frames(len(files), of_file)


def read_stack(path: Path) -> np.ndarray:
    """(frames, rows, columns) of a 3D image file whose last axis is time. Raises InputError."""
    reader = opened_image(path, XRAY_FORMATS)
    try:
        size = [n for n in reader.GetSize() if n != 1] if reader.GetDimension() > 3 else list(reader.GetSize())
        if len(size) == 2:
            size = [*size, 1]
        if len(size) != 3 or reader.GetNumberOfComponents() != 1:
            raise InputError(f"{path}: is not a stack of grey frames; its size is {reader.GetSize()}.")
        if np.prod([float(n) for n in size]) > MOST_PIXELS:
            raise InputError(f"{path}: is too large for a run of frames ({' x '.join(map(str, size))}).")
        with quiet_itk():
            return sitk.GetArrayFromImage(reader.Execute()).reshape(size[::-1])
    except RuntimeError as error:
        raise InputError(f"{path}: the file is damaged or cut short; its frames cannot be read.") from error
