"""What a registration tells of each of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .camera import Camera
from .confidence import Confidence


@dataclass(frozen=True)
class ViewState:
    """One view after a step. Pixels are in the level's grid, whose camera (cropped and resized) is given.

    drr (H, W) float32 at the new pose; contour_pixels (M, 2), flow (M, 2) and weights (M,) of the step's matches,
    found before it moved.
    """

    name: str
    drr: Tensor
    contour_pixels: Tensor
    flow: Tensor
    weights: Tensor
    camera: Camera

    @property
    def columns(self) -> int:
        return self.camera.columns

    @property
    def rows(self) -> int:
        return self.camera.rows


@dataclass(frozen=True)
class Iteration:
    """One step. index 0 is the start. status is '' until ``final``, then converged, stopped or unreliable.

    ct_to_world (4, 4) float64 after the step; motion_mm: mean displacement of the contour points in the step; points:
    correspondences with weight above 0.01; similarity: gradient NCC inside the valid mask, mean over views; confidence:
    how far to trust the pose, where the preset judges it: in the final record, and in those that end an attempt before
    another one begins.
    """

    index: int
    ct_to_world: Tensor
    motion_mm: float
    points: int
    similarity: float
    seconds: float
    views: tuple[ViewState, ...]
    final: bool = False
    status: str = ""
    confidence: Confidence | None = None


TRUSTED = 0.1
"""Above this confidence a result in doubt is rather one vertebra off than anywhere: a better place to keep, or to go on
from, than one on the way or where a search ended in nothing."""


def kept(records: Sequence[Iteration]) -> Iteration:
    """What remains of a registration that was stopped after these records: the last one, unless that is part of a
    further attempt and an earlier one ended where more is to be trusted."""
    judged = [record for record in records if record.confidence is not None]
    if records[-1].final or not judged:
        return records[-1]
    best = max(judged, key=lambda record: record.confidence.probability)
    return best if best.confidence.probability > TRUSTED else records[-1]


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to: its last record (not final yet), status and confidence, if that was asked for."""

    record: Iteration
    status: str
    confidence: Confidence | None
