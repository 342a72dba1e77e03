"""Photometric augmentation of one network input image, drawn independently for the DRR and the X-ray.

Domain randomisation in the manner of xvr (Gopalakrishnan et al., 2025) and CDReg: windows, gamma, a sine curve, local
equalisation, blur, sharpening, noise, uneven brightness, inversion and random erasing (Zhong et al., AAAI 2020), each
with its own probability. Images stay where they are: no label changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..engine.normalisation import local_mean, masked_quantiles
from .detector import blurred
from .draws import Draws, as_maps, chance, log_uniform, seeds, uniform
from .tissue import smooth_field

MAX_ERASED = 3


@dataclass(frozen=True)
class PhotometricSettings:
    """Probabilities of each change and their ranges. Grey values are in units of the image's own 1-99 % range."""

    gamma: float = 0.33
    gamma_range: tuple[float, float] = (0.65, 1.6)
    sine: float = 0.1
    equalise: float = 0.25
    window: float = 0.25
    window_share: tuple[float, float] = (0.0, 0.12)
    bias: float = 0.4
    bias_deviation: float = 0.15
    blur: float = 0.25
    blur_px: tuple[float, float] = (0.4, 1.5)
    sharpen: float = 0.2
    noise: float = 0.35
    noise_deviation: tuple[float, float] = (0.005, 0.06)
    inversion: float = 0.0
    erase: float = 0.3


# The DRR is always ours: it needs little more than robustness to the CT's own quality.
DRR_PHOTOMETRIC = PhotometricSettings(
    gamma=0.2, sine=0.0, equalise=0.0, window=0.1, bias=0.1, blur=0.15, sharpen=0.1, noise=0.2, erase=0.1
)


@dataclass
class Photometric(Draws):
    """What changes in each item: (B,) values that leave an image alone where a change was not drawn (gamma 1, others
    0); window: (B, 2); bias: (B, 2, 4, 4) gain and offset grids; erased: (B, MAX_ERASED, 5) box and fill; seed (B,)."""

    gamma: Tensor
    sine: Tensor
    equalise: Tensor
    window: Tensor
    bias: Tensor
    blur_px: Tensor
    sharpen: Tensor
    noise: Tensor
    inverted: Tensor
    erased: Tensor
    seed: Tensor


def draw_photometric(
    generator: torch.Generator, batch: int, settings: PhotometricSettings | None = None
) -> Photometric:
    """The changes for ``batch`` images."""
    s = settings or PhotometricSettings()

    def maybe(probability: float, values: Tensor, otherwise: float = 0.0) -> Tensor:
        drawn = chance(generator, batch, probability)
        drawn = drawn.reshape(-1, *[1] * (values.dim() - 1))
        return torch.where(drawn, values, torch.full_like(values, otherwise))

    boxes = torch.rand(batch, MAX_ERASED, 5, generator=generator)
    boxes[..., 2:4] = 0.05 + 0.3 * boxes[..., 2:4]  # sizes as shares of the image; 0 size: absent
    boxes[..., 2] *= torch.rand(batch, MAX_ERASED, generator=generator) < 0.6
    return Photometric(
        gamma=maybe(s.gamma, log_uniform(generator, batch, *s.gamma_range), 1.0),
        sine=maybe(s.sine, uniform(generator, batch, 0.5, 1.0)),
        equalise=maybe(s.equalise, uniform(generator, batch, 0.2, 0.9)),
        window=maybe(s.window, uniform(generator, 2 * batch, *s.window_share).reshape(batch, 2)),
        bias=maybe(s.bias, torch.randn(batch, 2, 4, 4, generator=generator) * s.bias_deviation),
        blur_px=maybe(s.blur, uniform(generator, batch, *s.blur_px)),
        sharpen=maybe(s.sharpen, uniform(generator, batch, 0.3, 1.5)),
        noise=maybe(s.noise, log_uniform(generator, batch, *s.noise_deviation)),
        inverted=chance(generator, batch, s.inversion),
        erased=maybe(s.erase, boxes),
        seed=seeds(generator, batch),
    )


@torch.no_grad()
def change_photometry(
    image: Tensor, mask: Tensor | None, changes: Photometric, generator: torch.Generator | None = None
) -> Tensor:
    """Changed images (B, 1, H, W), in units of their own 1-99 % range inside the mask (0 to 1, not clipped).

    Each change works on the items that drew it only. ``generator`` (on the images' device) supplies the noise; without
    one it comes from the first item's seed.
    """
    device, size = image.device, tuple(image.shape[-2:])
    changes = changes.to("cpu")  # the choice of items is made on the host
    low, high = masked_quantiles(image, mask, (0.01, 0.99))
    image = (image - low) / (high - low).clamp_min(1e-6)

    def items(drawn: Tensor) -> Tensor | None:
        index = drawn.nonzero().squeeze(1)
        return index.to(device) if len(index) else None

    def values(field: Tensor, index: Tensor) -> Tensor:
        return as_maps(field.to(device)[index])

    at = items(changes.gamma != 1)
    if at is not None:
        part = image[at].clamp(0, 1.5)
        image[at] = (part + 1e-4).pow(values(changes.gamma, at))
    at = items(changes.sine > 0)
    if at is not None:
        # Half a period at most, so that the curve is monotone: it compresses the dark end, the bright end or both.
        b = values(changes.sine, at)
        image[at] = torch.sin((image[at].clamp(0, 1) - 0.5) * b * math.pi)
    at = items((changes.window > 0).any(1))
    if at is not None:
        window = changes.window.to(device)[at]
        part = image[at]
        image[at] = torch.minimum(torch.maximum(part, as_maps(window[:, 0])), 1 - as_maps(window[:, 1]))
    at = items((changes.bias != 0).flatten(1).any(1))
    if at is not None:
        gain, offset = smooth_field(changes.bias.to(device)[at], size).split(1, 1)
        image[at] = image[at] * gain.exp() + offset
    at = items(changes.equalise > 0)
    if at is not None:
        part = image[at]
        inside = torch.ones_like(part) if mask is None else mask[at].to(part)
        sigma = 0.08 * (size[0] * size[1]) ** 0.5
        detail = part - local_mean(part, inside, sigma)
        contrast = (local_mean(detail * detail, inside, sigma) + 0.03**2).sqrt()
        share = values(changes.equalise, at)
        image[at] = (1 - share) * part + share * (0.5 + 0.25 * detail / contrast)
    at = items(changes.blur_px > 0)
    if at is not None:
        image[at] = blurred(image[at], changes.blur_px.to(device)[at])
    at = items(changes.sharpen > 0)
    if at is not None:
        part = image[at]
        softer = blurred(part, torch.full((len(at),), 1.2, device=device))
        image[at] = part + values(changes.sharpen, at) * (part - softer)
    at = items(changes.noise > 0)
    if at is not None:
        if generator is None:
            generator = torch.Generator(device).manual_seed(int(changes.seed[0]))
        part = image[at]
        image[at] = part + torch.empty_like(part).normal_(generator=generator) * values(changes.noise, at)
    at = items(changes.inverted)
    if at is not None:
        image[at] = 1 - image[at]
    _erase(image, changes.erased)
    return image


def _erase(image: Tensor, boxes: Tensor) -> None:
    """Fill drawn boxes with a grey value, in place."""
    rows, columns = image.shape[-2:]
    for item, box in (boxes[..., 2] > 0).nonzero().tolist():
        x, y, width, height, fill = boxes[item, box].tolist()
        left, top = int((x - width / 2) * columns), int((y - height / 2) * rows)
        right, bottom = left + int(width * columns) + 1, top + int(height * rows) + 1
        image[item, :, max(0, top) : bottom, max(0, left) : right] = fill
