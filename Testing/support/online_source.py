"""Training samples without a process that makes them."""

from __future__ import annotations

import torch
from DeepReg2D3DLib.training.config import SampleConfig
from DeepReg2D3DLib.training.samples import SampleBatch, SampleMaker, TrainingVolume


def concatenated(batches: list[SampleBatch]) -> SampleBatch:
    """One batch of several (of equal image and point counts)."""
    offsets, shift = [], 0
    for batch in batches:
        offsets.append(batch.xray_index + shift)
        shift += len(batch.xray)
    merged = {k: torch.cat([getattr(b, k) for b in batches]) for k in batches[0].__dict__ if k != "xray_index"}
    return SampleBatch(xray_index=torch.cat(offsets), **merged)


class OnlineSource:
    """Samples rendered for every step by the trainer itself, a few X-rays from each of several volumes."""

    def __init__(self, volumes: list[TrainingVolume], config: SampleConfig, xrays_per_volume: int = 8) -> None:
        self.volumes = volumes
        self.maker = SampleMaker(config)
        self.xrays_per_volume = xrays_per_volume

    def batch(self, xrays: int, generator: torch.Generator) -> SampleBatch:
        """See ``SampleSource``."""
        parts, left = [], xrays
        while left > 0:
            count = min(left, self.xrays_per_volume)
            chosen = int(torch.randint(len(self.volumes), (1,), generator=generator, device=generator.device))
            parts.append(self.maker.make(self.volumes[chosen], count, generator))
            left -= count
        return concatenated(parts)
