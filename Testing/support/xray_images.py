"""X-ray images made by formula, for the tests of everything that reads them."""

import math

import torch
from torch import Tensor

FIELDS = ("round", "round beyond", "rectangular", "turned", "round and straight", "one blade")


def torso(rows: int = 240, columns: int = 300, wide: float = 1.0) -> Tensor:
    """Line integrals (rows, columns) of a trunk seen from the front: body, lungs, a spine with discs, ribs.

    wide: the body's half-width over that of the image; above 1 there is no open beam.
    """
    v, u = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    outline = 1.15 * wide * (1 + 0.12 * torch.cos(4 * v + 1))
    body = 3.5 * (1 - (u / outline) ** 2).clamp(min=0).sqrt()
    lungs = sum(
        1.6 * (1 - ((u - side) / 0.32) ** 2 - ((v + 0.4) / 0.75) ** 2).clamp(min=0).sqrt() for side in (-0.5, 0.5)
    )
    waist = 0.11 + 0.012 * torch.cos(2 * math.pi * 5 * v)
    spine = 0.9 * (1 - (u / waist) ** 2).clamp(min=0).sqrt() * (0.75 + 0.25 * torch.cos(2 * math.pi * 5 * v) ** 2)
    ribs = sum(
        0.35 * torch.exp(-(((v - height - 0.35 * u**2) / 0.025) ** 2)) * (u.abs() < 0.9 * wide)
        for height in torch.arange(-0.9, 0.5, 0.22)
    )
    return (body - lungs + (spine + ribs) * (body > 0)).clamp(min=0)


def field(kind: str, rows: int = 240, columns: int = 300) -> Tensor:
    """A collimated field (rows, columns) bool."""
    v, u = torch.meshgrid(torch.arange(rows) - 0.5 * rows, torch.arange(columns) - 0.5 * columns, indexing="ij")
    u, v = u / rows, v / rows

    def box(angle: float, half_u: float, half_v: float) -> Tensor:
        across, along = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
        return (across.abs() < half_u) & (along.abs() < half_v)

    return {
        "none": torch.ones(rows, columns, dtype=torch.bool),
        "round": torch.hypot(u - 0.03, v + 0.02) < 0.44,
        "round beyond": torch.hypot(u, v) < 0.62,
        "rectangular": box(0.0, 0.5, 0.38),
        "turned": box(0.4, 0.38, 0.33),
        "round and straight": (torch.hypot(u, v) < 0.47) & (u < 0.3),
        "one blade": u + 0.3 * v < 0.35,
    }[kind]


def _blurred(image: Tensor, reach: int) -> Tensor:
    kernel = torch.ones(1, 1, 2 * reach + 1, 2 * reach + 1) / (2 * reach + 1) ** 2
    padded = torch.nn.functional.pad(image[None, None].float(), [reach] * 4, mode="replicate")
    return torch.nn.functional.conv2d(padded, kernel)[0, 0]


def exposed(
    line_integrals: Tensor, open_field: Tensor, *, seed: int = 0, scatter: float = 0.02, soft: int = 1
) -> Tensor:
    """Intensities (rows, columns) from 0 to about 1: a blurred collimator edge, scatter that reaches into its shadow,
    and photon noise."""
    edge = _blurred(open_field, soft) if soft else open_field.float()
    primary = torch.exp(-line_integrals)
    image = primary * edge + scatter * _blurred(_blurred(primary * open_field, 15), 15)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return (image + 0.003 * noise * image.sqrt()).clamp(min=0)


def stored(intensities: Tensor, bits: int, saturated_above: float = 1.0) -> Tensor:
    """Grey levels (rows, columns) float32 of a detector that saturates, and of a dark level of 2 in 8 bits."""
    top = 2**bits - 1
    return (intensities / saturated_above * top).clamp(0, top).round()
