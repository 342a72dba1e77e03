"""Digitally reconstructed radiographs by Joseph's projector (P. M. Joseph, IEEE Trans. Med. Imaging 1(3), 1982)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError

_PLANES_AT_ONCE = 8


class DrrRenderer:
    """Line integrals of a volume along the rays of a camera.

    attenuation: (D, H, W) or (C, D, H, W) per mm, indexed [slice k, row j, column i].
    ijk_to_ct: (4, 4), voxel index (i, j, k) to CT mm.

    Each ray crosses the voxel planes of the axis along which it advances most in voxels; in each plane the value is
    interpolated bilinearly. The volume is zero beyond its outermost voxel centres, towards which the interpolation
    falls linearly over one voxel.
    """

    def __init__(self, attenuation: Tensor, ijk_to_ct: Tensor, crop: bool = True) -> None:
        if attenuation.dim() not in (3, 4):
            raise InputError(f"A volume to render needs 3 or 4 dimensions, found shape {tuple(attenuation.shape)}.")
        self.attenuation = attenuation if attenuation.dim() == 4 else attenuation[None]
        self.ijk_to_ct = ijk_to_ct.detach().to("cpu", torch.float64)
        self.crop = crop

    @classmethod
    def from_volume(cls, volume, spacing_mm: float | None = None, device=None) -> DrrRenderer:
        """Renderer of a ``Volume``, resampled to ``spacing_mm`` first where that is given."""
        if spacing_mm is not None:
            volume = volume.resampled(spacing_mm)
        return cls(volume.attenuation().to(device or "cpu"), volume.ijk_to_ct)

    def __call__(self, ct_to_camera: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
        """Images (B, C, rows, columns), dimensionless, of poses (B, 4, 4); intrinsics (B, 3, 3) or (3, 3)."""
        rows, columns = size
        volume = self.attenuation
        batch = ct_to_camera.shape[0]
        device, dtype = volume.device, volume.dtype
        pose = ct_to_camera.to(device, torch.float64)
        k = intrinsics.to(device, torch.float64).expand(batch, 3, 3)
        to_ijk = torch.linalg.inv(pose @ self.ijk_to_ct.to(device))
        source = to_ijk[:, :3, 3]
        v, u = torch.meshgrid(
            torch.arange(rows, dtype=torch.float64, device=device),
            torch.arange(columns, dtype=torch.float64, device=device),
            indexing="ij",
        )
        rays = torch.stack([u, v, torch.ones_like(u)], -1).reshape(1, -1, 3) @ torch.linalg.inv(k).transpose(-1, -2)
        directions = rays @ to_ijk[:, :3, :3].transpose(-1, -2)
        length = rays.norm(dim=-1)
        dominant = directions.detach().abs().argmax(-1)
        image = torch.zeros(batch, volume.shape[0], rows, columns, dtype=dtype, device=device)
        for axis in range(3):
            here = dominant == axis
            if not bool(here.any()):
                continue
            image = image + self._axis(axis, source, directions, length, here, (rows, columns))
        return image

    def _axis(self, axis: int, source: Tensor, directions: Tensor, length: Tensor, here: Tensor, size) -> Tensor:
        rows, columns = size
        batch = here.shape[0]
        across = [a for a in range(3) if a != axis]
        # (C, planes, y, x), x the lower voxel axis of the two that span the plane.
        planes = self.attenuation.permute(0, 3 - axis, 3 - across[1], 3 - across[0])
        channels, count, ny, nx = planes.shape
        leading = torch.where(here, directions[..., axis], torch.ones_like(length))
        slopes = directions[..., across] / leading[..., None]
        slopes = torch.where(here[..., None], slopes, torch.zeros_like(slopes))
        # grid_sample with align_corners=False: the centre of voxel x lies at (2 x + 1) / n - 1.
        scale = torch.tensor([2.0 / nx, 2.0 / ny], dtype=torch.float64, device=slopes.device)
        origin = (source[:, None, across] - source[:, None, axis, None] * slopes + 0.5) * scale - 1
        origin = origin.reshape(1, batch, rows, columns, 2).to(planes.dtype)
        step = (slopes * scale).reshape(1, batch, rows, columns, 2).to(planes.dtype)
        forward = torch.sign(leading)
        total = torch.zeros(batch, channels, rows, columns, dtype=planes.dtype, device=planes.device)
        for first in range(0, count, _PLANES_AT_ONCE):
            last = min(first + _PLANES_AT_ONCE, count)
            index = torch.arange(first, last, dtype=planes.dtype, device=planes.device)[:, None, None, None, None]
            grid = (origin + index * step).reshape(-1, rows, columns, 2)
            slab = planes[:, first:last].transpose(0, 1)[:, None].expand(-1, batch, -1, -1, -1)
            found = F.grid_sample(slab.reshape(-1, channels, ny, nx), grid, align_corners=False)
            found = found.reshape(last - first, batch, channels, rows, columns)
            # Only what lies in front of the source counts; the plane's slab is cut where the source lies in it.
            ahead = (index[..., 0, 0] - source[None, :, None, axis].to(index)) * forward.to(index) + 0.5
            weight = ahead.clamp(0, 1).reshape(last - first, batch, 1, rows, columns)
            total = total + (found * weight).sum(0)
        per_plane = torch.where(here, length / leading.abs(), torch.zeros_like(length))
        return total * per_plane.reshape(batch, 1, rows, columns).to(total)
