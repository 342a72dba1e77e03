"""Resampling of one axis of a grid: averages on the way down, linear interpolation on the way up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK = 32
"""New samples that one matrix product makes on a CPU; a GPU makes all at once."""
_COARSER = 1.001  # steps that differ from 1 by rounding alone do not blur


@dataclass(frozen=True)
class Taps:
    """Weights of the few samples that each new sample is made of.

    indices: (n_out, taps) int64 into the old axis.  weights: (n_out, taps) float32, each row sums to 1.
    """

    indices: Tensor
    weights: Tensor

    def apply(self, values: Tensor, axis: int) -> Tensor:
        """Resample ``values`` along ``axis`` (not the channels of anything: weights are per position); float32.

        A block of new samples is made of a short run of old ones: one small matrix product each, which passes over the
        values once where adding up tap by tap would pass over them many times.
        """
        axis = axis % values.ndim
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        old = values.reshape(math.prod(before), values.shape[axis], math.prod(after))
        count = len(self.indices)
        result = torch.empty(old.shape[0], count, old.shape[2], dtype=torch.float32, device=values.device)
        block = _BLOCK if values.device.type == "cpu" else max(count, 1)
        for first in range(0, count, block):
            last = min(first + block, count)
            low, matrix = self._matrix(first, last)
            matrix = matrix.to(values.device)
            run = old[:, low : low + matrix.shape[1]].to(torch.float32)
            if old.shape[2] == 1:
                result[:, first:last, 0] = run[..., 0] @ matrix.T
            else:
                result[:, first:last] = matrix @ run
        return result.reshape(*before, count, *after)

    def _matrix(self, first: int, last: int) -> tuple[int, Tensor]:
        """The new samples [first, last) as a matrix (new, old) over the old ones from the number that is returned."""
        indices = self.indices[first:last]
        low, high = int(indices.min()), int(indices.max())
        matrix = torch.zeros(last - first, high - low + 1)
        return low, matrix.scatter_add_(1, indices - low, self.weights[first:last])


def resampling_taps(n_in: int, n_out: int, step: float, first: float) -> Taps:
    """Taps for new samples centred at ``first + k step`` (in units of old samples, pixel centres at integers).

    For step > 1 a new sample is the average, over its own extent, of the line drawn through the old samples, as a
    detector with larger elements would measure it: nothing aliases, and straight slopes and sums are kept exactly. For
    step <= 1 it is read off that line. Beyond the ends the outermost sample is repeated.
    """
    centres = first + step * torch.arange(n_out, dtype=torch.float64)
    averaged = step > _COARSER
    half = 0.5 * step if averaged else 0.0
    low = torch.floor(centres - half - 1.0).to(torch.int64) + 1
    indices = low[:, None] + torch.arange(int(2 * half + 2) + 1)
    offset = indices.to(torch.float64) - centres[:, None]
    if averaged:
        weights = _hat_integral(offset + half) - _hat_integral(offset - half)
    else:
        weights = (1 - offset.abs()).clamp(min=0)
    used = weights.amax(0) > 0
    weights, indices = weights[:, used], indices[:, used]
    weights = weights / weights.sum(1, keepdim=True)
    return Taps(indices.clamp(0, n_in - 1), weights.to(torch.float32))


def _hat_integral(x: Tensor) -> Tensor:
    """Integral from -infinity to x of the hat 1 - |x| on [-1, 1]."""
    x = x.clamp(-1, 1)
    return torch.where(x < 0, 0.5 * (x + 1) ** 2, 1 - 0.5 * (1 - x) ** 2)


def resized_taps(n_in: int, n_out: int) -> Taps:
    """Taps for n_out samples over the same field as n_in samples."""
    step = n_in / n_out
    return resampling_taps(n_in, n_out, step, 0.5 * step - 0.5)
