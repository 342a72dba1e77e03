"""A picture of an adaptation: what one step leaves on held-out poses, while the network learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..chart import COLOURS, Axis, Chart
from .curves import ticks


def plot_adaptation(curve: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the held-out errors that choose the best moment, over the steps; the first are the installed network's."""
    errors = [(float(entry["step"]), entry["step_mm"]) for entry in curve]
    last, highest = max(1.0, errors[-1][0]), 1.4 * max(value for _, value in errors)
    chart = Chart(
        "Held-out poses of this CT: median error after one step",
        Axis("training step", 0, last, ticks(last)),
        Axis("mm", 0, highest, ticks(highest)),
    )
    chart.level(errors[0][1], "installed network")
    chart.line(errors, COLOURS[0])
    chart.name("adapted network", COLOURS[0])
    chart.save(path)
