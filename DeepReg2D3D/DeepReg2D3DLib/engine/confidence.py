"""How far to trust a result: one calibrated probability, a traffic light, the reasons in words, and what is sure.

A logistic model over the signals of a self-check, none of which may count against its sense, with coefficients that
were fitted to simulated registrations of known error (see ``confidence_model``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from . import confidence_model as model
from .confidence_signals import SIGNALS
from .self_check import SelfCheck, check_result
from .setup import RegistrationSetup
from .uncertainty import Uncertainty
from .xray import XRay

RED_BELOW, GREEN_FROM = 0.5, 0.9
BETTER_ELSEWHERE = 0.05
"""Where another place fits better than the result by this much in similarity, no other signal can outweigh it."""
BETTER_NEARBY = 0.03
"""The same for a pose close by: of 118 good results that the calibration knows, none has one."""
OVERRULED = 0.05
"""The confidence that is left then."""
SURE_LEAD = 0.8
"""Below this signal of the lead over other places, the result may be one vertebra off."""
RIVAL_SHARE, LEAST_RIVAL = 0.6, 0.15
"""Another place is worth trying from this share of the result's own similarity on, and from this similarity on: the few
plain steps that lead there leave the rest of the way to a registration."""
CONTRADICTION = 0.5
"""Below this signal of their geometry, views contradict each other: no light is green then, however well all fits."""
MOST_REASONS = 3
_NAMED_FROM = 0.5
"""A signal is named as a reason when it costs this much in log odds."""


@dataclass(frozen=True)
class Confidence:
    """probability: that the mRPD is 2 mm or less. light: green, yellow or red (red: do not rely on it). reasons: in
    words, the weightiest first. signals: each from 0 (bad) to 1 (as good as good results have it), by name.
    uncertainty: one standard deviation in each direction, or None where nothing could be measured. other_place: a pose
    (4, 4) ct_to_world elsewhere that fits nearly as well or better, or one close by that fits better, if any. place:
    the probability if nothing spoke against the geometry (None: not told apart)."""

    probability: float
    light: str
    reasons: tuple[str, ...]
    signals: dict[str, float] = field(default_factory=dict)
    measurements: dict[str, float] = field(default_factory=dict)
    uncertainty: Uncertainty | None = None
    other_place: Tensor | None = None
    place: float | None = None

    @property
    def place_in_doubt(self) -> bool:
        """True where a look elsewhere may help: another place fits nearly as well, or the result is not reliable for
        any other reason than the geometry."""
        doubted = not self.reliable if self.place is None else self.place < RED_BELOW
        return doubted or self.signals.get("lead", 0.0) < SURE_LEAD

    @property
    def reliable(self) -> bool:
        """False where the result must not be relied on."""
        return self.light != "red"


def judge_result(
    setup: RegistrationSetup, xrays: Sequence[XRay], ct_to_world: Tensor, start: Tensor | None = None
) -> Confidence:
    """The confidence in a pose (4, 4) ct_to_world of a CT in its X-rays, whatever method found it.

    start: the pose (4, 4) that the user gave, where it means more than an orientation.
    """
    return confidence_of(check_result(setup, xrays, ct_to_world, start))


def confidence_of(check: SelfCheck | None) -> Confidence:
    """The confidence that measurements amount to; None (nothing could be measured) gives none at all."""
    if check is None:
        return no_confidence("hardly any contour of the CT can be compared with the X-ray")
    signals = {signal.name: signal.scaled(check) for signal in SIGNALS}
    probability = probability_of(check, model.WEIGHTS, model.INTERCEPT)
    light = light_of(probability)
    if light == "green" and signals["geometry"] < CONTRADICTION:
        light = "yellow"
    return Confidence(
        probability,
        light,
        _reasons(check, signals, light),
        signals,
        check.numbers(),
        _scaled_uncertainty(check.uncertainty),
        _other_place(check),
        probability_of(replace(check, depth_moved=0.0, focal_error=0.0), model.WEIGHTS, model.INTERCEPT),
    )


def probability_of(check: SelfCheck, weights: Mapping[str, float], intercept: float) -> float:
    """The logistic model's probability, small in any case where the result is plainly not the best place."""
    odds = intercept + sum(weights[signal.name] * signal.scaled(check) for signal in SIGNALS)
    probability = 1 / (1 + math.exp(-odds))
    return min(probability, OVERRULED) if is_overruled(check) else probability


def is_overruled(check: SelfCheck) -> bool:
    """True where the CT fits better at another place of the X-ray, or at a pose close by."""
    return check.elsewhere > check.similarity + BETTER_ELSEWHERE or _fits_better_nearby(check)


def _fits_better_nearby(check: SelfCheck) -> bool:
    return check.nearby > check.similarity + BETTER_NEARBY


def _other_place(check: SelfCheck) -> Tensor | None:
    """Where a registration should be tried from: of the poses that fit better, or nearly as well, the best."""
    if _fits_better_nearby(check) and check.nearby > max(check.elsewhere, LEAST_RIVAL):
        return check.place_nearby
    return check.other_place if _rivals(check) else None


def _rivals(check: SelfCheck) -> bool:
    """Whether the other place fits so well that a registration should be tried from there."""
    return check.elsewhere > max(LEAST_RIVAL, RIVAL_SHARE * check.similarity)


def no_confidence(reason: str) -> Confidence:
    """Red, for a reason that needs no measurement."""
    return Confidence(0.0, "red", (reason,))


def light_of(probability: float) -> str:
    """green, yellow or red."""
    return "red" if probability < RED_BELOW else "yellow" if probability < GREEN_FROM else "green"


def _reasons(check: SelfCheck, signals: dict[str, float], light: str) -> tuple[str, ...]:
    lost = {name: model.WEIGHTS[name] * (1 - value) for name, value in signals.items()}
    ranked = sorted(SIGNALS, key=lambda signal: -lost[signal.name])
    if is_overruled(check):
        why = "summit" if _fits_better_nearby(check) else "lead"
        ranked.sort(key=lambda signal: signal.name != why)
        lost[why] = max(lost[why], _NAMED_FROM)
    named = [signal for signal in ranked if lost[signal.name] >= _NAMED_FROM][:MOST_REASONS]
    if light == "green" and (not named or lost[named[0].name] < 1.0):
        return ("the edges agree, and no other place in the X-ray fits nearly as well",)
    return tuple(signal.reason(check) for signal in named or ranked[:1])


def _scaled_uncertainty(measured: Uncertainty) -> Uncertainty:
    """Standard deviations as successful results have them: scaled, with a floor."""
    return Uncertainty(
        **{
            name: math.hypot(factor * getattr(measured, name), model.FLOOR[name])
            for name, factor in model.SPREAD.items()
        }
    )
