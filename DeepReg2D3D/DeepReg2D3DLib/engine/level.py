"""One resolution of a registration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """One resolution. ``steps`` is an upper bound: the level ends once a step moves little.

    long_side: pixels along the longer side of the region; margin_mm: how far around the CT's projection the region
    reaches; search_px: the largest offset to look for in the first and in the last step.
    """

    long_side: int
    steps: int
    margin_mm: float
    search_px: tuple[float, float]
    damping: tuple[float, float] = (1e-3, 1e-4)
    """In units of trace / 6, in the first and the last step: it holds back depth while offsets are large."""
    least_motion_px: float = 0.1
    """The level ends when the points move less than this, in its pixels, twice."""
