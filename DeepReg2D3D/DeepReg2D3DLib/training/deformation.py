"""Anatomically different copies of a CT: mirrored, scaled, bent and twisted along the spine, locally warped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..engine.poses import transform_points
from ..engine.volume import AIR_HU, Volume
from .draws import uniform

_LATTICE_MM = 25.0
_HARMONICS = 2


@dataclass(frozen=True)
class DeformationSettings:
    """Ranges. scale: of all axes together; stretch: of each axis on its own; bend_mm: amplitude of the lateral and the
    sagittal curve; twist_deg: amplitude of the turn about the long axis; warp_mm: standard deviation of the local warp
    (correlated over about 60 mm)."""

    mirror: float = 0.5
    scale: tuple[float, float] = (0.88, 1.12)
    stretch: float = 0.06
    bend_mm: float = 14.0
    twist_deg: float = 6.0
    warp_mm: float = 3.0


@dataclass(frozen=True)
class Deformation:
    """A smooth map from the new patient to the source CT, both in mm from the middle of the source, long axis z.

    factors: (3,) of each axis, negative where mirrored. bend: (3, harmonics) amplitudes of x, y (mm) and twist (rad);
    phase: (3, harmonics); period: mm of the first harmonic. warp: (1, 3, d, h, w) displacements on a lattice that spans
    ``extent`` (3,) mm about the middle.
    """

    factors: Tensor
    bend: Tensor
    phase: Tensor
    period: float
    warp: Tensor
    extent: Tensor

    def to_source(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Source coordinates of a regular block of new coordinates x (nx,), y (ny,), z (nz,): three (nz, ny, nx)."""
        angle = 2 * math.pi * torch.arange(1, _HARMONICS + 1) / self.period
        wave = angle * z[None, :, None] + self.phase[:, None]  # (3, nz, harmonics)
        curve = (self.bend[:, None] * wave.sin()).sum(-1)[..., None, None]  # (3, nz, 1, 1)
        slope = (self.bend[:, None] * angle * wave.cos()).sum(-1)[..., None, None]
        xs, ys, zs = x[None, None, :], y[None, :, None], z[:, None, None]
        # The sections of a bent beam stay square to it: its tilt moves points along z in proportion to their distance.
        zs = zs - slope[0] * xs - slope[1] * ys
        cosine, sine = curve[2].cos(), curve[2].sin()
        xs, ys = cosine * xs - sine * ys + curve[0], sine * xs + cosine * ys + curve[1]
        if bool((self.warp != 0).any()):
            half = self.extent / 2
            place = [a / h for a, h in zip((x, y, z), half, strict=True)]
            grid = torch.stack(
                [
                    place[0].expand(len(z), len(y), -1),
                    place[1][:, None].expand(len(z), -1, len(x)),
                    place[2][:, None, None].expand(-1, len(y), len(x)),
                ],
                -1,
            )
            local = functional.grid_sample(self.warp, grid[None], align_corners=True, padding_mode="border")[0]
            xs, ys, zs = xs + local[0], ys + local[1], zs + local[2]
        fx, fy, fz = self.factors
        shape = (len(z), len(y), len(x))
        return (fx * xs).expand(shape), (fy * ys).expand(shape), (fz * zs).expand(shape)


def identity_deformation(extent: Tensor) -> Deformation:
    """The map that changes nothing."""
    zero = torch.zeros(3, _HARMONICS)
    return Deformation(torch.ones(3), zero, zero, 400.0, torch.zeros(1, 3, 2, 2, 2), extent.to(torch.float32))


def draw_deformation(
    generator: torch.Generator, extent: Tensor, settings: DeformationSettings | None = None
) -> Deformation:
    """A random map for a source of ``extent`` (3,) mm."""
    s = settings or DeformationSettings()
    extent = extent.to(torch.float32)
    scale = float(uniform(generator, 1, *s.scale))
    factors = 1 / (scale * (1 + s.stretch * torch.randn(3, generator=generator)).clamp(0.75, 1.3))
    if float(torch.rand(1, generator=generator)) < s.mirror:
        factors[0] = -factors[0]
    size = torch.tensor([s.bend_mm, s.bend_mm, math.radians(s.twist_deg)])[:, None]
    falloff = torch.tensor([1.0, 0.35])
    bend = torch.randn(3, _HARMONICS, generator=generator) * size * falloff
    phase = uniform(generator, 3 * _HARMONICS, 0, 2 * math.pi).reshape(3, _HARMONICS)
    period = float(uniform(generator, 1, 350.0, 700.0))
    shape = [max(3, int(e / _LATTICE_MM) + 1) for e in extent.tolist()[::-1]]
    lattice = torch.randn(1, 3, *(n + 4 for n in shape), generator=generator)
    # Two passes of a 3-wide box correlate over about two cells; the factor restores the deviation.
    for _ in range(2):
        lattice = functional.avg_pool3d(lattice, 3, stride=1)
    warp = lattice * (s.warp_mm / lattice.std().clamp_min(1e-6))
    return Deformation(factors, bend, phase, period, warp, extent)


def deformed(
    source: Volume, deformation: Deformation, spacing_mm: float, offset: float = 0.0, name: str | None = None
) -> Volume:
    """The new patient as a CT of ``spacing_mm`` (float32 HU, axes along LPS, air outside the source's field).

    The source should be about as coarse as the result: it is sampled trilinearly. ``offset`` shifts the grid by a share
    of a voxel, so that two volumes of one patient don't share a sampling.
    """
    size = torch.tensor(list(reversed(source.shape)), dtype=torch.float64)
    to_ct = source.ijk_to_ct
    middle = transform_points(to_ct, ((size - 1) / 2)[None])[0]
    extent = (to_ct[:3, :3].abs() @ (size - 1)).to(torch.float32)
    reach = extent / deformation.factors.abs()
    counts = (reach / spacing_mm).floor().long().tolist()
    x, y, z = (spacing_mm * (torch.arange(n, dtype=torch.float32) - (n - 1) / 2 + offset) for n in counts)
    # LPS mm from the middle to grid_sample's [-1, 1] (the middle is 0 there).
    to_unit = (torch.linalg.inv(to_ct[:3, :3]) * (2 / (size - 1).clamp_min(1))[:, None]).to(torch.float32)
    hu = source.hu.to(torch.float32)[None, None] - AIR_HU
    result = torch.empty(len(z), len(y), len(x))
    slab = max(1, int(2e6 / (len(x) * len(y))))
    for first in range(0, len(z), slab):
        points = torch.stack(deformation.to_source(x, y, z[first : first + slab]), -1)
        grid = points @ to_unit.T
        result[first : first + slab] = functional.grid_sample(hu, grid[None], align_corners=True)[0, 0]
    matrix = torch.diag(torch.tensor([spacing_mm, spacing_mm, spacing_mm, 1.0], dtype=torch.float64))
    matrix[:3, 3] = middle + torch.tensor([float(x[0]), float(y[0]), float(z[0])], dtype=torch.float64)
    return Volume(result + AIR_HU, matrix, name or source.name)
