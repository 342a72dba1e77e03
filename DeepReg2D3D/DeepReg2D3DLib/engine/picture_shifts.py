"""Correlations over all shifts of a picture: their peaks, and the poses that these mean."""

from __future__ import annotations

import torch
from torch import Tensor

from .camera import Camera
from .poses import invert_pose


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


def shifted_pose(ct_to_world: Tensor, camera: Camera, columns: int, rows: int, depth: float) -> Tensor:
    """The pose (4, 4) moved across the view so that what lies at ``depth`` mm is seen so many pixels further right and
    further down."""
    shift = torch.tensor([columns, rows, 0.0], dtype=torch.float64)
    shift[:2] *= depth / camera.intrinsics.diagonal()[:2]
    moved = ct_to_world.clone()
    moved[:3, 3] += invert_pose(camera.world_to_camera)[:3, :3] @ shift
    return moved
