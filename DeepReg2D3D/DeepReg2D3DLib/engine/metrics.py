"""How good a registration is: mTRE and mRPD of one run, success rate and capture range of many.

mTRE and mRPD after van de Kraats et al., IEEE TMI 2005; success (mRPD of 2 mm or less) and capture range (bins of 5 mm,
95 %) as in table 1 of Jaganathan et al., MICCAI 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .camera import Camera
from .poses import transform_points

SUCCESS_MRPD = 2.0
"""mm; a run that ends at this mRPD or less is a success."""
BIN_WIDTH = 5.0
"""mm of initial mTRE per bin of the capture range."""
CAPTURE_RATE = 0.95
MINIMUM_PER_BIN = 20
"""Rows that a bin needs before it says anything about the capture range."""


def mtre(pose: Tensor, truth: Tensor, targets: Tensor) -> float:
    """Mean target registration error in mm: mean distance of targets (N, 3) under two ct_to_world poses (4, 4)."""
    points = targets.to(torch.float64)
    difference = transform_points(pose.to(points), points) - transform_points(truth.to(points), points)
    return float(difference.norm(dim=-1).mean())


def mrpd(pose: Tensor, truth: Tensor, targets: Tensor, camera: Camera) -> float:
    """Mean reprojection distance in mm: how far each true target lies from the ray through the registered one.

    targets (N, 3) in CT LPS, poses ct_to_world (4, 4). Depth along the rays does not count.
    """
    points = targets.to(torch.float64)
    registered = transform_points(camera.ct_to_camera(pose.to(points)), points)
    true = transform_points(camera.ct_to_camera(truth.to(points)), points)
    direction = registered / registered.norm(dim=-1, keepdim=True).clamp_min(1e-9)  # a target may lie at the source
    along = (true * direction).sum(-1, keepdim=True)
    return float((true - along * direction).norm(dim=-1).mean())


def success_rate(final_mrpd: Sequence[float]) -> float:
    """Share of runs that end at mRPD <= 2 mm; NaN or infinity (a crash) is a failure. NaN for no runs at all."""
    if not final_mrpd:
        return math.nan
    return sum(1 for value in final_mrpd if value <= SUCCESS_MRPD) / len(final_mrpd)


def capture_range(initial_mtre: Sequence[float], final_mrpd: Sequence[float]) -> float | None:
    """Top in mm of the highest 5 mm bin of initial mTRE up to which every bin has a success rate of 95 % or more.

    0.0 when the first bin fails already. None ("not available") when a bin that decides it, from 0 up to the first
    that fails, holds fewer than 20 runs, or when all bins succeed but one of them is that sparse.
    """
    if len(initial_mtre) != len(final_mrpd):
        raise ValueError(f"{len(initial_mtre)} initial errors but {len(final_mrpd)} final ones")
    bins: dict[int, list[float]] = {}
    for start, end in zip(initial_mtre, final_mrpd, strict=True):
        bins.setdefault(int(start // BIN_WIDTH), []).append(end)
    if not bins:
        return None
    top = 0.0
    for index in range(max(bins) + 1):
        runs = bins.get(index, [])
        if len(runs) < MINIMUM_PER_BIN:
            return None
        if success_rate(runs) < CAPTURE_RATE:
            break
        top = (index + 1) * BIN_WIDTH
    return top


def wilson_interval(successes: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share, by default at 95 %; (0, 1) for no runs."""
    if total == 0:
        return 0.0, 1.0
    share = successes / total
    denominator = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / denominator
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / denominator
    return max(0.0, middle - half), min(1.0, middle + half)
