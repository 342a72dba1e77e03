"""Random draws that travel as one object: tensors with the batch first, moved and indexed together."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import torch
from torch import Tensor


class Draws:
    """Base of the dataclasses whose fields are tensors (batch first) or other ``Draws``."""

    def _map(self, function):
        changes = {}
        for field in fields(self):
            value = getattr(self, field.name)
            changes[field.name] = value._map(function) if isinstance(value, Draws) else function(value)
        return replace(self, **changes)

    def to(self, device: torch.device | str) -> Draws:
        """The same draws on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def __getitem__(self, index) -> Draws:
        """The draws of some items: a slice or an index tensor along the batch (a whole number keeps a batch of 1)."""
        if isinstance(index, int):
            index = slice(index, index + 1) if index != -1 else slice(index, None)
        return self._map(lambda tensor: tensor[index])

    def __len__(self) -> int:
        value = getattr(self, fields(self)[0].name)
        return len(value)


def uniform(generator: torch.Generator, batch: int, low: float, high: float) -> Tensor:
    """(batch,) uniform in [low, high)."""
    return low + (high - low) * torch.rand(batch, generator=generator)


def log_uniform(generator: torch.Generator, batch: int, low: float, high: float) -> Tensor:
    """(batch,) with a uniform logarithm between log(low) and log(high)."""
    return uniform(generator, batch, 0.0, 1.0).mul(torch.tensor(high / low).log()).exp() * low


def chance(generator: torch.Generator, batch: int, probability: float) -> Tensor:
    """(batch,) bool, True with the given probability."""
    return torch.rand(batch, generator=generator) < probability


def seeds(generator: torch.Generator, batch: int) -> Tensor:
    """(batch,) int64 seeds for generators further down."""
    return torch.randint(0, 2**62, (batch,), generator=generator)


def python_random(generator: torch.Generator) -> random.Random:
    """A fast scalar generator seeded from ``generator``, for lists of shapes of varying length."""
    return random.Random(int(torch.randint(0, 2**62, (1,), generator=generator)))


def pixel_grid(size: tuple[int, int], device: torch.device | str) -> tuple[Tensor, Tensor, float]:
    """Coordinates x (1, W), y (H, 1) about the image centre in units of half the geometric mean side, and the unit.

    The unit comes in pixels; shapes drawn in these coordinates fit images of any size.
    """
    rows, columns = size
    unit = 0.5 * (rows * columns) ** 0.5
    x = (torch.arange(columns, device=device, dtype=torch.float32) - (columns - 1) / 2) / unit
    y = (torch.arange(rows, device=device, dtype=torch.float32) - (rows - 1) / 2) / unit
    return x[None, :], y[:, None], unit


def as_maps(values: Tensor) -> Tensor:
    """(B,) to (B, 1, 1, 1), to multiply images."""
    return values[:, None, None, None]
