"""X-ray images from and to files: NRRD, NIfTI, MHA, PNG, TIFF and the pixels of DICOM."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from .camera import Camera
from .dicom_geometry import Frame, read_dicom_geometry
from .dicom_pixels import read_dicom_pixels
from .dicom_tags import is_dicom
from .dicom_xray import xray_of_pixels
from .errors import InputError
from .image_files import XRAY_FORMATS, opened_image, quiet_itk, write_image
from .xray import XRay
from .xray_checks import check_content, check_size
from .xray_kind import line_integrals, recognise

IMAGE_KINDS = ("auto", "intensity", "line_integral")
_MAX_PIXELS = 64_000_000
_WRITTEN = (".nrrd", ".nii", ".gz", ".mha", ".png", ".tif", ".tiff")


def load_xray(path: str | Path, camera: Camera, image_kind: str = "auto", frame: Frame = None) -> XRay:
    """Read an X-ray image that ``camera`` took; only its pixel values are used, not its spacing or direction.

    Of DICOM files a ``frame`` is read (a number from 1, 'mean' or 'maximum'; None: the first), and 'auto' goes by the
    tags that tell how pixels and intensities are related, where there are any.

    image_kind: 'intensity' (bone dark) becomes -ln(I / I0); 'line_integral' is taken as it is; 'auto' recognises
    either, and intensities that were inverted. The mask is the collimated field; saturated open beam and metal stay
    valid, because their outlines are true. Raises InputError for a file that is missing, damaged, in colour, of
    several frames (DICOM excepted) or of another size than the camera's, and for images that are constant or not
    finite.
    """
    path = Path(path)
    if image_kind not in IMAGE_KINDS:
        raise InputError(f"{path}: image_kind '{image_kind}' is unknown; use one of {', '.join(IMAGE_KINDS)}.")
    if is_dicom(path):
        pixels = read_dicom_pixels(path, frame)
        xray, notes = xray_of_pixels(pixels, camera, path, image_kind)
        if frame is None and pixels.frames > 1:
            notes.append(f"{path}: has {pixels.frames} frames; the first is taken. Choose another with a frame number.")
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return xray
    if frame not in (None, 1):
        raise InputError(f"{path}: a frame (frame '{frame}') can be chosen of DICOM files only.")
    pixels = read_pixels(path)
    check_size(pixels, camera, path)
    whole = pixels.dtype.kind in "iu"
    values = torch.from_numpy(pixels.astype(np.float32))
    check_content(values, path, image_kind)
    found = recognise(values, image_kind)
    if not found.sure:
        warnings.warn(
            f"{path}: bone looks {'dark' if found.kind == 'intensity' else 'bright'}, but not clearly so; give the "
            "view's image_kind in the geometry.",
            stacklevel=2,
        )
    mask = torch.ones_like(values, dtype=torch.bool) if found.field is None else found.field.mask
    image = line_integrals(values, found.kind, mask, whole)
    if not bool(torch.isfinite(image).all()):
        raise InputError(
            f"{path}: its values are not intensities, of which the brightest must be above zero. Give the view's "
            "image_kind in the geometry, or save the image anew."
        )
    return XRay(image[None, None], mask[None, None], camera, camera.name)


def read_pixels(path: str | Path) -> np.ndarray:
    """The pixel values (rows, columns) of a grey image file, in the type they are stored in."""
    path = Path(path)
    if path.is_dir() or not path.exists():
        raise InputError(f"{path}: {'is a folder, not an X-ray image' if path.is_dir() else 'does not exist'}.")
    reader = opened_image(path, XRAY_FORMATS)
    try:
        if np.prod([float(n) for n in reader.GetSize()]) > _MAX_PIXELS:
            raise InputError(f"{path}: has {_times(reader.GetSize())} pixels, which no X-ray image has.")
        with quiet_itk():
            pixels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise InputError(f"{path}: the file is damaged or cut short; its pixels cannot be read.") from error
    channels = reader.GetNumberOfComponents()
    if channels > 1:
        pixels = _grey(pixels, channels, path)
    size = [n for n in reader.GetSize()[2:] if n != 1]
    if reader.GetDimension() < 2 or size:
        raise InputError(f"{path}: holds {int(np.prod(size))} frames; save the one that is meant as an image.")
    if pixels.dtype.kind == "c":
        raise InputError(f"{path}: holds complex numbers, which are no X-ray image.")
    return pixels.reshape(pixels.shape[-2:])


def image_size(path: str | Path) -> tuple[int, int]:
    """(columns, rows) of an image file, of a DICOM file with frames of one. Raises InputError."""
    if is_dicom(path):
        camera = read_dicom_geometry(path).camera
        return camera.columns, camera.rows
    rows, columns = read_pixels(path).shape
    return columns, rows


def save_image(array: Tensor | np.ndarray, path: str | Path) -> None:
    """Write one image (rows, columns), leading dimensions of 1 allowed.

    .nrrd, .nii, .nii.gz, .mha and .tif keep the numbers (float32; 8-bit images stay 8 bit). .png is for looking: 8 bit
    grey from the smallest to the largest value, uint8 arrays as they are.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _WRITTEN:
        raise InputError(f"{path}: images are written as .nrrd, .nii, .nii.gz, .mha, .tif or .png, not '{suffix}'.")
    image = torch.as_tensor(array).detach().cpu()
    image = image.reshape(image.shape[-2:])
    if image.dtype != torch.uint8:
        image = image.to(torch.float32)
        if suffix == ".png":
            image = torch.nan_to_num(image)
            low, high = image.min(), image.max()
            image = ((image - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)
    write_image(sitk.GetImageFromArray(image.numpy()), path)


def _grey(pixels: np.ndarray, channels: int, path: Path) -> np.ndarray:
    """One channel of a colour image whose colours are all grey (an alpha channel is left out)."""
    colours = pixels[..., : 1 if channels == 2 else 3]
    if channels > 4 or (colours != colours[..., :1]).any():
        raise InputError(f"{path}: is a colour image; save it as a grey one.")
    return colours[..., 0]


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
