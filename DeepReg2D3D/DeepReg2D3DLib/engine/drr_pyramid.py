"""DRRs of a volume at the resolution that the image can show: coarser voxels for coarser pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from .drr import DrrRenderer
from .volume import Volume


class DrrPyramid:
    """Renderers of one CT at its own voxels, at twice that spacing, four times and so on, made when first needed.

    Level n has voxels of at least 2**n times the finest spacing of the CT along every axis (an axis that is coarser
    already is left alone). A level serves images whose pixels, measured at the CT's centre, are at least its finest
    spacing: coarser voxels then blur no more than the pixels do and cost an eighth of the memory and half the planes.
    """

    def __init__(self, volume: Volume, device: torch.device | str | None = None) -> None:
        self._volumes = [volume]
        self._renderers: dict[int, DrrRenderer] = {}
        self._device = device
        self._centre = volume.centre
        self._finest = min(volume.spacing)

    def __call__(self, ct_to_camera: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
        """Images (B, 1, rows, columns) as ``DrrRenderer`` makes them, from the level that suits the finest of them."""
        return self.renderer(self.pixel_mm(ct_to_camera, intrinsics))(ct_to_camera, intrinsics, size)

    def renderer(self, pixel_mm: float) -> DrrRenderer:
        """The renderer for pixels of ``pixel_mm`` at the CT's centre."""
        level = 0
        while self._finest * 2 ** (level + 1) <= pixel_mm and 2 ** (level + 2) <= min(self._volumes[0].shape):
            level += 1
        if level not in self._renderers:
            self._renderers[level] = DrrRenderer.from_volume(self._volume(level), device=self._device)
        return self._renderers[level]

    def pixel_mm(self, ct_to_camera: Tensor, intrinsics: Tensor) -> float:
        """Size in mm, at the CT's centre, of the finest pixel of all images; poses (B, 4, 4), K (B, 3, 3) or (3, 3)."""
        pose = ct_to_camera.detach().to("cpu", torch.float64)
        k = intrinsics.detach().to("cpu", torch.float64)
        depth = pose[..., 2, :3] @ self._centre + pose[..., 2, 3]
        focal = torch.maximum(k[..., 0, 0].abs(), k[..., 1, 1].abs())
        return float((depth / focal).clamp(min=0).min())

    def _volume(self, level: int) -> Volume:
        while len(self._volumes) <= level:
            spacing = self._finest * 2 ** len(self._volumes)
            finer = self._volumes[-1]
            self._volumes.append(finer.resampled(tuple(max(spacing, s) for s in finer.spacing)))
        return self._volumes[level]
