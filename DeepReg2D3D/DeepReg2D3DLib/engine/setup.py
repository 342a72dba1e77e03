"""What a registration needs from the CT alone, made once and kept."""

from __future__ import annotations

import torch

from .device import resolve_device
from .drr import DrrRenderer
from .drr_paired import PairedRenderer, Renderer
from .surface import SurfacePoints, extract_surface_points
from .volume import Volume

LADDER = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Voxel sizes that renderers come in, in multiples of the CT's finest spacing (0.5 mm or more)."""
COARSEST = 1.3
"""Voxels are at most this many pixels large, as seen: finer ones take longer and find the same poses."""
PAIRED_UP_TO = 2.0
"""Where even the CT's own voxels are more pixels large than this, every plane of them is rendered."""
MOST_VOXELS = 64_000_000


class RegistrationSetup:
    """Surface points and renderers of one CT on one device; shared by any number of registrations, one at a time.

    Renderers are made when a level first asks for their resolution.
    """

    def __init__(self, volume: Volume, surface: SurfacePoints, device: torch.device) -> None:
        self.volume = volume
        self.surface = surface
        self.device = device
        self._renderers: dict[float, PairedRenderer] = {}

    @classmethod
    def prepare(cls, volume: Volume, device: str | torch.device = "auto") -> RegistrationSetup:
        """Crop to the body, find the surface. Raises InputError for a CT without bone, or an unusable device."""
        resolved = resolve_device(device)
        body = volume.cropped_to_body()
        surface = extract_surface_points(body).to(resolved)
        return cls(body, surface, resolved)

    def renderer(self, pixel_mm: float) -> Renderer:
        """A renderer for pixels of ``pixel_mm`` at the CT: voxels hardly larger than those, no finer than the CT's."""
        finest = max(min(self.volume.spacing), 0.5)
        extent = [n * s for n, s in zip(self.volume.shape[::-1], self.volume.spacing, strict=True)]
        fitting = [finest * step for step in LADDER if finest * step <= COARSEST * pixel_mm] or [finest]
        spacing = fitting[-1]
        while extent[0] * extent[1] * extent[2] / spacing**3 > MOST_VOXELS:
            spacing *= 1.1
        spacing = round(spacing, 4)
        if spacing not in self._renderers:
            coarse = max(self.volume.spacing) < 1.05 * spacing
            same = coarse and min(self.volume.spacing) > 0.95 * spacing
            plain = DrrRenderer.from_volume(self.volume, None if same else spacing, device=self.device)
            self._renderers[spacing] = PairedRenderer(plain)
        paired = self._renderers[spacing]
        return paired if spacing <= PAIRED_UP_TO * pixel_mm else paired.plain
