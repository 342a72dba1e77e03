"""X-ray images from and to files."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk
import torch

from .atomic import atomic_path
from .camera import Camera
from .errors import InputError
from .xray import XRay
from .xray_field import valid_field


def load_xray(path: str | Path, camera: Camera, image_kind: str = "auto") -> XRay:
    """Read an X-ray image taken by ``camera``."""
    path = Path(path)
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkFloat32)).squeeze()
    values = torch.from_numpy(image)
    if tuple(values.shape) != camera.size:
        raise InputError(f"{path}: has {tuple(values.shape)} pixels, the camera {camera.size}.")
    mask = valid_field(values)
    if image_kind != "line_integral":
        values = -torch.log(values.clamp(min=0.5) / values.max())
    return XRay(values[None, None], mask[None, None], camera, camera.name)


def save_image(array, path: str | Path) -> None:
    """Write an image (rows, columns): float32 for NRRD, NIfTI and MHA, 8 bit for PNG."""
    array = torch.as_tensor(array).detach().cpu().reshape(array.shape[-2:])
    if Path(path).suffix.lower() == ".png" and array.dtype != torch.uint8:
        low, high = array.min(), array.max()
        array = ((array - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)
    with atomic_path(path) as part:
        sitk.WriteImage(sitk.GetImageFromArray(array.numpy()), str(part), useCompression=True)
