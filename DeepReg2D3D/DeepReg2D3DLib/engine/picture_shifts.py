"""Correlations over all shifts of a picture: their peaks, and the poses that these mean."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .camera import Camera
from .poses import invert_pose

PEAKS_LOOKED_AT = 5000
"""The highest peaks of all maps together among which separate ones are looked for."""


def separate_peaks(scores: Tensor, count: int, apart: int) -> list[tuple[int, int, float]]:
    """The ``count`` highest places (row, column, score) of a map (R, C), best first, any two of them more than
    ``apart`` cells from each other in row or column."""
    left = scores.clone()
    peaks = []
    for _ in range(count):
        row, column = divmod(int(left.argmax()), left.shape[1])
        peaks.append((row, column, float(left[row, column])))
        left[max(0, row - apart) : row + apart + 1, max(0, column - apart) : column + apart + 1] = -1.0
    return peaks


def separate_places(
    scores: Tensor, poses: Tensor, count: int, apart: int, turns_apart_deg: float
) -> list[tuple[int, int, int, float]]:
    """The ``count`` highest peaks (pose, row, column, score) of maps (M, R, C), one for each of the poses (M, 4, 4),
    best first: any two of them more than ``apart`` cells from each other, or their poses turned by that many degrees.

    A wrong turn at a place then doesn't hide the right one.
    """
    highest = F.max_pool2d(scores[:, None], 2 * apart + 1, stride=1, padding=apart)[:, 0]
    peaks = torch.where(scores == highest, scores, torch.full_like(scores, -torch.inf)).flatten()
    values, order = peaks.topk(min(len(peaks), PEAKS_LOOKED_AT))
    turns = poses[:, :3, :3].flatten(1)
    traces = turns @ turns.T  # of one turn after the other's inverse
    alike = (traces > 1 + 2 * math.cos(math.radians(turns_apart_deg))).tolist()
    _, rows, columns = scores.shape
    places: list[tuple[int, int, int, float]] = []
    for score, index in zip(values.tolist(), order.tolist(), strict=True):
        if len(places) == count or score == -math.inf:
            break
        pose, row, column = index // (rows * columns), index // columns % rows, index % columns
        hidden = any(
            alike[pose][other] and abs(row - r) <= apart and abs(column - c) <= apart for other, r, c, _ in places
        )
        if not hidden:
            places.append((pose, row, column, score))
    return places


def shifted_pose(ct_to_world: Tensor, camera: Camera, columns: int, rows: int, depth: float) -> Tensor:
    """The pose (4, 4) moved across the view so that what lies at ``depth`` mm is seen so many pixels further right and
    further down."""
    shift = torch.tensor([columns, rows, 0.0], dtype=torch.float64)
    shift[:2] *= depth / camera.intrinsics.diagonal()[:2]
    moved = ct_to_world.clone()
    moved[:3, 3] += invert_pose(camera.world_to_camera)[:3, :3] @ shift
    return moved
