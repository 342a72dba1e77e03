"""What a GPU does again and again, recorded once and replayed.

A network that looks at a few hundred points is several hundred small steps: launching them one by one takes many times
longer than the GPU works on them. A CUDA graph holds them all, is launched at once, and needs no compiler.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakSet

import torch
import torch.nn.functional as F
from torch import Tensor

POINTS_STEP, PIXELS_STEP = 200, 32
"""Sets of points and images are padded to multiples of these: what was recorded for one serves for many."""
MOST_KNOWN = 24
"""Sizes that one ``Replay`` remembers."""

Steps = Callable[..., tuple[Tensor, ...]]
_IN_TURN = threading.RLock()
"""Recordings are used one at a time: each has one set of places for its inputs, and all share the memory between."""


@dataclass(frozen=True)
class _Studio:
    """Where a GPU records: a stream for it, and the memory that all recordings' steps use in between. None of them
    needs anything of that memory once its answers are copied."""

    stream: torch.cuda.Stream
    pool: tuple[int, int]


_STUDIOS: dict[torch.device, _Studio] = {}


class _Recorded:
    """One graph, with the places that its inputs are copied to and its answers are read from."""

    def __init__(self, function: Steps, given: tuple[Tensor, ...]) -> None:
        device = given[0].device
        with torch.cuda.device(device):
            self.given = tuple(each.clone() for each in given)
            self.graph = torch.cuda.CUDAGraph()
            if device not in _STUDIOS:
                _STUDIOS[device] = _Studio(torch.cuda.Stream(device), torch.cuda.graph_pool_handle())
            how = {"pool": _STUDIOS[device].pool, "stream": _STUDIOS[device].stream}
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local", **how):
                self.answers = function(*self.given)

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        for place, values in zip(self.given, given, strict=True):
            place.copy_(values)
        with torch.cuda.device(given[0].device):
            self.graph.replay()
        return tuple(answer.clone() for answer in self.answers)


class Replay:
    """Calls a function of tensors in inference mode; on a GPU replays it, from the second call with the same shapes on.

    function: tensors to a tuple of tensors whose shapes follow from theirs; it looks at no value on the CPU and moves
    nothing from or to it. A GPU that refuses to record is left to take the steps one by one.
    """

    def __init__(self, function: Steps) -> None:
        self.function = function
        self._known: dict[tuple, _Recorded | None] = {}  # None: called once, which also made everything ready
        self._refused = False
        _ALL.add(self)

    @torch.inference_mode()
    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        """What the function answers, in tensors of the caller's own."""
        if self._refused or given[0].device.type != "cuda":
            return self.function(*given)
        with _IN_TURN:
            return self._replayed(*given)

    def _replayed(self, *given: Tensor) -> tuple[Tensor, ...]:
        key = tuple((tuple(each.shape), each.dtype, each.device) for each in given)
        if key not in self._known:
            self._known[key] = None
            self._forget_some(key)
            return self.function(*given)
        recorded = self._known.pop(key)
        if recorded is None:
            recorded = self._record(given)
            if recorded is None:
                return self.function(*given)
        self._known[key] = recorded  # the one used last is the last to be forgotten
        return recorded(*given)

    def _record(self, given: tuple[Tensor, ...]) -> _Recorded | None:
        """A recording; None, for good, where the GPU refuses, which leaves everything else as it was."""
        device = given[0].device
        before = torch.cuda.current_stream(device) if torch.cuda.is_available() else None
        try:
            return _Recorded(self.function, given)
        except RuntimeError as error:
            logging.getLogger(__name__).info("A GPU's steps are taken one by one: it did not record them (%s).", error)
            if before is not None:  # torch stays with the stream that it meant to record
                torch.cuda.set_stream(before)
            _STUDIOS.pop(device, None)
            self._refused = True
            self._known.clear()
            return None

    def _forget_some(self, new: tuple) -> None:
        """Keep at most ``MOST_KNOWN`` sizes; what came only once goes first."""
        if len(self._known) > MOST_KNOWN:
            once = [key for key, recorded in self._known.items() if recorded is None and key != new]
            del self._known[next(iter(once or self._known))]

    def forget(self) -> None:
        """Drop what was recorded, and its memory."""
        with _IN_TURN:
            self._known.clear()


_ALL: WeakSet[Replay] = WeakSet()


def forget_recordings() -> None:
    """Drop everything that was recorded on any GPU."""
    for replay in list(_ALL):
        replay.forget()
    with _IN_TURN:
        _STUDIOS.clear()


def padded_points(values: Tensor) -> Tensor:
    """Values (B, N, ...) with zeros (or False) up to the next multiple of ``POINTS_STEP``."""
    missing = -values.shape[1] % POINTS_STEP
    if missing == 0:
        return values
    return torch.cat([values, values.new_zeros(values.shape[0], missing, *values.shape[2:])], 1)


def padded_side(size: tuple[int, int]) -> int:
    """Side of the square, a multiple of ``PIXELS_STEP``, that an image of (rows, columns) is padded to."""
    return -(-max(size) // PIXELS_STEP) * PIXELS_STEP


def padded_map(image: Tensor, side: int) -> Tensor:
    """Map (B, C, H, W) with zeros on the right and below up to side x side."""
    return F.pad(image, (0, side - image.shape[-1], 0, side - image.shape[-2]))
