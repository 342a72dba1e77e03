"""The record of a finished run that the parameter node keeps."""

from __future__ import annotations

import math

import numpy as np

from ..mrml.frames import numbers_from_pose

POSES = ("start", "ct_to_world")
"""What of a record is a pose, (4, 4) LPS mm."""


def result_record(finished, iterations, start, pose) -> dict:
    """A dictionary for JSON: no NaN, plain numbers.

    Args:
        finished: the run's `RunResult`.
        iterations: its `IterationResult`s, the start first.
        start: (4, 4) pose before the run, LPS mm.
        pose: the pose controller (centre of the CT).
    """
    report = finished.report or {}
    record = {
        "status": finished.status,
        "text": finished.text,
        **judgement(finished),
        "region": report.get("region"),
        "iterations": int(finished.iterations),
        "seconds": number_or_none(finished.seconds),
        "device": report.get("device"),
        "start": np.asarray(start).tolist() if start is not None else None,
    }
    if iterations:
        record["similarity"] = number_or_none(iterations[-1].similarity)
        record["start_similarity"] = number_or_none(iterations[0].similarity)
    if finished.pose is not None and iterations:
        end = np.asarray(finished.pose, float)
        numbers = numbers_from_pose(end, pose.centre)
        record["ct_to_world"] = end.tolist()
        record["numbers"] = {
            "translation": [float(value) for value in numbers.translation],
            "angles_deg": [float(value) for value in numbers.angles_deg],
        }
        record["moved_mm"], record["turned_deg"] = motion(np.asarray(start, float), end, pose.centre)
    return record


def judgement(finished) -> dict:
    """The part of a record that says how far to trust the run's result, and why."""
    report = finished.report or {}
    return {
        "confidence": number_or_none(report.get("confidence")),
        "light": light_of(finished.status, report),
        "reasons": [str(reason) for reason in report.get("confidence_reasons") or []],
        "uncertainty": {
            name: number
            for name, value in (report.get("uncertainty") or {}).items()
            if (number := number_or_none(value)) is not None
        },
        "warnings": [str(warning) for warning in report.get("warnings") or []],
    }


def light_of(status: str, report: dict) -> str:
    """The traffic light of a result: green, yellow or red. Without a calibrated confidence nothing is green."""
    if status in ("failed", "unreliable"):
        return "red"
    light = report.get("confidence_light")
    return light if light in ("green", "yellow", "red") and status != "cancelled" else "yellow"


def motion(start: np.ndarray, end: np.ndarray, centre) -> tuple[float, float]:
    """Displacement of the CT's centre (mm) and angle of rotation (degrees) between two poses (4, 4)."""
    point = np.append(np.asarray(centre, float), 1.0)
    moved = float(np.linalg.norm((end @ point - start @ point)[:3]))
    cosine = (np.trace(end[:3, :3] @ start[:3, :3].T) - 1.0) / 2.0
    return moved, math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def number_or_none(value) -> float | None:
    """A finite float, else None."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None
