"""DRRs in half the time where the rays run nearly across the voxel planes: planes averaged two by two beforehand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .drr import DrrRenderer

MOST_SLANT = 0.45
"""Voxels across per voxel along its axis that a ray may advance: between the middles of two averaged planes and of
their pair it strays by half of that, a fifth of a voxel at most, less than bilinear interpolation blurs by."""


class PairedRenderer:
    """Renders as ``DrrRenderer`` does, with pairs of planes averaged wherever all rays of an image run along one axis.

    A pair counts for the length of ray through both of its planes. The averaged copies, one for each axis that leads
    anywhere, are made when first needed and are each half the size of the volume.
    """

    def __init__(self, renderer: DrrRenderer) -> None:
        self.plain = renderer
        self._paired: dict[int, DrrRenderer] = {}

    def __call__(self, ct_to_camera: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
        """Images (B, C, rows, columns) of line integrals; arguments as of ``DrrRenderer``."""
        axes = self.leading_axes(ct_to_camera, intrinsics, size)
        parts, places = [], []
        for axis in dict.fromkeys(axes):
            items = [item for item, each in enumerate(axes) if each == axis]
            if len(items) == len(axes):
                return self._along(axis)(ct_to_camera, intrinsics, size)
            own = intrinsics[items] if intrinsics.dim() == 3 and len(intrinsics) > 1 else intrinsics
            parts.append(self._along(axis)(ct_to_camera[items], own, size))
            places += items
        if not parts:
            return self.plain(ct_to_camera, intrinsics, size)
        return torch.cat(parts)[torch.tensor(places, device=parts[0].device).argsort()]

    def leading_axes(self, ct_to_camera: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> list[int | None]:
        """For each pose (B, 4, 4) the voxel axis i, j or k (0, 1, 2) that all rays of its image keep close to, by
        ``MOST_SLANT``; None where there is no such axis."""
        rows, columns = size
        with torch.no_grad():
            axes = ct_to_camera.to("cpu", torch.float64)[:, :3, :3] @ self.plain.ijk_to_ct[:3, :3]
            corners = torch.tensor([[u, v, 1.0] for v in (0, rows - 1) for u in (0, columns - 1)], dtype=torch.float64)
            rays = torch.linalg.inv(intrinsics.to("cpu", torch.float64)) @ corners.T
            advance = (torch.linalg.inv(axes) @ rays).abs()  # (B, 3, corners)
            lead = advance.amin(-1).argmax(-1)
            along = advance.gather(1, lead[:, None, None].expand(-1, 1, len(corners)))
            slant = advance / along.clamp_min(1e-12)
            slant = slant.scatter(1, lead[:, None, None].expand(-1, 1, len(corners)), 0.0).amax((1, 2))
        return [
            axis if close else None for axis, close in zip(lead.tolist(), (slant <= MOST_SLANT).tolist(), strict=True)
        ]

    def _along(self, axis: int | None) -> DrrRenderer:
        if axis is None:
            return self.plain
        if axis not in self._paired:
            self._paired[axis] = self._averaged(axis)
        return self._paired[axis]

    def _averaged(self, axis: int) -> DrrRenderer:
        """The renderer of the volume with planes 2n and 2n + 1 of an axis averaged, an odd last one with air."""
        volume, dimension = self.plain.volume, 3 - axis
        if volume.shape[dimension] % 2:
            volume = F.pad(volume, [0, 0] * axis + [0, 1])
        pairs = volume.unflatten(dimension, (-1, 2))
        first, second = pairs.unbind(dimension + 1)
        change = torch.eye(4, dtype=torch.float64)
        change[axis, axis], change[axis, 3] = 2.0, 0.5
        return DrrRenderer((first + second).mul_(0.5), self.plain.ijk_to_ct @ change, crop=False)


Renderer = DrrRenderer | PairedRenderer
"""What renders DRRs of one CT."""
