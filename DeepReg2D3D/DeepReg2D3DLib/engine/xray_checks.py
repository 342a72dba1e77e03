"""Refusals of X-ray images that cannot be registered, whatever file they came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .camera import Camera
from .errors import InputError

_SMALLEST, _LARGEST = 1e-12, 1e12  # beyond them products of pixels are lost in float32


def check_size(pixels: np.ndarray, camera: Camera, path: Path) -> None:
    """Refuse an image (rows, columns) of another size than the camera's."""
    rows, columns = pixels.shape
    if (rows, columns) == camera.size:
        return
    turned = " It seems to be turned by 90 degrees." if (columns, rows) == camera.size else ""
    raise InputError(
        f"{path}: has {columns} columns x {rows} rows, but view '{camera.name}' of the geometry has {camera.columns} x "
        f"{camera.rows}.{turned} Give the image that belongs to this view, or correct the geometry."
    )


def check_content(values: Tensor, path: Path, image_kind: str) -> None:
    """Refuse an image (rows, columns) that is constant, or nearly, not finite, or negative where it counts photons."""
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise InputError(f"{path}: {bad} pixels are NaN or infinite; replace them.")
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise InputError(f"{path}: every pixel is {low:g}; the image shows nothing.")
    if not _SMALLEST < max(abs(low), abs(high)) < _LARGEST:
        raise InputError(
            f"{path}: its values go from {low:g} to {high:g}, which no detector gives; scale them to ordinary numbers."
        )
    common = float(values.flatten().median())
    share = float((values == common).float().mean())
    if share > 0.995:
        raise InputError(f"{path}: {100 * share:.1f} % of its pixels are {common:g}; the image shows nothing.")
    if image_kind == "intensity" and float((values < 0).float().mean()) > 0.01:
        raise InputError(
            f"{path}: is declared as intensity but goes down to {low:g}; photons cannot be negative. Declare it as "
            "line_integral or auto."
        )
