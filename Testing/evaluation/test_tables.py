"""Tables and plots from rows whose figures are known by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from DeepReg2D3DLib.evaluation.plots import plot_final_errors, plot_success
from DeepReg2D3DLib.evaluation.records import Record
from DeepReg2D3DLib.evaluation.tables import Spread, success_bins, summarise, write_tables
from PIL import Image


def row(start: float, final: float, method: str = "dppc", view: str = "AP", number: int = 0) -> Record:
    """A row with mTRE twice the mRPD and 2 s; NaN for a crash."""
    crashed = math.isnan(final)
    status = "failed" if crashed else "converged"
    return Record("made", view, method, "accurate", f"{number:03d}", start, 2 * final, final, int(final <= 2), 2.0, 9,
                  status, math.nan)  # fmt: skip


def full_bins(rates) -> list[Record]:
    """20 rows in each 5 mm bin, of which the given number succeed."""
    return [
        row(5 * index + 0.2 * number, 0.5 if number < good else 8.0, number=20 * index + number)
        for index, good in enumerate(rates)
        for number in range(20)
    ]


def test_summary_pools_rows_and_counts_crashes_as_failures():
    (summary,) = summarise([row(1, 0.4), row(2, 0.8), row(6, 3.0), row(7, math.nan)])
    assert (summary.runs, summary.successes, summary.failed, summary.success_rate) == (4, 2, 1, 0.5)
    assert summary.mrpd_success_mm.mean == pytest.approx(0.6)
    assert summary.mrpd_success_mm.sd == pytest.approx(0.2)
    assert summary.mrpd_all_mm.mean == pytest.approx(1.4)
    assert summary.mrpd_all_mm.median == pytest.approx(0.8)
    assert summary.mtre_success_mm.median == pytest.approx(1.2)
    assert summary.seconds.median == 2.0
    assert summary.capture_range_mm is None  # bins of fewer than 20 rows


def test_methods_and_view_modes_are_kept_apart():
    rows = [row(1, 0.4), row(1, 0.4, view="LAT"), row(1, 0.4, view="joint"), row(1, 9.0, method="deep-iterative")]
    found = [(s.method, s.views, s.runs, s.success_rate) for s in summarise(rows)]
    assert found == [("dppc", "each", 2, 1.0), ("dppc", "joint", 1, 1.0), ("deep-iterative", "each", 1, 0.0)]


def test_capture_range_ends_below_the_first_bin_under_95_percent():
    (summary,) = summarise(full_bins([20, 19, 18, 20]))
    assert summary.capture_range_mm == 10.0
    assert [(b.low_mm, b.runs, b.successes) for b in summary.bins] == [
        (0, 20, 20),
        (5, 20, 19),
        (10, 20, 18),
        (15, 20, 20),
    ]


def test_bins_are_closed_below_and_open_above():
    bins = success_bins([row(0.0, 1), row(4.999, 1), row(5.0, 1)])
    assert [(b.low_mm, b.high_mm, b.runs) for b in bins] == [(0, 5, 2), (5, 10, 1)]
    low, high = bins[1].interval
    assert 0 < low < 0.3 and high == pytest.approx(1.0)


def test_spread_of_nothing_has_no_numbers():
    assert Spread.of([math.nan]) == Spread(None, None, None)


def test_what_the_program_called_unreliable_is_counted_by_what_it_was():
    def doubted(final: float) -> Record:
        return replace(row(1, final), status="unreliable")

    (summary,) = summarise([row(1, 0.4), row(1, 7.0), doubted(9.0), doubted(0.5), row(1, math.nan)])
    assert (summary.flagged_failures, summary.flagged_successes) == (2, 1)


def test_files_hold_the_figures_and_no_nan(tmp_path):
    write_tables(tmp_path, [*full_bins([20, 12]), row(3, math.nan, number=99)], jobs=2, threads=1, missing=4)

    def complain(name):
        raise AssertionError(name)

    table = json.loads((tmp_path / "table.json").read_text(), parse_constant=complain)
    assert table["rows"][0]["runs"] == 41 and table["complete"] is False and table["missing_runs"] == 4
    assert table["rows"][0]["mrpd_success_mm"] == {"mean": 0.5, "sd": 0.0, "median": 0.5}
    assert table["published"][-1]["success_percent"] == 97.0
    text = (tmp_path / "table.md").read_text()
    assert "| dppc | accurate | each | 41 | 78.0 (" in text
    assert "| dppc (accurate) | each | 1 of 9 | 0 of 32 |" in text
    assert "0.50 ± 0.00 (0.50)" in text and "4 registrations are missing" in text
    assert "| Proposed | 0.60 ± 0.40 | 97 | 55-60 | 8 |" in text and "the paper's own test data" in text


def test_a_table_of_crashes_alone_can_be_written(tmp_path):
    rows = [row(1, math.nan)]
    write_tables(tmp_path, rows, jobs=1, threads=1, missing=0)
    assert "| 0 |" in (tmp_path / "table.md").read_text() or "n/a" in (tmp_path / "table.md").read_text()
    plot_success(rows, tmp_path / "success.png")
    plot_final_errors(rows, tmp_path / "errors.png")


def dots(path, colour) -> np.ndarray:
    """(N, 2) rows and columns of the pixels of a colour."""
    with Image.open(path) as picture:
        return np.argwhere((np.abs(np.asarray(picture.convert("RGB")).astype(int) - colour) < 6).all(-1))


def test_the_success_plot_draws_each_bin_at_its_height(tmp_path):
    plot_success(full_bins([20, 10, 0]), tmp_path / "success.png")
    blue = dots(tmp_path / "success.png", (0, 114, 178))
    with Image.open(tmp_path / "success.png") as picture:
        width, height = picture.size
    # Axes of 15 mm and 105 % between the margins that the chart keeps.
    left, right, top, bottom = 74, width - 20, 46, height - 62
    for centre, share in ((2.5, 100), (7.5, 50), (12.5, 0)):
        u, v = left + centre / 15 * (right - left), bottom - share / 105 * (bottom - top)
        assert np.hypot(blue[:, 0] - v, blue[:, 1] - u).min() < 2
    assert np.hypot(blue[:, 0] - top - 20, blue[:, 1] - (left + 12.5 / 15 * (right - left))).min() > 60


def test_the_error_plot_shows_shares_and_gathers_the_largest(tmp_path):
    plot_final_errors([row(1, 0.3), row(1, 0.3), row(1, 0.3), row(1, 70.0)], tmp_path / "errors.png")
    blue = dots(tmp_path / "errors.png", (0, 114, 178))
    with Image.open(tmp_path / "errors.png") as picture:
        width, height = picture.size
    left, right, top, bottom = 74, width - 20, 46, height - 62
    per_mm = (right - left) / 5.25
    tallest = {}
    for name, low in (("0.25 to 0.5", 0.25), ("the last", 5.0)):
        inside = (blue[:, 1] > left + (low + 0.05) * per_mm) & (blue[:, 1] < left + (low + 0.2) * per_mm)
        column = blue[inside & (blue[:, 0] > top + 100)]
        tallest[name] = bottom - column[:, 0].min()
    assert tallest["the last"] / (bottom - top) == pytest.approx(25 / (80 * 1.08), abs=0.02)
    assert tallest["0.25 to 0.5"] > tallest["the last"]
