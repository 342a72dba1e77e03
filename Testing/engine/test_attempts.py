"""Which attempts a registration makes, and from where."""

from __future__ import annotations

from dataclasses import replace

import pytest
from DeepReg2D3DLib.engine.attempts import Attempt, planned_attempts
from DeepReg2D3DLib.engine.presets import ACCURATE, FAST, PAPER, with_automatic_start
from DeepReg2D3DLib.engine.search import SearchSettings
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
