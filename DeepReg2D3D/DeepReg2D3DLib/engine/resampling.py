"""Resampling of one axis of a grid: averages on the way down, linear interpolation on the way up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_COARSER = 1.001  # steps that differ from 1 by rounding alone do not blur


@dataclass(frozen=True)
class Taps:
    """Weights of the few samples that each new sample is made of.

    indices: (n_out, taps) int64 into the old axis.  weights: (n_out, taps) float32, each row sums to 1.
    """

    indices: Tensor
    weights: Tensor

    def apply(self, values: Tensor, axis: int) -> Tensor:
        """Resample ``values`` along ``axis`` (not the channels of anything: weights are per position)."""
        axis = axis % values.ndim
        shape = [1] * values.ndim
        shape[axis] = -1
        result = None
        for tap in range(self.indices.shape[1]):
            term = values.index_select(axis, self.indices[:, tap].to(values.device))
            term = term.to(torch.float32) * self.weights[:, tap].to(values.device).reshape(shape)
            result = term if result is None else result.add_(term)
        return result


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
