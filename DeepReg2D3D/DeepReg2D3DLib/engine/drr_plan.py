"""What a DRR has to look at: which voxel axis leads for which pixels, and which planes meet which pixels.

All of this is small arithmetic in float64 on the CPU, without gradients, whatever device the volume is on: in NumPy,
whose calls cost a third of torch's where there are only a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .drr_planes import Slab

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # [lo, hi) of voxels along i, j, k


@dataclass(frozen=True)
class Occupancy:
    """Where a volume is not zero, in voxels of its grid.

    box: [lo, hi) along i, j, k; None when nothing is left.
    rectangles: for each axis a, (planes, 4): lo, hi of the lower and of the higher other axis in each plane of a,
        with lo >= hi in empty planes.
    """

    box: Box | None
    rectangles: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, volume: Tensor, threshold: float = 0.0, convert: Callable[[Tensor], Tensor] | None = None) -> Occupancy:
        """Occupancy of a volume (C, slices, rows, columns): voxels above ``threshold`` in any channel.

        convert: applied to each slice (C, rows, columns) first, say from Hounsfield units to attenuation.
        """
        _, nk, nj, ni = volume.shape
        shapes = ((nk, nj), (nk, ni), (nj, ni))
        kj, ki, ji = (torch.zeros(shape, dtype=torch.bool, device=volume.device) for shape in shapes)
        for k in range(nk):  # a slice at a time, to need no mask of the size of the volume
            slice_k = volume[:, k] if convert is None else convert(volume[:, k])
            above = (slice_k.abs() > threshold).any(0)
            kj[k], ki[k] = above.any(1), above.any(0)
            ji |= above
        kj, ki, ji = (each.cpu().numpy() for each in (kj, ki, ji))
        bounds = [_bounds(m) for m in (ji.any(0)[None], ji.any(1)[None], kj.any(1)[None])]
        box = tuple((int(b[0, 0]), int(b[0, 1])) for b in bounds)
        rectangles = (
            np.concatenate([_bounds(ji.T), _bounds(ki.T)], 1),
            np.concatenate([_bounds(ji), _bounds(kj.T)], 1),
            np.concatenate([_bounds(ki), _bounds(kj)], 1),
        )
        return cls(box if box[0][0] < box[0][1] else None, rectangles)


def _bounds(occupied: np.ndarray) -> np.ndarray:
    """[lo, hi) of the true entries of each row of (n, m), as (n, 2) int64; (m, 0) in rows without any."""
    m = occupied.shape[1]
    index = np.arange(m)
    lo = np.where(occupied, index, m).min(1)
    hi = np.where(occupied, index + 1, 0).max(1)
    return np.stack([lo, hi], 1)


@dataclass(frozen=True)
class Sector:
    """The pixels of one image whose rays advance most, in voxels, along one axis in one sense.

    rows, columns: [lo, hi) of the rectangle around them; mask: (rows, columns) bool, which of its pixels belong to
    the sector, None for all.
    """

    item: int
    axis: int
    sign: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    mask: np.ndarray | None


def find_sectors(to_pixels: np.ndarray, to_directions: np.ndarray, box: Box, size: tuple[int, int]) -> list[Sector]:
    """Sectors of every image of a batch.

    to_pixels: (B, 3, 4), voxel index to homogeneous pixels; to_directions: (B, 3, 3), (u, v, 1) to voxel direction;
    box: the occupied voxels; size: (rows, columns).
    """
    rectangles = _seen(to_pixels, _corners(*np.array([(lo - 1, hi) for lo, hi in box]).T))
    rectangles = np.clip(rectangles, 0, np.array([size[0], size[0], size[1], size[1]]))
    v = rectangles[:, [0, 0, 1, 1]] - np.array([0, 0, 1, 1])
    u = rectangles[:, [2, 3, 2, 3]] - np.array([0, 1, 0, 1])
    corners = np.stack([u, v, np.ones_like(u)], -1).astype(np.float64) @ to_directions.swapaxes(-1, -2)
    leads = _lead(corners)
    alike, first_lead = (leads == leads[:, :1]).all(1).tolist(), leads[:, 0].tolist()
    sectors = []
    for item, (r0, r1, c0, c1) in enumerate(rectangles.tolist()):
        if r0 >= r1 or c0 >= c1:
            continue
        # The directions led by one axis in one sense form a convex cone: four corners in it hold all between them.
        if alike[item]:
            lead = first_lead[item]
            sectors.append(Sector(item, lead // 2, 1 - 2 * (lead % 2), (r0, r1), (c0, c1), None))
            continue
        for lead, here in _territories(to_directions[item], (r0, r1), (c0, c1)):
            (a0, a1), (b0, b1) = _bounds(here.any(1)[None])[0].tolist(), _bounds(here.any(0)[None])[0].tolist()
            rows, columns = (r0 + a0, r0 + a1), (c0 + b0, c0 + b1)
            sectors.append(Sector(item, lead // 2, 1 - 2 * (lead % 2), rows, columns, here[a0:a1, b0:b1]))
    return sectors


def _lead(directions: np.ndarray) -> np.ndarray:
    """2 * axis + (1 where it advances backwards) of the largest component of directions (..., 3)."""
    axis = np.abs(directions).argmax(-1)
    return 2 * axis + (np.take_along_axis(directions, axis[..., None], -1)[..., 0] < 0)


def _territories(
    to_directions: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]
) -> list[tuple[int, np.ndarray]]:
    """(lead, its pixels (rows, columns) bool) for each lead, as of ``_lead``, that has any. They don't overlap."""
    v, u = np.arange(*rows, dtype=np.float64), np.arange(*columns, dtype=np.float64)
    per_u, per_v, constant = (to_directions[:, column, None] for column in range(3))
    directions = (per_v * v + constant)[:, :, None] + (per_u * u)[:, None, :]
    size = np.abs(directions)
    first = (size[0] >= size[1]) & (size[0] >= size[2])
    second = ~first & (size[1] >= size[2])
    found = []
    for axis, led in enumerate((first, second, ~(first | second))):
        backwards = directions[axis] < 0
        found += [(2 * axis, led & ~backwards), (2 * axis + 1, led & backwards)]
    return [(lead, here) for lead, here in found if bool(here.any())]


def plan_slabs(
    to_pixels: np.ndarray,
    axis: int,
    occupancy: Occupancy,
    ahead: np.ndarray,
    rows: tuple[int, int],
    columns: tuple[int, int],
    planes: int,
    samples: int,
    mask: np.ndarray | None = None,
) -> list[Slab]:
    """Slabs of planes of ``axis`` with the pixels that can meet them, numbered from (rows[0], columns[0]).

    to_pixels: (B, 3, 4) of the images that share the slabs; ahead: (planes,) bool, planes before any source;
    planes: how many planes a slab holds; samples: the most look-ups that one slab may hold over all images, longer
    ones are cut into strips of rows; mask: (rows, columns) bool, the pixels that are asked for, None for all.
    """
    rectangles = occupancy.rectangles[axis]
    wanted = ahead & (rectangles[:, 0] < rectangles[:, 1])
    if not bool(wanted.any()):
        return []
    first, last = _bounds(wanted[None])[0].tolist()
    starts = np.arange(first, last, planes)
    ends = np.minimum(starts + planes, last)
    # The rectangle around those of each slab's planes, with the voxel beyond it over which the values fall to zero.
    filling = (-(last - first)) % planes
    own = np.concatenate([rectangles[first:last], np.repeat(rectangles[last - 1 : last], filling, 0)])
    own = own.reshape(-1, planes, 4)
    lo, hi = own[..., [0, 2]].min(1), own[..., [1, 3]].max(1)
    occupied = (lo < hi).all(1)
    lo = np.concatenate([lo[:, :axis] - 1, starts[:, None], lo[:, axis:] - 1], 1)
    hi = np.concatenate([hi[:, :axis], ends[:, None] - 1, hi[:, axis:]], 1)
    corners = _corners(lo, hi)
    seen = _seen(to_pixels[:, None], corners)  # (B, slabs, 4)
    lo = np.maximum(seen[..., [0, 2]], (rows[0], columns[0]))
    hi = np.minimum(seen[..., [1, 3]], (rows[1], columns[1]))
    empty = (lo >= hi).any(-1, keepdims=True)
    big = np.iinfo(np.int64).max
    lo, hi = np.where(empty, big, lo).min(0), np.where(empty, -big, hi).max(0)
    slabs = []
    batch = len(to_pixels)
    asked = None if mask is None else _bounds(mask).T.tolist()
    for p0, p1, some, (r0, c0), (r1, c1) in zip(
        starts.tolist(), ends.tolist(), occupied.tolist(), lo.tolist(), hi.tolist(), strict=True
    ):
        if not some or r0 >= r1 or c0 >= c1:
            continue
        strip = max(1, samples // (batch * (p1 - p0) * (c1 - c0)))
        strips = -(-(r1 - r0) // strip)
        strip = -(-(r1 - r0) // strips)
        for r in range(r0, r1, strip):
            cut = (r - rows[0], min(r + strip, r1) - rows[0])
            lo_c, hi_c = c0 - columns[0], c1 - columns[0]
            if asked is not None:
                lo_c = max(lo_c, min(asked[0][cut[0] : cut[1]]))
                hi_c = min(hi_c, max(asked[1][cut[0] : cut[1]]))
            if lo_c < hi_c:
                slabs.append(Slab(p0, p1, cut, (lo_c, hi_c)))
    return slabs


_UPPER = np.array([[corner >> 2 & 1, corner >> 1 & 1, corner & 1] for corner in range(8)], dtype=bool)


def _corners(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """(..., 8, 3) float64 corners of the boxes between lo and hi, (..., 3) each."""
    return np.where(_UPPER, hi[..., None, :], lo[..., None, :]).astype(np.float64)


def _seen(to_pixels: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(..., 4) int64 r0, r1, c0, c1 of the pixels whose rays may meet the hulls of voxel points (..., N, 3).

    to_pixels: (..., 3, 4). The bounds may reach beyond the image. A hull that reaches the plane of the source may be
    seen anywhere.
    """
    homogeneous = corners @ to_pixels[..., :3].swapaxes(-1, -2) + to_pixels[..., None, :, 3]
    depth = homogeneous[..., 2]
    limit = 2**40
    bounded = (depth > 1e-6 * np.abs(depth).max(-1, keepdims=True)).all(-1)[..., None]
    pixels = homogeneous[..., :2] / np.where(depth > 0, depth, 1.0)[..., None]
    lo = np.ceil(pixels.min(-2) - 1e-6).clip(-limit, limit).astype(np.int64)
    hi = np.floor(pixels.max(-2) + 1e-6).clip(-limit, limit).astype(np.int64) + 1
    lo, hi = np.where(bounded, lo, -limit), np.where(bounded, hi, limit)
    return np.stack([lo[..., 1], hi[..., 1], lo[..., 0], hi[..., 0]], -1)
