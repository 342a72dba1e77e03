"""A study in the scene: its registrations as a table that grows, and a chart of where they began and ended."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import vtk

from ..i18n import tr as _
from .cleanup import add, remove

NUMBERS = ("initial_mtre_mm", "final_mrpd_mm", "final_mtre_mm", "success", "seconds")
TEXTS = ("view", "method", "start_id", "status")
_GOOD, _BAD = (0.0, 0.45, 0.70), (0.84, 0.37, 0.0)
_SHOWN_MM = 20.0
"""Errors beyond this are drawn here: how far off a failure ended matters little, and would flatten the rest."""


def read_rows(path: Path) -> list[dict]:
    """The rows of starts.csv that are written whole: texts and numbers (NaN where empty)."""
    try:
        content = path.read_bytes()
    except OSError:
        return []
    whole = content[: content.rfind(b"\n") + 1].decode("utf-8", "replace")
    rows = []
    for row in csv.DictReader(io.StringIO(whole)):
        try:
            numbers = {name: float(row[name]) if row[name] else math.nan for name in NUMBERS}
        except (KeyError, TypeError, ValueError):
            continue
        rows.append({name: row.get(name) or "" for name in TEXTS} | {"case": row.get("case"), **numbers,
                    "preset": row.get("preset") or ""})  # fmt: skip
    return rows


def final_pose(folder: Path, row: dict) -> np.ndarray | None:
    """Where a registration ended, ct_to_world (4, 4) LPS; None where it failed or the log does not have it."""
    key = [row["case"], row["view"], row["method"], row["preset"], row["start_id"]]
    try:
        lines = (folder / "poses.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("key") == key:
            return None if entry["after"] is None else np.array(entry["after"], dtype=np.float64)
    return None


def read_summary(folder: Path) -> list[dict]:
    """The rows of table.json: method, runs, success_rate, success_interval, capture_range_mm, ...; empty without it."""
    try:
        return list(json.loads((folder / "table.json").read_text(encoding="utf-8"))["rows"])
    except (OSError, ValueError, KeyError):
        return []


class StudyRecord:
    """A table node and a chart, filled with rows; both are saved with the scene."""

    def __init__(self, scene, name: str) -> None:
        self._scene = scene
        self.table = add(scene, "vtkMRMLTableNode", name, "study", helper=False)
        for column in (*TEXTS, *NUMBERS, "shown_mrpd_mm", "good", "bad"):
            array = vtk.vtkStringArray() if column in TEXTS else vtk.vtkDoubleArray()
            array.SetName(column)
            self.table.GetTable().AddColumn(array)
        self.chart = add(scene, "vtkMRMLPlotChartNode", f"{name} chart", "study", helper=False)
        self.chart.SetTitle(_("Study"))
        self.chart.SetXAxisTitle(_("Start, mm mTRE"))
        self.chart.SetYAxisTitle(_("End, mm mRPD (at most {most:.0f})").format(most=_SHOWN_MM))
        self._series = []
        for column, title, color in (("good", _("Success"), _GOOD), ("bad", _("Failure"), _BAD)):
            series = add(scene, "vtkMRMLPlotSeriesNode", title, "study", helper=False)
            series.SetAndObserveTableNodeID(self.table.GetID())
            series.SetXColumnName("initial_mtre_mm")
            series.SetYColumnName(column)
            series.SetPlotType(series.PlotTypeScatter)
            series.SetMarkerStyle(series.MarkerStyleCircle)
            series.SetLineStyle(series.LineStyleNone)
            series.SetColor(*color)
            self.chart.AddAndObservePlotSeriesNodeID(series.GetID())
            self._series.append(series)

    @property
    def count(self) -> int:
        return self.table.GetTable().GetNumberOfRows()

    def show_rows(self, rows: list[dict]) -> None:
        """Add the rows beyond those that are there."""
        table = self.table.GetTable()
        for row in rows[self.count :]:
            for name in TEXTS:
                table.GetColumnByName(name).InsertNextValue(row[name])
            for name in NUMBERS:
                table.GetColumnByName(name).InsertNextValue(row[name])
            end = row["final_mrpd_mm"]
            shown = min(end, _SHOWN_MM) if math.isfinite(end) else _SHOWN_MM
            success = bool(row["success"])
            table.GetColumnByName("shown_mrpd_mm").InsertNextValue(shown)
            # A point outside the axes stands for none: charts draw NaN at zero.
            table.GetColumnByName("good").InsertNextValue(shown if success else -1.0)
            table.GetColumnByName("bad").InsertNextValue(-1.0 if success else shown)
        self.chart.SetYAxisRangeAuto(False)
        self.chart.SetYAxisRange(0.0, _SHOWN_MM + 0.5)
        table.Modified()
        self.table.Modified()

    def show(self, plot_view_node) -> None:
        """Show the chart in a plot view (nothing happens where there is none)."""
        if plot_view_node is not None:
            plot_view_node.SetPlotChartNodeID(self.chart.GetID())

    def remove(self) -> None:
        """Take all of it out of the scene."""
        remove(self._scene, self.chart, *self._series, self.table)
