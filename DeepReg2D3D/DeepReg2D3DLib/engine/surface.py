"""Surface points of a CT: where tissue changes, with the gradient there, found once per CT by a 3D Canny detector.

The steps are Canny's: smooth, gradient, non-maximum suppression along the gradient (with the edge placed between voxels
by a parabola), hysteresis; then thinning on a grid. Bone decides a registration, so soft tissue and air are compressed
before the gradient is taken: skin and lung move with breathing and would otherwise be the strongest edges of a CT.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError

if TYPE_CHECKING:
    from .volume import Volume


@dataclass(frozen=True)
class SurfaceSettings:
    """How edges are found. Lengths in mm, edge strengths in (compressed) HU per mm."""

    smoothing: float = 1.0
    """Standard deviation of the Gaussian, approximated by binomial filters along each axis."""
    soft_tissue_slope: float = 0.15
    """Slope of the compression below ``bone_hu``: a lung's edge counts this much of a bone's of the same contrast."""
    bone_hu: float = 80.0
    metal_hu: float = 2000.0
    """Values above are cut, so that implants don't drown the bone."""
    weak: float = 35.0
    strong: float = 80.0
    """Hysteresis: an edge is kept when it is strong, or weak with a strong one within ``hysteresis_reach``."""
    hysteresis_reach: float = 6.0
    spacing: float = 1.5
    """Thinning: at most one point in a cube of this size."""
    max_points: int = 200_000
    finest_voxel: float = 0.75
    """In a large CT, axes sampled more finely are averaged in pairs first: it costs little and saves much."""
    large: int = 16_000_000
    """Voxels that make a CT large."""
    slab_voxels: int = 6_000_000
    """Voxels that are held in float32 at a time, in about ten arrays."""


@dataclass(frozen=True)
class SurfacePoints:
    """points (N, 3) in CT LPS mm and gradients (N, 3), towards the denser side, in compressed HU per mm; float32."""

    points: Tensor
    gradients: Tensor

    @cached_property
    def columns(self) -> tuple[Tensor, Tensor]:
        """Points and gradients as (3, N), each coordinate in one run of memory: what looks at all of them is faster."""
        return self.points.T.contiguous(), self.gradients.T.contiguous()

    @cached_property
    def squared_gradients(self) -> Tensor:
        """Squared lengths (N,) of the gradients."""
        return self.gradients.square().sum(-1)

    @cached_property
    def middle(self) -> Tensor:
        """Median (3,) of the points, CT LPS mm, float64 on the CPU."""
        return self.points.median(0).values.to("cpu", torch.float64)

    def __len__(self) -> int:
        return self.points.shape[0]

    def to(self, device: torch.device | str) -> SurfacePoints:
        """The same points on another device."""
        return SurfacePoints(self.points.to(device), self.gradients.to(device))

    def subsampled(self, count: int, generator: torch.Generator | None = None) -> SurfacePoints:
        """``count`` points drawn at random: without replacement where there are enough, with replacement otherwise."""
        total = len(self)
        if total == 0:
            raise InputError("The CT has no surface points: it shows nothing denser than soft tissue.")
        if count <= total:
            chosen = torch.randperm(total, generator=generator)[:count]
        else:
            chosen = torch.randint(total, (count,), generator=generator)
        chosen = chosen.to(self.points.device)
        return SurfacePoints(self.points[chosen], self.gradients[chosen])


def extract_surface_points(volume: Volume, settings: SurfaceSettings | None = None) -> SurfacePoints:
    """Surface points of a CT, at most ``settings.max_points``.

    Works through the CT in slabs of slices, so that memory stays far below that of one float32 copy of a large CT.
    Raises InputError when the CT has no surface at all (empty air, or everything far below bone).
    """
    settings = settings or SurfaceSettings()
    hu, ijk_to_ct = _halved_where_fine(volume.hu, volume.ijk_to_ct.to(torch.float64), settings)
    slices, rows, columns = hu.shape
    thickness = max(4, settings.slab_voxels // (rows * columns))
    found_ijk, found_gradients = [], []
    for first in range(0, slices, thickness):
        ijk, gradients = _edges_in_slab(hu, first, min(first + thickness, slices), ijk_to_ct, settings)
        found_ijk.append(ijk)
        found_gradients.append(gradients)
    ijk, gradients = torch.cat(found_ijk), torch.cat(found_gradients)
    to_ct = ijk_to_ct.to(ijk)
    points = ijk @ to_ct[:3, :3].T + to_ct[:3, 3]
    strength = gradients.norm(dim=-1)

    kept = _hysteresis(points, strength, settings)
    points, gradients, strength = points[kept], gradients[kept], strength[kept]
    # A coarser grid, rather than a higher threshold, keeps the number down: faint bone must stay.
    spacing = settings.spacing
    while len(points) > 0:
        kept = _strongest_per_cell(points, strength, spacing)
        if int(kept.sum()) <= settings.max_points:
            points, gradients = points[kept], gradients[kept]
            break
        spacing *= 1.2
    if len(points) == 0:
        raise InputError(
            f"CT '{volume.name}': no bone surface was found (no edge of {settings.strong:g} HU per mm or more). "
            "Is it a CT in Hounsfield units?"
        )
    return SurfacePoints(points.contiguous(), gradients.contiguous())


def _halved_where_fine(hu: Tensor, ijk_to_ct: Tensor, settings: SurfaceSettings) -> tuple[Tensor, Tensor]:
    """Average pairs of voxels of a large CT along its fine axes, slab by slab (the result is int16 HU)."""
    if hu.numel() < settings.large:
        return hu, ijk_to_ct
    spacing = ijk_to_ct[:3, :3].norm(dim=0)
    fine = [float(s) < settings.finest_voxel and n >= 32 for s, n in zip(spacing, hu.shape[::-1], strict=True)]
    factors = [2 if f else 1 for f in fine]
    if max(factors) == 1:
        return hu, ijk_to_ct
    kernel = tuple(factors[::-1])
    step = 16 * kernel[0]
    parts = []
    for first in range(0, hu.shape[0] - hu.shape[0] % kernel[0], step):
        block = hu[first : first + step].to(torch.float32)[None, None]
        if block.shape[2] >= kernel[0]:
            parts.append(F.avg_pool3d(block, kernel)[0, 0].round().to(torch.int16))
    change = torch.eye(4, dtype=torch.float64)
    for axis, factor in enumerate(factors):
        change[axis, axis] = factor
        change[axis, 3] = 0.5 * (factor - 1)
    return torch.cat(parts), ijk_to_ct @ change


def _compressed(hu: Tensor, settings: SurfaceSettings) -> Tensor:
    """HU (any shape) with everything below ``bone_hu`` flattened and metal cut, float32."""
    beyond = hu - settings.bone_hu
    above = beyond.clamp(0.0, settings.metal_hu - settings.bone_hu)
    return above.add_(beyond.clamp_(-1000.0 - settings.bone_hu, 0.0), alpha=settings.soft_tissue_slope)


def _binomial(values: Tensor, axis: int, passes: int) -> Tensor:
    """Filter (K, J, I) along one axis with [1, 2, 1] / 4, ``passes`` times, repeating the border."""
    for _ in range(passes):
        n = values.shape[axis]
        if n < 3:
            return values
        smooth = values * 0.5
        smooth.narrow(axis, 0, n - 1).add_(values.narrow(axis, 1, n - 1), alpha=0.25)
        smooth.narrow(axis, 1, n - 1).add_(values.narrow(axis, 0, n - 1), alpha=0.25)
        smooth.narrow(axis, 0, 1).add_(values.narrow(axis, 0, 1), alpha=0.25)
        smooth.narrow(axis, n - 1, 1).add_(values.narrow(axis, n - 1, 1), alpha=0.25)
        values = smooth
    return values


def _central_difference(values: Tensor, axis: int) -> Tensor:
    """Central differences per voxel along one axis of (K, J, I), zero on the border (a cut face is no surface)."""
    difference = torch.zeros_like(values)
    n = values.shape[axis]
    if n >= 3:
        inner = difference.narrow(axis, 1, n - 2)
        torch.sub(values.narrow(axis, 2, n - 2), values.narrow(axis, 0, n - 2), out=inner).mul_(0.5)
    return difference


def _edges_in_slab(
    hu: Tensor, first: int, last: int, ijk_to_ct: Tensor, settings: SurfaceSettings
) -> tuple[Tensor, Tensor]:
    """Edges in slices [first, last): voxel positions (M, 3) as (i, j, k), sub-voxel, and gradients (M, 3) per mm."""
    spacing = ijk_to_ct[:3, :3].norm(dim=0)
    # A pass of [1, 2, 1] / 4 has a variance of half a squared voxel.
    passes = [min(4, round(2 * (settings.smoothing / float(s)) ** 2)) for s in spacing]
    halo = passes[2] + 3
    low, high = max(0, first - halo), min(hu.shape[0], last + halo)
    values = _compressed(hu[low:high].to(torch.float32), settings)
    for axis in range(3):
        values = _binomial(values, 2 - axis, passes[axis])
    index_gradient = [_central_difference(values, 2 - axis) for axis in range(3)]
    del values
    inverse = torch.linalg.inv(ijk_to_ct[:3, :3]).to(torch.float32)
    # |A^-T g|^2 = g^T (A^-1 A^-T) g: the strength per mm without three more arrays.
    metric = inverse @ inverse.T
    squared = torch.zeros_like(index_gradient[0])
    for a in range(3):
        for b in range(a, 3):
            factor = float(metric[a, b]) * (1.0 if a == b else 2.0)
            if abs(factor) > 1e-9:
                squared.addcmul_(index_gradient[a], index_gradient[b], value=factor)
    strength = squared.clamp_min_(0.0).sqrt_()

    begin, end = first - low, last - low
    candidate = strength[begin:end] >= settings.weak
    k, j, i = candidate.nonzero(as_tuple=True)
    k = k + begin
    depth, height, width = strength.shape
    inside = (k > 1) & (k < depth - 2) & (j > 1) & (j < height - 2) & (i > 1) & (i < width - 2)
    k, j, i = k[inside], j[inside], i[inside]
    at = (k * height + j) * width + i
    g_index = torch.stack([g.reshape(-1).index_select(0, at) for g in index_gradient], dim=-1)
    gradients = g_index @ inverse  # rows of A^-T g
    centre = strength.reshape(-1).index_select(0, at)
    direction = (gradients / centre[:, None]) @ inverse.T  # unit mm along the gradient, in voxels
    step = direction / direction.abs().amax(-1, keepdim=True)
    position = torch.stack([i, j, k], dim=-1).to(torch.float32)
    ahead = _trilinear(strength, position + step)
    position, step, gradients, centre, ahead = _kept(centre >= ahead, position, step, gradients, centre, ahead)
    behind = _trilinear(strength, position - step)
    position, step, gradients, centre, ahead, behind = _kept(
        centre > behind, position, step, gradients, centre, ahead, behind
    )
    curvature = (ahead - 2 * centre + behind).clamp_max(-1e-6)
    offset = (0.5 * (behind - ahead) / curvature).clamp(-0.5, 0.5)
    position = position + offset[:, None] * step
    position[:, 2] += low
    return position, gradients


def _kept(mask: Tensor, *values: Tensor) -> list[Tensor]:
    """Of each tensor (M, ...) the entries where mask (M,) is true."""
    chosen = mask.nonzero()[:, 0]
    return [each.index_select(0, chosen) for each in values]


def _trilinear(values: Tensor, positions: Tensor) -> Tensor:
    """Sample values (K, J, I) at positions (M, 3) as (i, j, k) that lie inside the grid."""
    base = positions.floor()
    fraction = positions - base
    i, j, k = base.to(torch.int64).unbind(-1)
    depth, height, width = values.shape
    i, j, k = i.clamp(0, width - 2), j.clamp(0, height - 2), k.clamp(0, depth - 2)
    flat = values.reshape(-1)
    corner = (k * height + j) * width + i
    a, b, c = fraction.unbind(-1)
    sides_a, sides_b, sides_c = ((1 - share, share) for share in (a, b, c))
    plane = [[side_a * side_b for side_a in sides_a] for side_b in sides_b]
    result = torch.zeros_like(a)
    for dk in (0, 1):
        for dj in (0, 1):
            for di in (0, 1):
                found = flat.index_select(0, corner + ((dk * height + dj) * width + di))
                result += found.mul_(plane[dj][di] * sides_c[dk])
    return result


def _cells(points: Tensor, size: float) -> tuple[Tensor, list[int]]:
    """Integer cells (N, 3) of edge ``size`` mm that hold the points (N, 3), counted from their lowest corner."""
    cells = ((points - points.amin(0)) / size).floor().to(torch.int64)
    return cells, (cells.amax(0) + 1).tolist()


def _hysteresis(points: Tensor, strength: Tensor, settings: SurfaceSettings) -> Tensor:
    """Keep (N,) strong edges and weak ones in a cell beside a strong one (26 neighbours, half the reach wide)."""
    strong = strength >= settings.strong
    if len(points) == 0 or not bool(strong.any()):
        return torch.zeros_like(strong)
    cells, shape = _cells(points, settings.hysteresis_reach / 2)
    occupied = torch.zeros(shape, dtype=torch.float32)
    x, y, z = cells.unbind(-1)
    occupied[x[strong], y[strong], z[strong]] = 1.0
    near = F.max_pool3d(occupied[None, None], 3, stride=1, padding=1)[0, 0]
    return near[x, y, z] > 0


def _strongest_per_cell(points: Tensor, strength: Tensor, size: float) -> Tensor:
    """Keep (N,) the strongest point of each cell."""
    if len(points) == 0:
        return torch.zeros(0, dtype=torch.bool)
    cells, shape = _cells(points, size)
    key = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
    _, key = key.unique(return_inverse=True)
    best = torch.zeros(int(key.max()) + 1).scatter_reduce_(0, key, strength, "amax", include_self=True)
    winners = (strength >= best[key]).nonzero()[:, 0]
    # Equal strengths in one cell: the first of them stays.
    order = key[winners].argsort(stable=True)
    sorted_key = key[winners][order]
    first = torch.ones_like(sorted_key, dtype=torch.bool)
    first[1:] = sorted_key[1:] != sorted_key[:-1]
    kept = torch.zeros(len(points), dtype=torch.bool)
    kept[winners[order[first]]] = True
    return kept
