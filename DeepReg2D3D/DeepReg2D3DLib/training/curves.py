"""A picture of how a training job went, from its log."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..chart import COLOURS, Axis, Chart
from .trainer import read_log

TRAINING = (("start", "before: flow along the normals"), ("normal", "after: its error, training samples"))
VALIDATION = (
    ("coarse_normal", "its error, held-out CTs, coarse level"),
    ("fine_normal", "its error, held-out CTs, fine level"),
)


def plot_curves(folder: Path) -> Path | None:
    """Write ``curves.png`` in a job's folder; None where its log holds nothing to draw yet."""
    curves: list[tuple[str, list[tuple[float, float]]]] = []
    records = list(read_log(folder))
    for key, label in TRAINING:
        curves.append((label, _points(records, key)))
    checked = [record | record["validation"] for record in records if "validation" in record]
    for key, label in VALIDATION:
        curves.append((label, _points(checked, key)))
    curves = [(label, points) for label, points in curves if points]
    if not curves:
        return None
    last = max(points[-1][0] for _, points in curves)
    highest = max(value for _, points in curves for _, value in points)
    chart = Chart(
        "Flow along the contours' normals", Axis("step", 0, last, ticks(last)), _axis("pixels", 1.05 * highest)
    )
    for index, (label, points) in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        chart.line(points, colour)
        chart.name(label, colour)
    path = folder / "curves.png"
    chart.save(path)
    return path


def _points(records: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(float(r["step"]), float(r[key])) for r in records if key in r and math.isfinite(r[key])]


def _axis(name: str, top: float) -> Axis:
    return Axis(name, 0, top, ticks(top))


def ticks(top: float) -> list[float]:
    """At most eight round numbers from 0 to ``top``."""
    step = 10.0 ** math.floor(math.log10(max(top, 1e-6) / 8))
    for factor in (1, 2, 5, 10):
        if top / (factor * step) <= 8:
            step *= factor
            break
    return [i * step for i in range(int(top / step) + 1)]
