"""Errors at markers: how far each is seen from its click without the registration (at the start) and with it.

Independent of the pose that counts as the truth, whose own distances stand beside as the least that can be asked for:
they hold the errors of clicking, of the geometry and of the reference itself.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

from torch import Tensor

from ..engine.atomic import write_text
from ..engine.camera import Camera
from ..engine.landmarks import Landmark, clicks_at_pose
from .pose_log import Key, LoggedPoses
from .records import JOINT, Record

FILE_NAME = "fiducials.csv"


@dataclass(frozen=True)
class FiducialRow:
    """One click of one registration; px in the image, mm at the depth of the point. after_*: NaN where it failed.

    view: as in starts.csv; xray: the view in which the click was made.
    """

    method: str
    preset: str
    view: str
    start_id: str
    landmark: str
    xray: str
    before_px: float
    before_mm: float
    after_px: float
    after_mm: float
    reference_px: float
    reference_mm: float
    success: int


@dataclass(frozen=True)
class FiducialSummary:
    """One click over all registrations of a method: medians in px and mm (NaN where there is nothing)."""

    method: str
    view: str
    landmark: str
    xray: str
    before: tuple[float, float]
    after: tuple[float, float]
    after_success: tuple[float, float]
    reference: tuple[float, float]


def fiducial_rows(
    landmarks: Sequence[Landmark],
    cameras: Sequence[Camera],
    reference: Tensor,
    records: Iterable[Record],
    poses: dict[Key, LoggedPoses],
) -> list[FiducialRow]:
    """Of every registration whose poses are known; a single view's counts only the clicks in that view."""
    if not any(mark.clicks for mark in landmarks):
        return []
    at_reference = clicks_at_pose(landmarks, cameras, reference).clicks
    rows = []
    for record in records:
        logged = poses.get(record.key)
        if logged is None:
            continue
        before = clicks_at_pose(landmarks, cameras, logged.before).clicks
        after = None if logged.after is None else clicks_at_pose(landmarks, cameras, logged.after).clicks
        for number, (click, true) in enumerate(zip(before, at_reference, strict=True)):
            xray = cameras[click.view].name
            if record.view not in (JOINT, xray):
                continue
            end = (math.nan, math.nan) if after is None else (after[number].pixels, after[number].mm)
            rows.append(
                FiducialRow(
                    record.method,
                    record.preset,
                    record.view,
                    record.start_id,
                    click.landmark,
                    xray,
                    click.pixels,
                    click.mm,
                    *end,
                    true.pixels,
                    true.mm,
                    record.success,
                )
            )
    return rows


def summarise_fiducials(rows: Sequence[FiducialRow]) -> list[FiducialSummary]:
    """Per method, view and click, in the order of the rows, and over all clicks last (landmark 'all')."""
    pools: dict[tuple[str, str, str, str], list[FiducialRow]] = {}
    for row in rows:
        pools.setdefault((row.method, row.view, row.landmark, row.xray), []).append(row)
    for row in rows:
        pools.setdefault((row.method, row.view, "all", ""), []).append(row)
    groups = list(dict.fromkeys(key[:2] for key in pools))
    order = sorted(pools, key=lambda key: groups.index(key[:2]))
    return [
        FiducialSummary(
            *key,
            _middle(pools[key], "before"),
            _middle(pools[key], "after"),
            _middle([row for row in pools[key] if row.success], "after"),
            _middle(pools[key], "reference"),
        )
        for key in order
    ]


def write_fiducials(rows: Sequence[FiducialRow], folder: Path) -> None:
    """fiducials.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(FiducialRow)]
    writer.writerow(names)
    for row in rows:
        values = [getattr(row, name) for name in names]
        writer.writerow([_written(value) if isinstance(value, float) else value for value in values])
    write_text(folder / FILE_NAME, text.getvalue())


def _written(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""


def _middle(rows: Sequence[FiducialRow], moment: str) -> tuple[float, float]:
    values = [(getattr(row, f"{moment}_px"), getattr(row, f"{moment}_mm")) for row in rows]
    finite = [pair for pair in values if math.isfinite(pair[0])]
    if not finite:
        return math.nan, math.nan
    return median(pair[0] for pair in finite), median(pair[1] for pair in finite)
