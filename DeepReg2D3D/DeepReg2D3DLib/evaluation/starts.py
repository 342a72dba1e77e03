"""The starts of an evaluation: chosen from those a case lists, and drawn at random beyond them."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from ..engine.case_file import Case
from ..engine.errors import InputError
from ..engine.metrics import BIN_WIDTH, mtre
from ..engine.poses import motion_about, transform_points

DEFAULT_REACH = 60.0
"""mm of initial mTRE up to which the published starts reach."""
_ROTATION_LENGTH = 150.0  # mm; a draw turns by 1/150 rad where it would as likely move by 1 mm: 60 mm holds some 15 deg
_GOLDEN = 0.5 * (math.sqrt(5) - 1)


@dataclass(frozen=True)
class Start:
    """A first pose, ct_to_world (4, 4) float64, and its mTRE in mm against the case's ground truth."""

    name: str
    pose: Tensor
    initial_mtre: float


def choose_starts(case: Case, count: int | None, seed: int) -> list[Start]:
    """``count`` starts of a case, sorted by initial mTRE.

    Up to the number of listed starts: evenly spaced over those sorted by initial mTRE (None: all). Beyond it: all
    listed ones and the rest drawn with ``seed``, up to the listed reach. A larger count keeps the draws of a smaller.
    """
    truth, targets = truth_of(case)
    listed = [Start(name, pose, mtre(pose, truth, targets)) for name, pose in case.starts]
    listed.sort(key=lambda start: start.initial_mtre)
    if count is None:
        count = len(listed)
    if count < 1:
        raise InputError(f"Case '{case.name}' lists no starts; ask for some with --starts N.")
    if count <= len(listed):
        picked = [(2 * i + 1) * len(listed) // (2 * count) for i in range(count)]
        return [listed[i] for i in picked]
    reach = DEFAULT_REACH
    if listed:
        reach = BIN_WIDTH * math.ceil(listed[-1].initial_mtre / BIN_WIDTH)
    drawn = draw_starts(truth, targets, count - len(listed), reach, zlib.crc32(case.name.encode()) ^ seed)
    drawn = [Start(f"seed{seed}-{start.name}", start.pose, start.initial_mtre) for start in drawn]
    return sorted([*listed, *drawn], key=lambda start: start.initial_mtre)


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


def truth_of(case: Case) -> tuple[Tensor, Tensor]:
    """(ground truth (4, 4), targets (N, 3)) of a case; raises InputError where it has none to measure against."""
    if case.ground_truth is None or case.targets is None:
        lacking = "ground_truth" if case.ground_truth is None else "targets"
        raise InputError(f"Case '{case.name}' has no {lacking} in its case.json, so nothing can be measured on it.")
    return case.ground_truth, case.targets
