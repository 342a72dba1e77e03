"""The table of an evaluation, for people (Markdown) and programs (JSON), with the paper's figures beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median, pstdev

from ..engine.atomic import write_json, write_text
from ..engine.metrics import BIN_WIDTH, capture_range, wilson_interval
from ..engine.report import versions
from .published import CAPTION, PUBLISHED
from .records import JOINT, Record

FORMAT = "deepreg2d3d-table"


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation and median of a measure, None where there is nothing to take them of."""

    mean: float | None
    sd: float | None
    median: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of the values that are numbers (a crash has none)."""
        finite = [value for value in values if math.isfinite(value)]
        return cls(fmean(finite), pstdev(finite), median(finite)) if finite else cls(None, None, None)


@dataclass(frozen=True)
class Bin:
    """Successes among the runs that start at low to high mm mTRE; interval is Wilson's, 95 %."""

    low_mm: float
    high_mm: float
    runs: int
    successes: int
    success_rate: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """The rows of one method, preset and view mode, pooled.

    capture_range_mm: None is 'n/a' (a deciding bin holds under 20 rows). failed: crashes and refusals, which count as
    failures and have no errors. seconds: of the registration alone. flagged_failures and flagged_successes: how many
    of each the program itself called unreliable (a refusal counts).
    """

    method: str
    preset: str
    views: str
    runs: int
    successes: int
    failed: int
    success_rate: float
    success_interval: tuple[float, float]
    capture_range_mm: float | None
    mrpd_success_mm: Spread
    mrpd_all_mm: Spread
    mtre_success_mm: Spread
    mtre_all_mm: Spread
    seconds: Spread
    flagged_failures: int
    flagged_successes: int
    bins: tuple[Bin, ...]


def summarise(records: Sequence[Record]) -> list[Summary]:
    """One summary per method, preset and view mode, in the order in which they first appear."""
    pools: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        pools.setdefault((record.method, record.preset, view_mode(record)), []).append(record)
    return [_summary(*key, rows) for key, rows in pools.items()]


def view_mode(record: Record) -> str:
    """'joint' or 'each'."""
    return JOINT if record.view == JOINT else "each"


def success_bins(records: Sequence[Record]) -> tuple[Bin, ...]:
    """Success by initial mTRE in bins [5k, 5k + 5) mm; bins without a run are left out."""
    pools: dict[int, list[Record]] = {}
    for record in records:
        pools.setdefault(int(record.initial_mtre_mm // BIN_WIDTH), []).append(record)
    bins = []
    for index, rows in sorted(pools.items()):
        good = sum(record.success for record in rows)
        interval = wilson_interval(good, len(rows))
        bins.append(Bin(index * BIN_WIDTH, (index + 1) * BIN_WIDTH, len(rows), good, good / len(rows), interval))
    return tuple(bins)


def write_tables(out: Path, records: Sequence[Record], *, jobs: int, threads: int, missing: int) -> None:
    """Write table.md and table.json. missing: registrations that an interruption left undone."""
    summaries = summarise(records)
    cases = [(*key, _summary(*key[2:], rows)) for key, rows in _by_case(records).items()]
    note = seconds_note(jobs, threads)
    content = {
        "format": FORMAT,
        "version": 1,
        "complete": missing == 0,
        "missing_runs": missing,
        "rows": [_row(summary) for summary in summaries],
        "cases": [{"case": case, "view": view, **_row(summary)} for case, view, _, _, _, summary in cases],
        "published": [asdict(entry) for entry in PUBLISHED],
        "published_note": CAPTION,
        "seconds_note": note,
        "versions": versions(),
    }
    write_json(out / "table.json", content)
    write_text(out / "table.md", _markdown(summaries, cases, note, missing))


def seconds_note(jobs: int, threads: int) -> str:
    """What the seconds mean."""
    return (
        f"Seconds are the registration alone, without reading and preparing the CT; {jobs} ran at a time with "
        f"{threads} thread{'s' if threads > 1 else ''} each."
    )


def _by_case(records: Sequence[Record]) -> dict[tuple[str, str, str, str, str], list[Record]]:
    pools: dict[tuple[str, str, str, str, str], list[Record]] = {}
    for record in records:
        key = (record.case, record.view, record.method, record.preset, view_mode(record))
        pools.setdefault(key, []).append(record)
    return dict(sorted(pools.items()))


def _summary(method: str, preset: str, views: str, rows: Sequence[Record]) -> Summary:
    good = [row for row in rows if row.success]
    flagged = [row for row in rows if row.status in ("unreliable", "failed")]
    finals = [row.final_mrpd_mm if row.success or math.isfinite(row.final_mrpd_mm) else math.inf for row in rows]
    return Summary(
        method=method,
        preset=preset,
        views=views,
        runs=len(rows),
        successes=len(good),
        failed=sum(row.status == "failed" for row in rows),
        success_rate=len(good) / len(rows),
        success_interval=wilson_interval(len(good), len(rows)),
        capture_range_mm=capture_range([row.initial_mtre_mm for row in rows], finals),
        mrpd_success_mm=Spread.of(row.final_mrpd_mm for row in good),
        mrpd_all_mm=Spread.of(row.final_mrpd_mm for row in rows),
        mtre_success_mm=Spread.of(row.final_mtre_mm for row in good),
        mtre_all_mm=Spread.of(row.final_mtre_mm for row in rows),
        seconds=Spread.of(row.seconds for row in rows if row.status != "failed"),
        flagged_failures=sum(not row.success for row in flagged),
        flagged_successes=sum(row.success for row in flagged),
        bins=success_bins(rows),
    )


def _row(summary: Summary) -> dict:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(summary).items()}


def _markdown(summaries: Sequence[Summary], by_case: Sequence[tuple], note: str, missing: int) -> str:
    lines = ["# Evaluation", ""]
    if missing:
        lines += [f"**Interrupted: {missing} registrations are missing. The same command goes on.**", ""]
    lines += [_HEAD.format("method | preset | views"), _RULE.format(":-- | :-- | :--")]
    lines += [f"| {s.method} | {s.preset} | {s.views} | {' | '.join(cells(s))} |" for s in summaries]
    lines += [
        "",
        f"{EXPLANATION} {note}",
        "",
        "## Case by case",
        "",
        _HEAD.format("case | view | method | preset"),
        _RULE.format(":-- | :-- | :-- | :--"),
    ]
    lines += [
        f"| {case} | {view} | {method} | {preset} | {' | '.join(cells(s))} |"
        for case, view, method, preset, _, s in by_case
    ]
    lines += [
        "",
        "## Success by initial mTRE",
        "",
        "| method | views | start mm | runs | SR % |",
        "|:--|:--|--:|--:|:--|",
    ]
    for s in summaries:
        lines += [
            f"| {s.method} ({s.preset}) | {s.views} | {b.low_mm:.0f}-{b.high_mm:.0f} | {b.runs} | "
            f"{share(b.success_rate, b.interval)} |"
            for b in s.bins
        ]
    lines += [
        "",
        "## Called unreliable by the program itself",
        "",
        "| method | views | of the failures | of the successes |",
        "|:--|:--|:--|:--|",
    ]
    for s in summaries:
        lines.append(
            f"| {s.method} ({s.preset}) | {s.views} | {s.flagged_failures} of {s.runs - s.successes} | "
            f"{s.flagged_successes} of {s.successes} |"
        )
    lines += [
        "",
        "## The paper's own figures",
        "",
        CAPTION,
        "",
        "| system | mRPD mm | SR % | CR mm | s |",
        "|:--|:--|--:|:--|:--|",
    ]
    lines += [
        f"| {e.system} | {e.mrpd_mm or '-'} | {e.success_percent:g} | {e.capture_mm} | {e.seconds or '-'} |"
        for e in PUBLISHED
    ]
    return "\n".join([*lines, ""])


HEADINGS = (
    "runs",
    "SR %",
    "CR mm",
    "mRPD, successes",
    "mRPD, all",
    "mTRE, successes",
    "mTRE, all",
    "median s",
    "failed",
)
"""Of ``cells``."""
_HEAD = f"| {{}} | {' | '.join(HEADINGS)} |"
_RULE = "| {} | --: | :-- | :-- | :-- | :-- | :-- | :-- | --: | --: |"
EXPLANATION = (
    "SR: share of runs that end at mRPD of 2 mm or less, with Wilson's 95 % interval; crashes and refusals are "
    "failures. CR: highest 5 mm bin of initial mTRE up to which every bin has an SR of 95 % or more; n/a where a bin "
    "that decides holds under 20 runs. mRPD and mTRE in mm: mean ± standard deviation (median)."
)


def cells(s: Summary) -> list[str]:
    """The figures of a summary as texts, under ``HEADINGS``."""
    seconds = "-" if s.seconds.median is None else f"{s.seconds.median:.1f}"
    return [
        str(s.runs),
        share(s.success_rate, s.success_interval),
        _range(s.capture_range_mm),
        *(_spread(x) for x in (s.mrpd_success_mm, s.mrpd_all_mm, s.mtre_success_mm, s.mtre_all_mm)),
        seconds,
        str(s.failed),
    ]


def share(rate: float, interval: tuple[float, float]) -> str:
    return f"{100 * rate:.1f} ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})"


def _range(top: float | None) -> str:
    if top is None:
        return "n/a"
    return "0" if top == 0 else f"{top - BIN_WIDTH:.0f}-{top:.0f}"


def _spread(spread: Spread) -> str:
    return "-" if spread.mean is None else f"{spread.mean:.2f} ± {spread.sd:.2f} ({spread.median:.2f})"
