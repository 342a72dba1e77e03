"""Random first poses at chosen distances from the truth, to measure with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .metrics import mtre
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
    centre = transform_points(truth, targets.mean(0, keepdim=True))[0]
    offset = float(torch.rand((), generator=generator, dtype=torch.float64))
    starts = []
    for index in range(count):
        # Multiples of the golden ratio fill the range evenly however many there are.
        wanted = reach * ((offset + index * _GOLDEN) % 1.0)
        direction = torch.randn(6, generator=generator, dtype=torch.float64)
        direction = direction / direction.norm()

        def pose_at(scale: float, direction: Tensor = direction) -> Tensor:
            return motion_about(scale * direction[:3] / _ROTATION_LENGTH, scale * direction[3:], centre) @ truth

        low, high = 0.0, 4 * reach
        for _ in range(50):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if mtre(pose_at(middle), truth, targets) < wanted else (low, middle)
        pose = pose_at(high)
        starts.append(Start(f"{index:03d}", pose, mtre(pose, truth, targets)))
    return starts
