"""The field of an X-ray image: round and rectangular collimators, image intensifier, half-transparent wedges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .draws import Draws, as_maps, chance, log_uniform, pixel_grid, uniform


@dataclass(frozen=True)
class CollimatorSettings:
    """How often each kind of field occurs, and its ranges in units of half the geometric mean side of the image."""

    round_field: float = 0.45
    round_radius: tuple[float, float] = (0.7, 1.35)
    blades: float = 0.45
    blade_half_size: tuple[float, float] = (0.5, 1.25)
    turned_blades: float = 0.4
    wedge: float = 0.15
    wedge_attenuation: tuple[float, float] = (0.1, 0.8)
    centre_shift: float = 0.15
    edge_px: tuple[float, float] = (0.3, 2.5)
    leakage: tuple[float, float] = (1e-4, 2e-2)


NO_COLLIMATOR = CollimatorSettings(round_field=0.0, blades=0.0, wedge=0.0)


@dataclass
class Collimators(Draws):
    """circle: (B, 3) centre x, y and radius; blades: (B, 5) centre, half sizes, angle; wedge: (B, 4) normal x, y,
    offset and attenuation (0 none). A shape that is absent is far larger than the image. edge_px, leakage: (B,)."""

    circle: Tensor
    blades: Tensor
    wedge: Tensor
    edge_px: Tensor
    leakage: Tensor


def draw_collimators(generator: torch.Generator, batch: int, settings: CollimatorSettings) -> Collimators:
    """A field for every item: none, round, blades, or blades within a round field."""
    shift = settings.centre_shift
    far = torch.tensor(100.0)
    radius = uniform(generator, batch, *settings.round_radius)
    circle = torch.stack(
        [
            uniform(generator, batch, -shift, shift),
            uniform(generator, batch, -shift, shift),
            torch.where(chance(generator, batch, settings.round_field), radius, far),
        ],
        1,
    )
    has_blades = chance(generator, batch, settings.blades)
    sides = [uniform(generator, batch, *settings.blade_half_size) for _ in range(2)]
    # Often only one pair of blades shows.
    one = uniform(generator, batch, 0, 1)
    sides[0] = torch.where(has_blades & (one > 0.3), sides[0], far)
    sides[1] = torch.where(has_blades & (one < 0.7), sides[1], far)
    angle = uniform(generator, batch, -math.pi / 4, math.pi / 4) * chance(generator, batch, settings.turned_blades)
    centre = [uniform(generator, batch, -shift, shift) for _ in range(2)]
    blades = torch.stack([*centre, *sides, angle], 1)
    direction = uniform(generator, batch, -math.pi, math.pi)
    wedge = torch.stack(
        [
            direction.cos(),
            direction.sin(),
            uniform(generator, batch, 0.3, 1.1),
            uniform(generator, batch, *settings.wedge_attenuation) * chance(generator, batch, settings.wedge),
        ],
        1,
    )
    edge = uniform(generator, batch, *settings.edge_px)
    return Collimators(circle, blades, wedge, edge, log_uniform(generator, batch, *settings.leakage))


def collimator_maps(collimators: Collimators, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Transmission (B, 1, H, W) of the collimators (with leakage and wedge) and the field (B, 1, H, W) bool.

    The field is where a pixel lies wholly inside the penumbra's inner edge; a wedge attenuates but belongs to it.
    """
    x, y, unit = pixel_grid(size, device)
    circle, blades, wedge = (t.to(device) for t in (collimators.circle, collimators.blades, collimators.wedge))
    cx, cy, radius = (as_maps(c) for c in circle.unbind(1))
    inside = radius - ((x - cx) ** 2 + (y - cy) ** 2).sqrt()
    bx, by, half_x, half_y, angle = (as_maps(c) for c in blades.unbind(1))
    u = (x - bx) * angle.cos() + (y - by) * angle.sin()
    v = (y - by) * angle.cos() - (x - bx) * angle.sin()
    inside = torch.minimum(inside, half_x - u.abs())
    inside = torch.minimum(inside, half_y - v.abs()) * unit  # px, positive inside
    edge = as_maps(collimators.edge_px.to(device))
    open_share = (0.5 + 0.5 * inside / edge).clamp(0, 1)
    open_share = open_share * open_share * (3 - 2 * open_share)
    leakage = as_maps(collimators.leakage.to(device))
    through = leakage + (1 - leakage) * open_share
    if bool((wedge[:, 3] > 0).any()):
        nx, ny, offset, attenuation = (as_maps(c) for c in wedge.unbind(1))
        depth = ((x * nx + y * ny - offset) * 8).clamp(0, 1)
        through = through * torch.exp(-attenuation * depth)
    return through, inside > edge + 0.5
