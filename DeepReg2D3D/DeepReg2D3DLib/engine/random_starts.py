"""Random first poses at chosen distances from the truth, to measure with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .metrics import BIN_WIDTH, mtre
from .poses import motion_about, transform_points

_ROTATION_LENGTH = 150.0  # mm; a draw turns by 1/150 rad where it would as likely move by 1 mm: 60 mm holds some 15 deg
_GOLDEN = 0.5 * (math.sqrt(5) - 1)


@dataclass(frozen=True)
class Start:
    """A first pose, ct_to_world (4, 4) float64, and its mTRE in mm against the case's ground truth."""

    name: str
    pose: Tensor
    initial_mtre: float


def draw_starts(truth: Tensor, targets: Tensor, count: int, reach: float, seed: int) -> list[Start]:
    """Random poses with initial mTRE spread evenly over 0 to ``reach`` mm: turns and shifts about the targets' centre.

    truth: ct_to_world (4, 4). targets: (N, 3) CT mm. The first draws do not depend on ``count``.
    """
    generator = torch.Generator().manual_seed(seed)
    offset = float(torch.rand((), generator=generator, dtype=torch.float64))
    # Multiples of the golden ratio fill the range evenly however many there are.
    return [
        _start_at(f"{index:03d}", reach * ((offset + index * _GOLDEN) % 1.0), reach, truth, targets, generator)
        for index in range(count)
    ]


def draw_binned_starts(truth: Tensor, targets: Tensor, count: int, reach: float, seed: int) -> list[Start]:
    """As ``draw_starts``, with as many starts, to within one, in each 5 mm bin of initial mTRE below ``reach``."""
    generator = torch.Generator().manual_seed(seed)
    bins = max(1, math.ceil(reach / BIN_WIDTH))
    order: list[int] = []
    starts: list[Start] = []
    for index in range(count):
        order = order or torch.randperm(bins, generator=generator).tolist()
        low = BIN_WIDTH * order.pop()
        share = float(torch.rand((), generator=generator, dtype=torch.float64))
        # A hundredth of a mm off the edges, so that rounding moves no start into the next bin.
        wanted = low + 0.01 + share * (min(BIN_WIDTH, reach - low) - 0.02)
        starts.append(_start_at(f"{index:03d}", wanted, reach, truth, targets, generator))
    return starts


def _start_at(
    name: str, wanted: float, reach: float, truth: Tensor, targets: Tensor, generator: torch.Generator
) -> Start:
    """A start at ``wanted`` mm mTRE, at most ``reach``, in a random direction of turning and shifting."""
    centre = transform_points(truth, targets.mean(0, keepdim=True))[0]
    direction = torch.randn(6, generator=generator, dtype=torch.float64)
    direction = direction / direction.norm()

    def pose_at(scale: float) -> Tensor:
        return motion_about(scale * direction[:3] / _ROTATION_LENGTH, scale * direction[3:], centre) @ truth

    low, high = 0.0, 4 * reach
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if mtre(pose_at(middle), truth, targets) < wanted else (low, middle)
    pose = pose_at(high)
    return Start(name, pose, mtre(pose, truth, targets))
