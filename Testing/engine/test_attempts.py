"""Which attempts a registration makes, and from where."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from DeepReg2D3DLib.engine.attempts import Attempt, is_better, planned_attempts
from DeepReg2D3DLib.engine.confidence import SURE_LEAD, Confidence, light_of, no_confidence
from DeepReg2D3DLib.engine.iteration import Iteration, Outcome, kept
from DeepReg2D3DLib.engine.presets import ACCURATE, FAST, PAPER, with_automatic_start
from DeepReg2D3DLib.engine.search import SearchSettings
from DeepReg2D3DLib.engine.structure_registration import NEAR as NEARBY
from DeepReg2D3DLib.engine.structure_registration import near_preset
from DeepReg2D3DLib.engine.wide_search import WideSettings

NEAR, FAR, ALL_AROUND = SearchSettings(candidates=3), SearchSettings(candidates=4), WideSettings()


@pytest.mark.parametrize("sees_far", [False, True])
def test_without_a_search_there_is_one_attempt(sees_far):
    assert planned_attempts(replace(ACCURATE, search=None), sees_far) == [Attempt()]
    assert planned_attempts(PAPER, sees_far) == [Attempt()]


def test_a_method_that_sees_far_begins_without_a_search_and_one_that_does_not_with_its_own():
    preset = replace(ACCURATE, search=NEAR, again=(FAR,), last_resort=ALL_AROUND)
    last = [Attempt(NEAR, ALL_AROUND), Attempt(FAR, goes_on=True)]
    assert planned_attempts(preset, True) == [Attempt(), Attempt(FAR), *last]
    assert planned_attempts(preset, False) == [Attempt(NEAR), Attempt(FAR), *last]


def test_without_further_searches_the_first_one_serves():
    assert planned_attempts(FAST, True) == [Attempt(), Attempt(FAST.search)]
    assert planned_attempts(FAST, False) == [Attempt(FAST.search)]


def test_the_automatic_start_looks_all_around_first_and_goes_on_from_there():
    preset = with_automatic_start(ACCURATE)
    for sees_far in (False, True):
        assert planned_attempts(preset, sees_far) == [
            Attempt(preset.search, preset.wide),
            Attempt(ACCURATE.again[-1], goes_on=True),
        ]
    assert planned_attempts(with_automatic_start(FAST), True) == [Attempt(FAST.search, WideSettings())]


def test_a_structure_that_is_nearly_in_place_is_looked_for_nowhere_else():
    near = near_preset(ACCURATE)
    assert planned_attempts(near, True) == [Attempt(), Attempt(NEARBY)]
    assert planned_attempts(near, False) == [Attempt(NEARBY)]
    assert near.other_places == 0 < ACCURATE.other_places


def record(index: int, confidence: Confidence | None = None, **more) -> Iteration:
    return Iteration(index, torch.eye(4, dtype=torch.float64), 1.0, 100, 0.5, 0.1, (), confidence=confidence, **more)


def judged(probability: float, in_doubt: bool = True) -> Confidence:
    signals = {"lead": 0.5 * SURE_LEAD if in_doubt else 1.0}
    return Confidence(probability, light_of(probability), ("made up",), signals, {"similarity": 0.4})


def outcome(confidence: Confidence) -> Outcome:
    return Outcome(record(5), "converged", confidence)


def test_the_better_of_two_attempts():
    doubtful = outcome(judged(0.93))
    assert is_better(doubtful, None)
    assert is_better(outcome(judged(0.91, in_doubt=False)), doubtful)  # nothing rivals it
    assert not is_better(outcome(judged(0.96)), doubtful) and is_better(outcome(judged(0.99)), doubtful)
    given_up = outcome(no_confidence("nothing there"))
    assert is_better(outcome(judged(0.03)), given_up) and not is_better(given_up, outcome(judged(0.03)))
    assert not is_better(given_up, outcome(no_confidence("nothing there either")))


def test_what_is_kept_of_a_stopped_registration():
    first = [record(0), record(1), record(2)]
    assert kept(first) is first[-1]
    ended = record(3, judged(0.7))
    assert kept([*first, ended, record(4), record(5)]) is ended
    better = record(6, judged(0.8))
    assert kept([*first, ended, record(4), better, record(7)]) is better
    lost = record(3, no_confidence("nothing there"))
    onward = record(4)
    assert kept([*first, lost, onward]) is onward
    final = record(5, judged(0.2), final=True, status="unreliable")
    assert kept([*first, ended, final]) is final
