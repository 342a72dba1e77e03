"""What long work tells, and how it is ended."""

import pytest
import torch
from DeepReg2D3DLib.engine.presets import ACCURATE, with_automatic_start
from DeepReg2D3DLib.engine.registration import register
from DeepReg2D3DLib.engine.watch import LOOKING, watched_by, working_on
from DeepReg2D3DLib.evaluation.trials import prepared_case


class Enough(Exception):
    """What a watcher ends the work with."""


def test_work_that_nobody_watches_goes_on():
    working_on("digging")


def test_only_what_is_done_inside_is_told_and_to_the_nearest():
    outer, inner = [], []
    with watched_by(outer.append):
        working_on("digging")
        with watched_by(inner.append):
            working_on("sifting")
        with pytest.raises(Enough), watched_by(_end):
            working_on("burning")
        working_on("filling")
    working_on("resting")
    assert (outer, inner) == (["digging", "filling"], ["sifting"])


def _end(words):
    raise Enough


@pytest.mark.parametrize("preset", [ACCURATE, with_automatic_start(ACCURATE)], ids=["search", "all around"])
def test_a_search_can_be_ended_after_a_part_of_it(small_case, preset):
    case, _, xrays, setup = prepared_case(small_case, "cpu")
    told = []

    def watch(words):
        told.append(words)
        if len(told) == 3:
            raise Enough

    start = torch.as_tensor(case.starts[0][1])
    run = register(None, xrays[:1], start, method="dppc", preset=preset, setup=setup)
    with watched_by(watch), pytest.raises(Enough):
        for _ in run:
            pass
    assert told == [LOOKING] * 3
