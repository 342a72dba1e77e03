"""The starts of an evaluation: chosen from those a case lists, and drawn at random beyond them."""

from __future__ import annotations

import math
import zlib

from torch import Tensor

from ..engine.case_file import Case
from ..engine.errors import InputError
from ..engine.metrics import BIN_WIDTH, mtre
from ..engine.random_starts import Start, draw_binned_starts, draw_starts

DEFAULT_REACH = 60.0
"""mm of initial mTRE up to which the published starts reach."""


def choose_starts(case: Case, count: int | None, seed: int, reach: float | None = None) -> list[Start]:
    """``count`` starts of a case, sorted by initial mTRE.

    Up to the number of listed starts: evenly spaced over those sorted by initial mTRE (None: all). Beyond it: all
    listed ones and the rest drawn with ``seed``, up to the listed reach, or 60 mm. With ``reach``, in mm, all are
    drawn, as many in each 5 mm bin below it. A larger count keeps the draws of a smaller.
    """
    truth, targets = truth_of(case)
    if reach is not None:
        drawn = draw_binned_starts(truth, targets, count or 0, reach, seed)
        named = [Start(f"{reach:g}mm-seed{seed}-{start.name}", start.pose, start.initial_mtre) for start in drawn]
        return sorted(named, key=lambda start: start.initial_mtre)
    listed = [Start(name, pose, mtre(pose, truth, targets)) for name, pose in case.starts]
    listed.sort(key=lambda start: start.initial_mtre)
    if count is None:
        count = len(listed)
    if count < 1:
        raise InputError(f"Case '{case.name}' lists no starts; ask for some with --starts N.")
    if count <= len(listed):
        picked = [(2 * i + 1) * len(listed) // (2 * count) for i in range(count)]
        return [listed[i] for i in picked]
    reach = BIN_WIDTH * math.ceil(listed[-1].initial_mtre / BIN_WIDTH) if listed else DEFAULT_REACH
    drawn = draw_starts(truth, targets, count - len(listed), reach, zlib.crc32(case.name.encode()) ^ seed)
    drawn = [Start(f"seed{seed}-{start.name}", start.pose, start.initial_mtre) for start in drawn]
    return sorted([*listed, *drawn], key=lambda start: start.initial_mtre)


def truth_of(case: Case) -> tuple[Tensor, Tensor]:
    """(ground truth (4, 4), targets (N, 3)) of a case; raises InputError where it has none to measure against."""
    if case.ground_truth is None or case.targets is None:
        lacking = "ground_truth" if case.ground_truth is None else "targets"
        raise InputError(f"Case '{case.name}' has no {lacking} in its case.json, so nothing can be measured on it.")
    return case.ground_truth, case.targets
