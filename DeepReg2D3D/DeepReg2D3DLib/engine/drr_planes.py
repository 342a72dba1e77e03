"""Sums over the voxel planes of a volume, each looked up bilinearly on a perspective grid: the core of the DRR.

A ray with voxel direction d meets plane n of axis a at ``source + (n - source_a) d / d_a``. Over the pixels of an image
that is a grid which moves linearly from plane to plane, ``origin + (n - middle) slope``, so a slab of planes costs one
multiply-add and one batched 2D look-up. Slabs are made, summed and forgotten one after the other, in the backward pass
too, which bounds the memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BILINEAR, _ZEROS, _ALIGN_CORNERS = 0, 0, False


@dataclass(frozen=True)
class Slab:
    """Planes [first, last) of the volume and the pixels (rows, columns) of a grid that can meet them."""

    first: int
    last: int
    rows: tuple[int, int]
    columns: tuple[int, int]


def sum_planes(planes: Tensor, origin: Tensor, slope: Tensor, weights: Tensor | None, slabs: Sequence[Slab]) -> Tensor:
    """Sum over n of weights[:, n] * planes[n] interpolated bilinearly at ``origin + (n - middle) slope``.

    planes: (planes, C, y, x), any strides; zero beyond its border. middle = (planes - 1) / 2.
    origin, slope: (B, rows, columns, 2), (x, y) in grid_sample's normalised coordinates (align_corners=False).
    weights: (B, planes) or None for ones.
    slabs: what to visit; pixels and planes that no slab names count as zero.
    Returns (B, C, rows, columns) in the dtype of ``origin``. Differentiable once in origin, slope and weights.
    """
    return _PlaneSum.apply(planes, origin, slope, weights, tuple(slabs))


class _PlaneSum(torch.autograd.Function):
    """The sum; its backward pass recomputes each slab instead of keeping it."""

    @staticmethod
    def forward(ctx, planes: Tensor, origin: Tensor, slope: Tensor, weights: Tensor | None, slabs) -> Tensor:
        ctx.save_for_backward(planes, origin, slope, weights)
        ctx.slabs = slabs
        batch, rows, columns, _ = origin.shape
        total = origin.new_zeros(planes.shape[1], batch, rows, columns)
        for slab, source, grid, _ in _visit(planes, origin, slope, slabs):
            found = torch.grid_sampler_2d(source, grid, _BILINEAR, _ZEROS, _ALIGN_CORNERS)
            part = total[:, :, slice(*slab.rows), slice(*slab.columns)]
            found = found.view(-1, *part.shape)
            if weights is None:
                part += found.sum(0)
            else:
                part += torch.einsum("ncbyx,bn->cbyx", found, weights[:, slab.first : slab.last])
        return total.transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor):
        planes, origin, slope, weights = ctx.saved_tensors
        to_origin, to_slope = torch.zeros_like(origin), torch.zeros_like(slope)
        to_weights = None if weights is None else torch.zeros_like(weights)
        upstream = upstream.transpose(0, 1)
        for slab, source, grid, offsets in _visit(planes, origin, slope, ctx.slabs):
            here = (slice(None), slice(*slab.rows), slice(*slab.columns))
            part = upstream[(slice(None), *here)]
            share = part.expand(slab.last - slab.first, *part.shape)
            if weights is not None:
                found = torch.grid_sampler_2d(source, grid, _BILINEAR, _ZEROS, _ALIGN_CORNERS).view(share.shape)
                to_weights[:, slab.first : slab.last] += torch.einsum("ncbyx,cbyx->bn", found, part)
                share = share * weights.T[slab.first : slab.last, None, :, None, None]
            share = share.reshape(*share.shape[:2], -1, share.shape[-1])
            _, to_grid = torch.ops.aten.grid_sampler_2d_backward(
                share, source, grid, _BILINEAR, _ZEROS, _ALIGN_CORNERS, (False, True)
            )
            to_grid = to_grid.view(-1, *origin[here].shape)
            to_origin[here] += to_grid.sum(0)
            to_slope[here] += torch.einsum("nbyxt,n->byxt", to_grid, offsets)
        return None, to_origin, to_slope, to_weights, None


def _visit(planes: Tensor, origin: Tensor, slope: Tensor, slabs: Sequence[Slab]):
    """Yield (slab, its planes (n, C, y, x), grid (n, B * rows, columns, 2), offsets (n,) from the middle plane).

    The grid is overwritten by the next one.
    """
    offsets = torch.arange(len(planes), dtype=origin.dtype, device=origin.device) - 0.5 * (len(planes) - 1)
    shapes = [(s.last - s.first, len(origin), s.rows[1] - s.rows[0], s.columns[1] - s.columns[0], 2) for s in slabs]
    room = origin.new_empty(max(map(math.prod, shapes), default=0))
    held, source, index = None, None, None
    for slab, shape in zip(slabs, shapes, strict=True):
        if (slab.first, slab.last) != held:
            held = (slab.first, slab.last)
            # Reduced precision is for storage alone: coordinates need at least float32.
            source = planes[slab.first : slab.last].to(origin.dtype)
            if min(source.stride(-1), source.stride(-2)) > 1:
                source = source.contiguous()
            index = offsets[slab.first : slab.last]
        here = (slice(None), slice(*slab.rows), slice(*slab.columns))
        grid = room[: math.prod(shape)].view(shape)
        torch.addcmul(origin[here], index.view(-1, 1, 1, 1, 1), slope[here], out=grid)
        yield slab, source, grid.view(shape[0], -1, shape[3], 2), index
