"""What a registration tries, one attempt after the other, until a result leaves no doubt about its place."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .iteration import TRUSTED, Outcome
from .presets import Preset
from .search import SearchSettings
from .wide_search import WideSettings


@dataclass(frozen=True)
class Attempt:
    """search: how to look for a better start first (None: not at all); wide: how to look farther before that;
    goes_on: from where the best attempt so far ended, or the one before where none is any good, not from the start;
    place: from this pose (4, 4) ct_to_world."""

    search: SearchSettings | None = None
    wide: WideSettings | None = None
    goes_on: bool = False
    place: Tensor | None = None


CLEARLY_BETTER = 0.05
"""Where both leave doubt, a later attempt replaces an earlier one when its confidence is higher by this much."""


def planned_attempts(preset: Preset, sees_far: bool) -> list[Attempt]:
    """In the order in which they are made. A method that ``sees_far`` begins without any search."""
    if preset.search is None:
        return [Attempt()]
    # A look all around ends nearer to the truth than it began, if not at it: one more search goes on from there.
    nearer = [Attempt(settings, goes_on=True) for settings in preset.again[-1:]]
    if preset.wide is not None:
        return [Attempt(preset.search, preset.wide), *nearer]
    searches = preset.again or (preset.search,) if sees_far else (preset.search, *preset.again)
    attempts = [Attempt()] if sees_far else []
    attempts += [Attempt(settings) for settings in searches]
    if preset.last_resort is not None:
        attempts += [Attempt(preset.search, preset.last_resort), *nearer]
    return attempts


def beginning(attempt: Attempt, start: Tensor, best: Outcome | None, latest: Outcome | None) -> Tensor:
    """The pose (4, 4) from which an attempt begins, after those that came to ``best`` and ``latest``."""
    if attempt.place is not None:
        return attempt.place
    if not attempt.goes_on:
        return start
    return (best if best.confidence.probability > TRUSTED else latest).record.ct_to_world


def is_better(ended: Outcome, best: Outcome | None) -> bool:
    """Whether an attempt's outcome takes the place of the best one before it; both have been judged."""
    if best is None or not ended.confidence.place_in_doubt:
        return True
    if best.confidence.probability == 0.0:  # given up on the way: anything that went to its end says more
        return ended.confidence.probability > 0.0
    return ended.confidence.probability > best.confidence.probability + CLEARLY_BETTER
