"""The plots of an evaluation: success against the start's distance, and how large the final errors are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..chart import COLOURS, Axis, Chart
from ..engine.metrics import BIN_WIDTH, CAPTURE_RATE, SUCCESS_MRPD
from .records import Record
from .tables import Summary, summarise, view_mode

_ERROR_STEP, _ERROR_TOP = 0.25, 5.0  # mm; larger errors are gathered in the last bar


def plot_success(records: Sequence[Record], path: Path) -> None:
    """Success rate in bins of 5 mm of initial mTRE, one line a method, with Wilson's 95 % intervals."""
    summaries = summarise(records)
    top = max((bin_.high_mm for summary in summaries for bin_ in summary.bins), default=60.0)
    edges = [BIN_WIDTH * i for i in range(round(top / BIN_WIDTH) + 1)]
    chart = Chart(
        "Success (mRPD of 2 mm or less) against the start's distance",
        Axis("initial mTRE, mm", 0, top, edges),
        Axis("success rate, %", 0, 105, range(0, 101, 20)),
    )
    chart.level(100 * CAPTURE_RATE, "95 %")
    for index, summary in enumerate(summaries):
        colour = COLOURS[index % len(COLOURS)]
        # Side by side within the bin, so that whiskers of several methods stay apart.
        shift = (index - (len(summaries) - 1) / 2) * min(0.7, 2.5 / len(summaries))
        points = []
        for bin_ in summary.bins:
            at = 0.5 * (bin_.low_mm + bin_.high_mm) + shift
            chart.whisker(at, 100 * bin_.interval[0], 100 * bin_.interval[1], colour)
            points.append((at, 100 * bin_.success_rate))
        chart.line(points, colour)
        chart.name(_label(summary), colour)
    chart.save(path, "left")


def plot_final_errors(records: Sequence[Record], path: Path) -> None:
    """Histogram of final mRPD, one colour a method; the last bar gathers all beyond 5 mm, crashes among them."""
    summaries = summarise(records)
    count = round(_ERROR_TOP / _ERROR_STEP) + 1
    shares = []
    for summary in summaries:
        rows = [
            r for r in records if (r.method, r.preset, view_mode(r)) == (summary.method, summary.preset, summary.views)
        ]
        bars = [0.0] * count
        for row in rows:
            error = row.final_mrpd_mm if math.isfinite(row.final_mrpd_mm) else math.inf
            bars[min(count - 1, int(min(error, _ERROR_TOP) / _ERROR_STEP))] += 100 / len(rows)
        shares.append(bars)
    highest = max(max(bars) for bars in shares) if shares else 100
    step = next(step for step in (1, 2, 5, 10, 20) if highest / step <= 8 or step == 20)
    ticks = range(0, 101, step)
    top = next(tick for tick in [*ticks, 100] if tick >= highest - 1e-9)
    marks = [i * 1.0 for i in range(int(_ERROR_TOP) + 1)]
    chart = Chart(
        "Final errors",
        Axis("final mRPD, mm (last bar: more than 5 mm, or crashed)", 0, count * _ERROR_STEP, marks),
        Axis("share of runs, %", 0, top * 1.08, [tick for tick in ticks if tick <= top]),
    )
    for index, (summary, bars) in enumerate(zip(summaries, shares, strict=True)):
        colour = COLOURS[index % len(COLOURS)]
        width = 0.86 * _ERROR_STEP / len(summaries)
        for place, value in enumerate(bars):
            low = place * _ERROR_STEP + 0.07 * _ERROR_STEP + index * width
            chart.bar(low, low + width, value, colour)
        chart.name(_label(summary), colour)
    chart.limit(SUCCESS_MRPD, "success: 2 mm or less")
    chart.save(path)


def _label(summary: Summary) -> str:
    views = "all views jointly" if summary.views == "joint" else "each view alone"
    return f"{summary.method} ({summary.preset}, {views}), {summary.runs} runs"
