"""DRRs for dragging: the CT resampled as coarsely as this computer needs to keep up, finely for a still picture."""

from __future__ import annotations

import time
from collections import deque

import torch
from torch import Tensor

from ..engine.camera import Camera
from ..engine.drr import DrrRenderer
from ..engine.volume import Volume

# Voxels in mm, finest first. The next coarser one is taken while a live picture takes longer than the limit.
LIVE_SPACINGS_MM = (1.5, 2.0, 2.5, 3.0, 4.0)
LIVE_LIMIT_SECONDS = 0.08
# Pictures with more pixels than this along a side are for looking at, not for dragging: full resolution.
LIVE_SIDE = 320


class LiveDrr:
    """Renders one CT for the overlay. Images come back as (rows, columns) float32 on the CPU."""

    def __init__(self, volume: Volume, device: torch.device) -> None:
        self._volume = volume
        self._device = device
        self._level = 0 if device.type == "cuda" else 1
        self._renderers: dict[float | None, DrrRenderer] = {}
        self._seconds: deque[float] = deque(maxlen=3)

    @property
    def spacing_mm(self) -> float:
        """Voxel size that live pictures are rendered from."""
        return LIVE_SPACINGS_MM[self._level]

    def _renderer(self, spacing: float | None) -> DrrRenderer:
        if spacing is not None and min(self._volume.spacing) >= spacing:
            spacing = None
        if spacing not in self._renderers:
            # One live resolution and the full one: older ones only take memory.
            self._renderers = {key: value for key, value in self._renderers.items() if key is None}
            self._renderers[spacing] = DrrRenderer.from_volume(self._volume, spacing, self._device)
        return self._renderers[spacing]

    def prepare(self) -> None:
        """Make the live resolution now, so that the first drag doesn't wait for it."""
        self._renderer(self.spacing_mm)

    def render(self, camera: Camera, ct_to_world: Tensor, max_side: int) -> Tensor:
        """The DRR of a camera at a pose (4, 4), with the camera's image scaled to at most ``max_side`` pixels."""
        scale = min(1.0, max_side / max(camera.columns, camera.rows))
        small = camera.resized(max(1, round(camera.columns * scale)), max(1, round(camera.rows * scale)))
        live = max_side <= LIVE_SIDE
        renderer = self._renderer(self.spacing_mm if live else None)
        start = time.perf_counter()
        with torch.inference_mode():
            pose = small.ct_to_camera(ct_to_world)[None]
            image = renderer(pose, small.intrinsics, small.size)[0].sum(0).to("cpu", torch.float32)
        if live:
            self._adapt(time.perf_counter() - start)
        return image

    def _adapt(self, seconds: float) -> None:
        """Go one step coarser when three live pictures in a row were too slow."""
        self._seconds.append(seconds)
        if len(self._seconds) == 3 and min(self._seconds) > LIVE_LIMIT_SECONDS:
            self._level = min(self._level + 1, len(LIVE_SPACINGS_MM) - 1)
            self._seconds.clear()
