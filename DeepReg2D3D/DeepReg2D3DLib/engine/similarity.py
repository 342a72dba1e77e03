"""How alike a DRR and an X-ray are: normalised correlation of their gradients inside the X-ray's valid mask."""

from __future__ import annotations

import torch
from torch import Tensor

from .image_gradient import image_gradient, masked_gradient
from .xray import XRay

SIGMA_PX = 1.0


def gradient_ncc(drr: Tensor, xray: Tensor, mask: Tensor, sigma: float = SIGMA_PX) -> Tensor:
    """Gradient NCC (B,) between -1 and 1 of DRRs and X-rays (B, 1, H, W) over mask (B, 1, H, W) bool.

    The mean of the normalised cross-correlations of the two images' derivatives along u and along v (Penney et al.,
    IEEE TMI 1998), after Gaussian smoothing of ``sigma`` pixels. Differentiable in both images. 0 where nothing is
    valid or one image is flat.
    """
    return _ncc(image_gradient(drr, sigma), *masked_gradient(xray, mask, sigma))


def gradient_ncc_of(drr: Tensor, xray: XRay) -> Tensor:
    """``gradient_ncc`` (B,) of DRRs (B, 1, H, W) with one X-ray, whose own gradient is computed once."""
    return _ncc(image_gradient(drr, SIGMA_PX), *xray.gradient(SIGMA_PX))


def _ncc(drr: Tensor, xray: Tensor, valid: Tensor) -> Tensor:
    """From gradients (B, 2, H, W), the X-ray's zero where they are not ``valid`` (B, 1, H, W)."""
    count = valid.sum(dim=(-2, -1), keepdim=True).clamp_min(1)
    a = drr * valid
    a = (a - a.sum(dim=(-2, -1), keepdim=True) / count) * valid
    b = (xray - xray.sum(dim=(-2, -1), keepdim=True) / count) * valid
    numerator = (a * b).sum(dim=(-2, -1))
    denominator = ((a * a).sum(dim=(-2, -1)) * (b * b).sum(dim=(-2, -1))).clamp_min(1e-20).sqrt()
    ncc = torch.where(denominator > 1e-9, numerator / denominator, torch.zeros_like(numerator))
    return ncc.mean(dim=1)
