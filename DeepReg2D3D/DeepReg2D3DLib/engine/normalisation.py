"""How an image enters the networks: the same two channels for a DRR and an X-ray, in training and in use.

A DRR and an X-ray of one pose differ by exposure, windows, beam hardening and scatter, which change grey values slowly
over the image, and by noise. So the first channel standardises the line integrals over the field, and the second
standardises them over a small neighbourhood, in which those slow changes are nearly constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NETWORK_CHANNELS = 2


@dataclass(frozen=True)
class NormalisationSettings:
    """clip: shares of pixels cut off below and above; limit: largest absolute value of a channel; neighbourhood: sigma
    of the Gaussian window in pixels, whatever the size: a network that sees pixels then serves every resolution;
    contrast_floor: local contrast, as a share of the global one, below which a neighbourhood is not amplified further
    (noise in flat parts)."""

    clip: tuple[float, float] = (0.005, 0.005)
    limit: float = 4.0
    neighbourhood: float = 8.0
    contrast_floor: float = 0.15


def masked_quantiles(image: Tensor, mask: Tensor | None, shares: tuple[float, ...]) -> Tensor:
    """Quantiles (len(shares), B, 1, 1, 1) of images (B, 1, H, W) inside the mask, from a sample of about 3,000 pixels.

    An empty mask counts as full. No interpolation between pixels.
    """
    step = max(1, int(min(image.shape[-2:]) / 48))
    sample = image[..., ::step, ::step].flatten(1)
    if mask is not None:
        inside = mask[..., ::step, ::step].expand_as(image[..., ::step, ::step]).flatten(1)
        inside = inside | ~inside.any(1, keepdim=True)
        sample = torch.where(inside, sample, torch.inf)
        number = inside.sum(1, keepdim=True)
    else:
        number = torch.full((len(image), 1), sample.shape[1], device=image.device)
    ordered = sample.sort(1).values
    at = torch.tensor(shares, device=image.device) * (number - 1)
    return ordered.gather(1, at.round().long()).T[:, :, None, None, None]


def _window(size: int, sigma: float, device: torch.device) -> Tensor:
    at = torch.arange(size, device=device, dtype=torch.float32)
    return torch.exp(-0.5 * ((at[:, None] - at[None, :]) / sigma) ** 2)


def local_mean(image: Tensor, weight: Tensor, sigma_px: float) -> Tensor:
    """Gaussian-weighted mean (B, C, H, W) of an image around every pixel, counting pixels by ``weight``.

    Computed on a grid coarse enough for the window (a quarter of sigma), so it costs little at any size.
    """
    rows, columns = image.shape[-2:]
    step = max(1, int(sigma_px / 2))
    shape = {"kernel_size": step, "ceil_mode": True, "count_include_pad": False}
    stack = torch.cat([image * weight, weight.expand_as(image)], 1)
    coarse = functional.avg_pool2d(stack, **shape) if step > 1 else stack
    down = _window(coarse.shape[-2], sigma_px / step, image.device)
    across = _window(coarse.shape[-1], sigma_px / step, image.device)
    total, count = (down @ coarse @ across.T).chunk(2, 1)
    mean = total / count.clamp_min(1e-6)
    if step == 1:
        return mean
    # Coarse cells begin at pixel 0; beyond the last whole cell the last one is repeated.
    size = (coarse.shape[-2] * step, coarse.shape[-1] * step)
    return functional.interpolate(mean, size=size, mode="bilinear", align_corners=False)[..., :rows, :columns]


def normalise_for_network(
    image: Tensor, mask: Tensor | None = None, settings: NormalisationSettings | None = None
) -> Tensor:
    """Two channels (B, 2, H, W) of line integrals (B, 1, H, W): standardised over the field, and over neighbourhoods.

    mask: (B, 1, H, W) bool, the valid pixels, or None for all; outside it both channels are 0. The result is the same
    for any positive factor and offset of the image, and finite for any finite image, a constant one included.
    """
    settings = settings or NormalisationSettings()
    image = image.to(torch.float32)
    inside = torch.ones_like(image) if mask is None else mask.to(torch.float32)
    low, high = masked_quantiles(image, mask, (settings.clip[0], 1 - settings.clip[1]))
    image = torch.minimum(torch.maximum(image, low), high)
    count = inside.sum((1, 2, 3), keepdim=True).clamp_min(1)
    mean = (image * inside).sum((1, 2, 3), keepdim=True) / count
    centred = (image - mean) * inside
    deviation = ((centred * centred).sum((1, 2, 3), keepdim=True) / count).sqrt().clamp_min(1e-6)
    whole = centred / deviation
    sigma = settings.neighbourhood
    detail = (whole - local_mean(whole, inside, sigma)) * inside
    contrast = (local_mean(detail * detail, inside, sigma) + settings.contrast_floor**2).sqrt()
    result = torch.cat([whole, detail / contrast], 1).clamp(-settings.limit, settings.limit)
    return result * inside
