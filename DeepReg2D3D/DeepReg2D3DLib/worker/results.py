"""What the client hands to its listeners: plain data, numpy arrays that stay valid. Poses are ct_to_world, LPS mm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


def pose_array(pose: Any) -> np.ndarray:
    """A pose from a message as (4, 4) float64."""
    return np.array(pose, dtype=np.float64).reshape(4, 4)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class ViewFrame:
    """One view's pictures, in the grid of ``camera``: the X-ray's own, cropped or resized.

    camera: as messages carry it (see ``messages.is_camera``). drr, bone: (rows, columns) float32 line integrals of the
    whole CT and of its bone alone, or None. contour_pixels, flow: (M, 2) as (u, v); weights: (M,).
    """

    name: str
    camera: Mapping[str, Any]
    drr: np.ndarray | None = None
    contour_pixels: np.ndarray | None = None
    weights: np.ndarray | None = None
    flow: np.ndarray | None = None
    bone: np.ndarray | None = None

    @property
    def columns(self) -> int:
        """Width of the grid in pixels."""
        return self.camera["columns"]

    @property
    def rows(self) -> int:
        """Height of the grid in pixels."""
        return self.camera["rows"]

    @classmethod
    def from_message(cls, view: Mapping[str, Any]) -> ViewFrame:
        """The frame in a message whose arrays have been read."""

        def array(name: str, *shape: int) -> np.ndarray | None:
            value = view.get(name)
            return None if value is None else np.asarray(value, dtype=np.float32).reshape(shape)

        grid = view["camera"]["rows"], view["camera"]["columns"]
        return cls(
            view["name"],
            view["camera"],
            array("drr", *grid),
            array("contour_pixels", -1, 2),
            array("weights", -1),
            array("flow", -1, 2),
            array("bone", *grid),
        )


@dataclass(frozen=True)
class RenderResult:
    """Live DRRs at a pose; ``seconds`` is the time the engine took."""

    pose: np.ndarray
    views: tuple[ViewFrame, ...]
    seconds: float

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> RenderResult:
        """The result in a ``rendered`` message."""
        views = tuple(ViewFrame.from_message(view) for view in message["views"])
        return cls(pose_array(message["pose"]), views, _number(message["seconds"]))


@dataclass(frozen=True)
class IterationResult:
    """One iteration of a run; index 0 is the start. Numbers that have no value are NaN."""

    run: str
    index: int
    pose: np.ndarray
    motion_mm: float
    points: int
    similarity: float
    seconds: float
    final: bool
    status: str
    views: tuple[ViewFrame, ...]

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> IterationResult:
        """The result in an ``iteration`` message."""
        return cls(
            message["run"],
            message["index"],
            pose_array(message["pose"]),
            _number(message["motion_mm"]),
            int(message["points"]),
            _number(message["similarity"]),
            _number(message["seconds"]),
            bool(message["final"]),
            message["status"],
            tuple(ViewFrame.from_message(view) for view in message["views"]),
        )


@dataclass(frozen=True)
class RunResult:
    """The end of a run. status: converged, stopped, unreliable, cancelled or failed; ``text`` says why, if anything."""

    run: str
    status: str
    pose: np.ndarray
    iterations: int
    seconds: float
    text: str = ""
    report: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> RunResult:
        """The result in a ``finished`` message."""
        return cls(
            message["run"],
            message["status"],
            pose_array(message["pose"]),
            int(message["iterations"]),
            _number(message["seconds"]),
            message["text"],
            message["report"] or {},
        )
