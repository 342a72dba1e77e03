"""Soft tissue that differs between the CT and the X-ray: thickness, bowel gas, a limb in the beam."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .draws import Draws, as_maps, chance, pixel_grid, uniform

MAX_GAS = 6


@dataclass(frozen=True)
class TissueSettings:
    """Standard deviations of the low-frequency changes, number and depth of gas blobs, bone factor, limb.

    scale: relative change of the water path; added: change in line integral (1 is 50 mm of water) inside the body;
    gas_mm: depth of a gas blob; bone_factor: range of the factor on bone attenuation (mineral content, and what the
    CT's blur and HU curve lost).
    """

    scale: float = 0.10
    added: float = 0.35
    gas: float = 0.35
    gas_mm: tuple[float, float] = (5.0, 50.0)
    limb: float = 0.08
    bone_factor: tuple[float, float] = (0.9, 2.2)


SAME_TISSUE = TissueSettings(scale=0.0, added=0.0, gas=0.0, limb=0.0, bone_factor=(1.0, 1.0))


@dataclass
class Tissue(Draws):
    """scale, added: (B, 1, 5, 5) coarse grids; gas: (B, MAX_GAS, 6) centre, radii, angle, depth in mm (0: absent);
    limb: (B, 5) a point, a direction, and the radius of the water cylinder (0: absent); bone_factor: (B,)."""

    scale: Tensor
    added: Tensor
    gas: Tensor
    limb: Tensor
    bone_factor: Tensor


def draw_tissue(generator: torch.Generator, batch: int, settings: TissueSettings) -> Tissue:
    """Differences for every item; their strength varies between items too."""

    def grid(deviation: float) -> Tensor:
        strength = as_maps(uniform(generator, batch, 0.0, 2.0)) * deviation
        return torch.randn(batch, 1, 5, 5, generator=generator) * strength

    gas = torch.zeros(batch, MAX_GAS, 6)
    number = batch * MAX_GAS
    gas[..., 0] = uniform(generator, number, -1.0, 1.0).reshape(batch, MAX_GAS)
    gas[..., 1] = uniform(generator, number, -1.0, 1.0).reshape(batch, MAX_GAS)
    gas[..., 2] = uniform(generator, number, 0.04, 0.25).reshape(batch, MAX_GAS)
    gas[..., 3] = gas[..., 2] * uniform(generator, number, 0.4, 1.0).reshape(batch, MAX_GAS)
    gas[..., 4] = uniform(generator, number, 0.0, math.pi).reshape(batch, MAX_GAS)
    depth = uniform(generator, number, *settings.gas_mm).reshape(batch, MAX_GAS)
    present = chance(generator, number, 0.5).reshape(batch, MAX_GAS) & chance(generator, batch, settings.gas)[:, None]
    gas[..., 5] = depth * present
    angle = uniform(generator, batch, 0.0, 2 * math.pi)
    limb = torch.stack(
        [
            uniform(generator, batch, -1.2, 1.2),
            uniform(generator, batch, -1.2, 1.2),
            angle.cos(),
            angle.sin(),
            uniform(generator, batch, 0.2, 0.45) * chance(generator, batch, settings.limb),
        ],
        1,
    )
    return Tissue(
        grid(settings.scale),
        grid(settings.added),
        gas,
        limb,
        uniform(generator, batch, *settings.bone_factor),
    )


def smooth_field(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """A coarse grid (B, C, h, w) as a smooth field (B, C, H, W)."""
    return functional.interpolate(grid, size=size, mode="bicubic", align_corners=True)


def change_tissue(water: Tensor, bone: Tensor, tissue: Tissue) -> tuple[Tensor, Tensor]:
    """Line integrals of water and bone (B, 1, H, W) as the X-ray meets them; never negative, and 0 stays 0 in air."""
    device, size = water.device, tuple(water.shape[-2:])
    bone = bone * as_maps(tissue.bone_factor.to(device))
    water = water.clone()
    body = (water * 4).clamp(0, 1)  # full inside the body, fading over the last 12 mm of tissue
    if bool((tissue.scale != 0).any()):
        water = water * smooth_field(tissue.scale.to(device), size).exp_()
    if bool((tissue.added != 0).any()):
        # No more than a third of the tissue there can go away.
        water = torch.maximum(water + smooth_field(tissue.added.to(device), size) * body, water * 0.67)
    x, y, _ = pixel_grid(size, device)
    for index in range(MAX_GAS):
        items = (tissue.gas[:, index, 5] > 0).nonzero().squeeze(1)
        if len(items) == 0:
            continue
        cx, cy, rx, ry, angle, depth = (as_maps(c) for c in tissue.gas[items, index].to(device).unbind(1))
        u = ((x - cx) * angle.cos() + (y - cy) * angle.sin()) / rx
        v = ((y - cy) * angle.cos() - (x - cx) * angle.sin()) / ry
        chord = (1 - u * u - v * v).clamp_min_(0).sqrt_() * (0.02 * depth)
        items = items.to(device)
        water[items] = torch.maximum(water[items] - chord, water[items] * 0.4)
    items = (tissue.limb[:, 4] > 0).nonzero().squeeze(1)
    if len(items):
        px, py, dx, dy, radius = (as_maps(c) for c in tissue.limb[items].to(device).unbind(1))
        squared = ((x - px) * dy - (y - py) * dx) ** 2
        # A forearm or upper arm of 40 mm radius with a tube of bone of a third of it (marrow is water).
        mm = 0.02 * 40.0 / radius
        chord = (radius**2 - squared).clamp_min(0).sqrt() * (2 * mm)
        outer = ((radius * 0.30) ** 2 - squared).clamp_min(0).sqrt()
        inner = ((radius * 0.19) ** 2 - squared).clamp_min(0).sqrt()
        items = items.to(device)
        water[items] += chord
        bone[items] += (outer - inner) * (2 * 1.6 * mm)
    return water, bone
