"""The part of an X-ray image that the collimator leaves open."""

from __future__ import annotations

import torch
from torch import Tensor


def valid_field(intensity: Tensor) -> Tensor:
    """Mask (rows, columns) bool of the pixels inside the collimated field of an image (rows, columns)."""
    return torch.ones_like(intensity, dtype=torch.bool)
