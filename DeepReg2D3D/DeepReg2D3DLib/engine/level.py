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
    least_motion_px: float = 0.25
    """The level ends when a step moves the contours by less than this, in its pixels, as seen in the images."""
    max_points: int = 1000
    """Contour points in each image."""
    settled_points: int | None = None
    """Contour points once a step has moved the contours by less than a pixel (None: as before). What is left then is
    the noise of single correspondences, which more of them average out."""
