"""A CT followed through the frames of a fluoroscopy run: each frame begins where the last one ended.

Where the last two frames were sound, the frame's start is the better of the last pose and of the last motion once more
(constant velocity). A frame that is in doubt is tried again with the search for a start, around the last sound pose; if
it stays in doubt, or its image can't be used, it is marked so, and the next frame begins at the last sound pose.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from .errors import DegenerateError, InputError
from .level import Level
from .methods import Method
from .poses import invert_pose, transform_points
from .presets import FAST, Preset
from .registration import Iteration, register
from .rivals import judged_poses
from .search import SearchSettings
from .setup import RegistrationSetup
from .xray import XRay

FOLLOW = Preset(
    name="follow",
    levels=(
        Level(128, 3, 30.0, (10, 6), (1e-3, 1e-5), max_points=600),
        Level(224, 4, 20.0, (7, 4), (1e-5, 1e-7), max_points=600),
    ),
)
"""From frame to frame the CT moves little: no search, narrow windows."""
RECOVER = replace(
    FAST, name="recover", search=SearchSettings(long_side=80, in_plane_deg=(-8.0, 0.0, 8.0), candidates=3)
)
LEAST_SHARE = 0.75
"""Edges in common below this share of what recent frames had put a frame in doubt; below ``LOST_SHARE`` it is lost."""
LOST_SHARE = 0.5
REMEMBERED = 10
_SIDE, _MARGIN_MM = 160, 15.0

Load = Callable[[], Sequence[XRay]]
"""Gives a frame's X-rays; raises InputError where its images can't be used."""


@dataclass(frozen=True)
class TrackedFrame:
    """One frame. frame: its number in the run, from 1. ct_to_world (4, 4) float64.

    status: converged, stopped or unreliable. confidence: 0 to 1, None where it is not known. agreement: similarity of
    the edges of CT and X-ray, -1 where the CT is not in the picture. moved_mm: of the CT's centre since the frame
    before. searched: it was in doubt at first. reason: why it could not be registered at all, else empty; it may name
    files.
    """

    frame: int
    ct_to_world: Tensor
    status: str
    confidence: float | None
    agreement: float
    similarity: float
    moved_mm: float
    iterations: int
    seconds: float
    searched: bool
    reason: str = ""

    @property
    def sound(self) -> bool:
        return self.status != "unreliable"


def track(
    setup: RegistrationSetup,
    frames: Iterable[tuple[int, Load]],
    start: Tensor,
    method: Method,
    first: Preset,
    follow: Preset = FOLLOW,
    recover: Preset = RECOVER,
) -> Iterator[TrackedFrame]:
    """Follow the CT from a first pose (4, 4) through frames (number, what loads its X-rays), frame by frame.

    first: how the first frame is registered. Raises InputError or DegenerateError where the first frame cannot be
    registered at all; later ones that cannot, or cannot be loaded, are unreliable, at the last sound pose.
    """
    tracker = _Tracker(setup, method, start)
    for index, (number, load) in enumerate(frames):
        yield tracker.first(number, load, first) if index == 0 else tracker.next(number, load, follow, recover)


@dataclass(frozen=True)
class _Result:
    pose: Tensor
    status: str
    confidence: float | None
    similarity: float
    iterations: int
    agreement: float
    reason: str = ""


class _Tracker:
    def __init__(self, setup: RegistrationSetup, method: Method, start: Tensor) -> None:
        self.setup, self.method = setup, method
        self.sound = start  # the last pose that was not in doubt
        self.before: Tensor | None = None  # the one of the frame just before it, where that was sound, too
        self.shown: Tensor | None = None
        self.unbroken = False  # the frame just before was sound
        self.agreements: deque[float] = deque(maxlen=REMEMBERED)

    def first(self, number: int, load: Load, preset: Preset) -> TrackedFrame:
        began = time.perf_counter()
        return self._finished(number, self._registered(load(), self.sound, preset), False, began)

    def next(self, number: int, load: Load, follow: Preset, recover: Preset) -> TrackedFrame:
        began = time.perf_counter()
        try:
            xrays = load()
        except InputError as error:
            return self._finished(number, self._none(error), False, began)
        result = self._tried(xrays, self._better_start(xrays), follow)
        searched = self._doubtful(result)
        if searched:
            again = self._tried(xrays, self.sound, recover)
            # On one region, so that neither profits from looking at a part that suits it.
            scores = judged_poses(self.setup, xrays, [result.pose, again.pose], _SIDE, _MARGIN_MM)
            result = again if scores[1] > scores[0] else result
        usual = self._usual()
        if usual is not None and result.agreement < LOST_SHARE * usual:
            result = replace(result, status="unreliable")
        return self._finished(number, result, searched, began)

    def _usual(self) -> float | None:
        return median(self.agreements) if self.agreements else None

    def _doubtful(self, result: _Result) -> bool:
        usual = self._usual()
        return result.status == "unreliable" or (usual is not None and result.agreement < LEAST_SHARE * usual)

    def _better_start(self, xrays: Sequence[XRay]) -> Tensor:
        """The last sound pose, or the last motion once more where that fits better."""
        if self.before is None:
            return self.sound
        further = self.sound @ invert_pose(self.before) @ self.sound
        scores = judged_poses(self.setup, xrays, [self.sound, further], _SIDE, _MARGIN_MM)
        return further if scores[1] > scores[0] else self.sound

    def _tried(self, xrays: Sequence[XRay], start: Tensor, preset: Preset) -> _Result:
        try:
            return self._registered(xrays, start, preset)
        except (DegenerateError, InputError) as error:
            return self._none(error)

    def _none(self, error: Exception) -> _Result:
        return _Result(self.sound, "unreliable", None, 0.0, 0, -1.0, str(error))

    def _registered(self, xrays: Sequence[XRay], start: Tensor, preset: Preset) -> _Result:
        run = register(None, xrays, start, method=self.method, preset=preset, setup=self.setup)
        last: Iteration = deque(run, maxlen=1)[0]
        confidence = None if last.confidence is None else float(last.confidence.probability)
        agreement = judged_poses(self.setup, xrays, [last.ct_to_world], _SIDE, _MARGIN_MM)[0]
        return _Result(last.ct_to_world, last.status, confidence, last.similarity, last.index, agreement)

    def _finished(self, number: int, result: _Result, searched: bool, began: float) -> TrackedFrame:
        centre = self.setup.volume.centre[None]
        shown = result.pose if self.shown is None else self.shown
        moved = transform_points(result.pose, centre) - transform_points(shown, centre)
        if result.status != "unreliable":
            self.before = self.sound if self.unbroken else None
            self.agreements.append(result.agreement)
            self.unbroken = True
        else:
            self.before, self.unbroken = None, False
        if result.status != "unreliable" or self.shown is None:
            self.sound = result.pose
        self.shown = result.pose
        return TrackedFrame(
            number,
            result.pose,
            result.status,
            result.confidence,
            result.agreement,
            result.similarity,
            float(torch.linalg.norm(moved)),
            result.iterations,
            time.perf_counter() - began,
            searched,
            result.reason,
        )
