"""How well the edges of DRRs agree with those of an X-ray, for poses far from the truth and for rivals of each other.

What is correlated are gradients (Penney et al., IEEE TMI 1998) of locally standardised images, tamed so that no single
edge (skin, implant) decides, and normalised over the pixels that are valid in both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .image_gradient import masked_gradient
from .normalisation import local_mean

NEIGHBOURHOOD_PX = 6.0
"""Standard deviation of the window over which images are standardised before they are compared."""


def correlation_over_shifts(
    drr: Tensor, xray: Tensor, mask: Tensor, largest: int, drr_mask: Tensor | None = None, *, wide: bool = False
) -> Tensor:
    """Correlation (B, 2 s + 1, 2 s + 1), s = largest, of shifted DRRs (B, 1, H, W) with an X-ray (1, 1, H, W).

    mask (1, 1, H, W) bool of the X-ray, drr_mask (B, 1, H, W) bool of the DRRs (None: all valid). Each is the
    correlation of the tamed gradients of locally standardised images where the shifted DRR covers valid pixels, times
    the root of the share of the DRR's edges that it covers, so that an overlap of a few pixels does not win; where the
    DRRs are ``wide``, showing more than the X-ray could, the share of the X-ray's edges serves as well. Entry
    [b, s + dv, s + du]; 0 where one of the two has no edges.
    """
    if drr_mask is None:
        drr_mask = torch.ones_like(drr, dtype=torch.bool)
    found, valid = _edges(xray, mask)
    expected, _ = _edges(drr, drr_mask)
    rows, columns = drr.shape[-2:]
    size = (rows + 2 * largest, columns + 2 * largest)

    def transformed(image: Tensor) -> Tensor:
        return torch.fft.rfft2(F.pad(image, (0, 2 * largest, 0, 2 * largest)))

    def correlate(moving: Tensor, fixed: Tensor) -> Tensor:
        product = (torch.fft.irfft2(transformed(moving).conj() * transformed(fixed), s=size)).sum(1)
        product = torch.roll(product, (largest, largest), dims=(-2, -1))
        return product[..., : 2 * largest + 1, : 2 * largest + 1]

    numerator = correlate(expected, found)
    energy = (expected * expected).sum(1, keepdim=True)
    seen = (energy > 0).to(energy)
    covered = correlate(energy, valid.to(energy)).clamp_min(0)
    met = correlate(seen, (found * found).sum(1, keepdim=True)).clamp_min(0)
    total, total_met = energy.sum((-1, -2)).clamp_min(1e-9)[..., None], (found * found).sum().clamp_min(1e-9)
    least = (1e-3 * total * total_met).clamp_min(1e-12)
    share = covered / total
    if wide:
        share = torch.maximum(share, met / total_met)
    return numerator / (covered * met).maximum(least).sqrt() * share.clamp_max(1.0).sqrt()


def edge_similarity(drr: Tensor, xray: Tensor, mask: Tensor, drr_mask: Tensor | None = None) -> Tensor:
    """``correlation_over_shifts`` without a shift: (B,), 1 where the edges are the same."""
    return correlation_over_shifts(drr, xray, mask, 0, drr_mask)[:, 0, 0]


def _edges(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Tamed gradients (B, 2, H, W) of an image standardised over small neighbourhoods, and where they are valid.

    Exposure, windows and missing tissue change an image slowly from place to place; standardised locally, faint bones
    beside the open beam count as much as others, and metal counts little more.
    """
    inside = mask.to(image.dtype)
    detail = (image - local_mean(image, inside, NEIGHBOURHOOD_PX)) * inside
    variance = local_mean(detail * detail, inside, NEIGHBOURHOOD_PX)
    typical = (variance * inside).sum((1, 2, 3), keepdim=True) / inside.sum((1, 2, 3), keepdim=True).clamp_min(1)
    standard = detail / (variance + 0.05 * typical).clamp_min(1e-12).sqrt()
    gradient, valid = masked_gradient(standard.clamp(-3.0, 3.0), mask, 1.0)
    return _tamed(gradient, valid), valid


def _tamed(gradient: Tensor, valid: Tensor) -> Tensor:
    """Gradients (B, 2, H, W) compressed to g / sqrt(|g| + mean |g|): faint edges count beside strong ones."""
    length = torch.hypot(*gradient.split(1, dim=1))
    mean = (length * valid).sum((-1, -2), keepdim=True) / valid.sum((-1, -2), keepdim=True).clamp_min(1)
    return gradient / (length + mean).clamp_min(1e-12).sqrt() * valid
