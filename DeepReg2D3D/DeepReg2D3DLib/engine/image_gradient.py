"""Gradients of images: Gaussian-smoothed central differences that know which pixels are valid."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def kernel_radius(sigma: float) -> int:
    """How many pixels the smoothing reaches to either side."""
    return max(1, math.ceil(2.0 * sigma)) if sigma > 0 else 0


@lru_cache(maxsize=64)
def gaussian_kernel(sigma: float, device: torch.device | None = None) -> Tensor:
    """Weights (2 r + 1,) of a Gaussian with a standard deviation of ``sigma`` samples, sum 1; not to be changed."""
    radius = kernel_radius(sigma)
    with torch.inference_mode(False):  # kept for others, who may want gradients through what they filter
        x = torch.arange(-radius, radius + 1, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (x / sigma) ** 2)
        return (kernel / kernel.sum()).to(device)


def smoothed(image: Tensor, sigma: float) -> Tensor:
    """Image (B, C, H, W) filtered with a Gaussian of ``sigma`` pixels, repeating the border; 0 leaves it as it is."""
    if sigma <= 0:
        return image
    kernel = gaussian_kernel(sigma, image.device).to(image)
    radius = len(kernel) // 2
    channels = image.shape[1]
    along_u = kernel.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1)
    along_v = kernel.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
    padded = F.pad(image, (radius, radius, 0, 0), mode="replicate")
    image = F.conv2d(padded, along_u, groups=channels)
    padded = F.pad(image, (0, 0, radius, radius), mode="replicate")
    return F.conv2d(padded, along_v, groups=channels)


def image_gradient(image: Tensor, sigma: float = 0.0) -> Tensor:
    """(d/du, d/dv) per pixel, (B, 2, H, W), of images (B, 1, H, W), by central differences, zero on the border."""
    image = smoothed(image, sigma)
    du = F.pad(0.5 * (image[..., :, 2:] - image[..., :, :-2]), (1, 1, 0, 0))
    dv = F.pad(0.5 * (image[..., 2:, :] - image[..., :-2, :]), (0, 0, 1, 1))
    return torch.cat([du, dv], dim=1)


def eroded(mask: Tensor, pixels: int = 1) -> Tensor:
    """Mask (B, 1, H, W) bool without the pixels within ``pixels`` of an invalid one (the border itself is no edge)."""
    if pixels <= 0:
        return mask
    blocked = (~mask).to(torch.float32)
    grown = F.max_pool2d(blocked, 2 * pixels + 1, stride=1, padding=pixels)
    return grown < 0.5


def masked_gradient(image: Tensor, mask: Tensor, sigma: float = 0.0) -> tuple[Tensor, Tensor]:
    """Gradient (B, 2, H, W) of an image where its mask (B, 1, H, W) allows, and the mask of where it does.

    Invalid pixels never leak in: those within reach of the filters are dropped, like the image's outermost pixels, and
    the gradient is zero there.
    """
    valid = eroded(mask, kernel_radius(sigma) + 1)
    valid = F.pad(valid[..., 1:-1, 1:-1], (1, 1, 1, 1))
    return image_gradient(image, sigma) * valid, valid
