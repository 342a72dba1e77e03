"""DRRs for dragging: the CT resampled as coarsely as this computer needs to keep up, finely for a still picture."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace

import torch
from torch import Tensor

from ..engine.camera import Camera
from ..engine.drr import DrrRenderer
from ..engine.drr_paired import PairedRenderer, Renderer
from ..engine.volume import Volume

# Voxels in mm, finest first. The next coarser one is taken while a live picture takes longer than the limit.
LIVE_SPACINGS_MM = (1.5, 2.0, 2.5, 3.0, 4.0)
LIVE_LIMIT_SECONDS = 0.08
# Pictures with more pixels than this along a side are for looking at, not for dragging: full resolution.
LIVE_SIDE = 320
# Bone begins here; where that many of the body's voxels lie above it (a cone-beam CT whose numbers are no Hounsfield
# units), at the value that leaves so many.
BONE_HU = 150.0
BONE_SHARE = 0.3
_BODY_HU = -500.0
# Bone is drawn from at most so many voxels: a second copy of a large CT would not fit everywhere.
_BONE_VOXELS = 16_000_000


def bone_alone(volume: Volume) -> Volume:
    """The CT with everything but bone as air: -1000 plus how far a voxel lies above the threshold of bone.

    Soft tissue hides where bone lies when one picture is laid over another, and it moves with every breath. A CT
    without any bone stays as it is.
    """
    sample = volume.hu.flatten()[:: max(1, volume.hu.numel() // 1_000_000)].to(torch.float32)
    body = sample[sample > _BODY_HU]
    if body.numel() == 0:
        return volume
    threshold = max(BONE_HU, float(torch.quantile(body, 1 - BONE_SHARE)))
    bone = (volume.hu.clamp(min=round(threshold)) - round(threshold) - 1000).to(volume.hu.dtype)
    if not bool((bone > -1000).any()):
        return volume
    k, j, i = (torch.nonzero((bone > -1000).any(dim=a).any(dim=b)).flatten() for a, b in ((2, 1), (2, 0), (1, 0)))
    part = replace(volume, hu=bone)
    # One voxel of air around it, so that bone fades into nothing as it does inside.
    part = part.cropped(tuple(int(n[0]) - 1 for n in (i, j, k)), tuple(int(n[-1]) + 2 for n in (i, j, k)))
    excess = (part.hu.numel() / _BONE_VOXELS) ** (1 / 3)
    return part.resampled(tuple(excess * own for own in part.spacing)) if excess > 1 else part


class LiveDrr:
    """Renders one CT for the overlay. Images come back as (rows, columns) float32 on the CPU."""

    def __init__(self, volume: Volume, device: torch.device) -> None:
        self._volume = volume
        self._device = device
        self._level = 0 if device.type == "cuda" else 1
        self._renderers: dict[float | None, Renderer] = {}
        self._seconds: deque[float] = deque(maxlen=3)

    @property
    def spacing_mm(self) -> float:
        """Voxel size that live pictures are rendered from."""
        return LIVE_SPACINGS_MM[self._level]

    def _renderer(self, spacing: float | None) -> Renderer:
        if spacing is not None and min(self._volume.spacing) >= spacing:
            spacing = None
        if spacing not in self._renderers:
            # One live resolution and the full one: older ones only take memory.
            self._renderers = {key: value for key, value in self._renderers.items() if key is None}
            plain = DrrRenderer.from_volume(self._volume, spacing, self._device)
            self._renderers[spacing] = plain if spacing is None else PairedRenderer(plain)
        return self._renderers[spacing]

    def prepare(self) -> None:
        """Make the live resolution now, so that the first drag hardly waits (each direction's averaged planes are
        still to come)."""
        self._renderer(self.spacing_mm)

    def render(self, camera: Camera, ct_to_world: Tensor, max_side: int) -> Tensor:
        """The DRR of a camera at a pose (4, 4), with the camera's image scaled to at most ``max_side`` pixels."""
        scale = min(1.0, max_side / max(camera.columns, camera.rows))
        small = camera.resized(max(1, round(camera.columns * scale)), max(1, round(camera.rows * scale)))
        return self._draw(small, ct_to_world, live=max_side <= LIVE_SIDE)

    def quick(self, camera: Camera, ct_to_world: Tensor) -> Tensor:
        """The DRR in the camera's own grid from the live resolution: something to look at during a run."""
        return self._draw(camera, ct_to_world, live=True)

    def _draw(self, small: Camera, ct_to_world: Tensor, live: bool) -> Tensor:
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
