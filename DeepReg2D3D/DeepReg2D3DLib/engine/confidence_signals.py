"""The signals of a self-check from which the confidence is computed: each one number, the larger the better.

Every signal is cut off at both ends: one that is as good as good results have it says no more by being better, and one
that is worse than any success cannot be outweighed into nonsense. A signal's words are shown where it speaks against a
result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .self_check import SelfCheck


@dataclass(frozen=True)
class Signal:
    """name: its key in reports; value: from the measurements; worst, best: where it is cut off; words: what a low value
    means, with {value} where a measurement is named."""

    name: str
    value: Callable[[SelfCheck], float]
    worst: float
    best: float
    words: str
    measured: Callable[[SelfCheck], str] = lambda check: ""

    def scaled(self, check: SelfCheck) -> float:
        """0 (worst) to 1 (best)."""
        value = self.value(check)
        if not math.isfinite(value):
            return 0.0
        return (min(max(value, self.worst), self.best) - self.worst) / (self.best - self.worst)

    def reason(self, check: SelfCheck) -> str:
        """The words, with what was measured."""
        return self.words.format(value=self.measured(check))


SIGNALS = (
    Signal(
        "similarity",
        lambda c: c.similarity,
        0.0,
        0.5,
        "the edges of the CT and of the X-ray have little in common (similarity {value})",
        lambda c: f"{c.similarity:.2f}",
    ),
    Signal(
        "lead",
        lambda c: c.similarity - c.elsewhere,
        -0.2,
        0.25,
        "another place in the X-ray fits nearly as well or better, one vertebra further for instance"
        " (similarity there {value})",
        lambda c: f"{c.elsewhere:.2f}",
    ),
    Signal(
        "found",
        lambda c: c.found,
        0.0,
        0.65,
        "few of the CT's contours are found in the X-ray ({value})",
        lambda c: f"{100 * c.found:.0f} %",
    ),
    Signal(
        "offset",
        lambda c: -math.log(max(c.offset_mm, 0.05)),
        -1.2,
        0.7,
        "the contours lie beside those in the X-ray (by {value} in the median)",
        lambda c: f"{c.offset_mm:.1f} mm",
    ),
    Signal(
        "scatter",
        lambda c: -math.log(max(c.scatter_mm, 0.05)),
        -1.2,
        0.7,
        "the correspondences contradict each other (by {value})",
        lambda c: f"{c.scatter_mm:.1f} mm",
    ),
    Signal(
        "summit",
        lambda c: c.similarity - c.nearby,
        -0.1,
        0.15,
        "a pose close by fits as well or better (similarity {value})",
        lambda c: f"{c.nearby:.2f}",
    ),
    Signal(
        "depth",
        lambda c: -abs(c.depth_moved),
        -0.08,
        -0.06,
        "the CT moved along the beam by {value} of its distance from the source: check the source-detector distance and"
        " the pixel spacing, or the start",
        lambda c: f"{100 * abs(c.depth_moved):.0f} %",
    ),
    Signal(
        "geometry",
        lambda c: -abs(c.focal_error),
        -0.045,
        -0.012,
        "the views contradict each other, as if one's source-detector distance were {value}: check the geometry, the"
        " views' poses included",
        lambda c: f"{100 * abs(c.focal_error):.0f} % too {'long' if c.focal_error > 0 else 'short'}",
    ),
)
"""In the order in which reports list them."""
