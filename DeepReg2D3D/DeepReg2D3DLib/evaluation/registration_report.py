"""report.html: one registration for people, in one file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..chart import COLOURS, Axis, Chart
from ..engine.atomic import write_text
from ..engine.geometry_file import View
from ..engine.volume import Volume
from ..lps_ras import PoseNumbers, numbers_from_pose, transform_to_ras
from . import html_page as page
from .report_parts import geometry_section, matrix_text, today, versions_line, volume_rows, without_paths
from .result_pictures import file_labels

FILE_NAME = "report.html"
STATUS_WORDS = {
    "converged": ("Converged", "good"),
    "stopped": ("Stopped at the limit of iterations, still moving a little", ""),
    "unreliable": ("UNRELIABLE: do not use this result", "alarm"),
    "interrupted": ("INTERRUPTED: the pose is the one reached by then", "alarm"),
}


@dataclass(frozen=True)
class ReportInputs:
    """What a report tells beside report.json. files: what a file is ('CT', 'X-ray AP') -> its path, whose name is not
    told; outcome: a key of STATUS_WORDS."""

    volume: Volume
    views: Sequence[View]
    outcome: str
    files: Mapping[str, Path | None] = field(default_factory=dict)


def write_registration_report(folder: Path, report: Mapping[str, Any], inputs: ReportInputs) -> Path:
    """Write report.html beside the pictures of a registration. report: the content of report.json."""
    words, kind = STATUS_WORDS.get(inputs.outcome, (inputs.outcome, ""))
    warnings = without_paths(report["warnings"], inputs.files)
    region = inputs.files.get("region")
    if region is not None and report.get("region") and str(report["region"]) in region.name:
        report = {**report, "region": "that of the file given"}  # named after its file
    parts = [
        page.section(
            "Result",
            page.paragraph(words, kind),
            _summary(report),
            *(page.paragraph(f"Warning: {text}", "alarm") for text in warnings),
        ),
        _pictures(folder, inputs.views),
        _pose(report, inputs.volume),
        _iterations(report),
        geometry_section(inputs.views),
        page.section("CT", page.table(("", ""), volume_rows(inputs.volume))),
    ]
    text = page.page("Registration of a CT to X-rays", f"Made {today()}", parts, f"Made by {versions_line()}.")
    path = folder / FILE_NAME
    write_text(path, text)
    return path


def _summary(report: Mapping[str, Any]) -> str:
    iterations, seconds = report["iterations"], report["seconds"]
    rows: list[tuple[str, str]] = [
        ("method", f"{report['method']}, preset {report['preset']}, on {report['device']}"),
        ("iterations", f"{len(iterations) - 1} in {seconds['register']:.1f} s"),
        ("similarity", " to ".join(f"{iterations[index]['similarity']:.3f}" for index in (0, -1))),
    ]
    if report.get("region"):
        rows.append(("region registered alone", str(report["region"])))
    if report.get("adapted_weights"):
        rows.append(("networks adapted to one CT", ", ".join(report["adapted_weights"])))
    return page.table(("", ""), [*_confidence(report), *rows]) + _views(report)


def _views(report: Mapping[str, Any]) -> str:
    """How well the views agree with each other, where there are several."""
    views = report.get("views")
    if not views:
        return ""
    told = [
        (
            view["name"],
            _shown(view["edge_similarity"], 2),
            _shown(view["edge_similarity_alone"], 2),
            _shown(view["offset_mm"], 2),
        )
        for view in views
    ]
    head = ("view", "edges in common", "at its own best place", "which is off by, mm")
    return page.table(head, told, numbers=(1, 2, 3))


def _confidence(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How far to trust the result, why, and what is sure in each direction."""
    probability = report.get("confidence")
    if probability is None:
        return [("confidence", "not judged, because the run was stopped")]
    light, sure = report.get("confidence_light"), report.get("uncertainty")
    rows = [("confidence", f"{100 * probability:.0f} %" + (f" ({light})" if light else ""))]
    if report.get("confidence_reasons"):
        rows.append(("why", "; ".join(report["confidence_reasons"])))
    if sure:
        across, depth, turn, tilt = (
            _shown(sure[name], 1) for name in ("in_plane_mm", "depth_mm", "turn_in_plane_deg", "turn_out_of_plane_deg")
        )
        told = f"{across} mm in plane, {depth} mm in depth, {turn}° in plane, {tilt}° out of plane"
        rows.append(("one standard deviation", told))
    return rows


def _shown(value: float | None, digits: int) -> str:
    """A number of the report; 'n/a' where it has no value."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def _pictures(folder: Path, views: Sequence[View]) -> str:
    parts = [page.paragraph("Outlines of the CT's bones over the X-ray: orange as it was put, blue as registered.")]
    for view, label in zip(views, file_labels([view.name for view in views]), strict=True):
        pair = [
            page.figure(folder / f"overlay_{label}_{moment}.png", f"{view.name} {moment}", f"{view.name}, {moment}")
            for moment in ("before", "after")
        ]
        parts.append(page.figures(pair))
    return page.section("Before and after", *parts)


def _pose(report: Mapping[str, Any], volume: Volume) -> str:
    centre = volume.centre.numpy()
    poses = [np.array(report["iterations"][index]["ct_to_world"]) for index in (0, -1)]
    numbers = [numbers_from_pose(pose, centre) for pose in poses]
    moved, turned = _motion(poses[0], poses[1], centre)
    rows = [
        _pose_row("start", numbers[0]),
        _pose_row("result", numbers[1]),
    ]
    head = ("", "R mm", "A mm", "S mm", "about R", "about A", "about S")
    return page.section(
        "Pose",
        page.paragraph(f"From start to result the CT's centre moved by {moved:.2f} mm; it turned by {turned:.2f}°."),
        page.table(head, rows, numbers=range(1, 7)),
        page.paragraph(
            "RAS, as 3D Slicer shows it: displacement of the CT's centre from its place at identity, and rotation "
            "about it in degrees, R = Rz Ry Rx.",
            "dim",
        ),
        page.subtitle("CT to world, LPS mm (DICOM, ITK; pose.json)"),
        page.preformatted(matrix_text(poses[1])),
        page.subtitle("CT to world, RAS mm (3D Slicer's transform node)"),
        page.preformatted(matrix_text(transform_to_ras(poses[1]))),
        page.paragraph("pose.tfm holds the inverse of the first, as ITK's files do; Slicer turns it back.", "dim"),
    )  # fmt: skip


def _pose_row(name: str, numbers: PoseNumbers) -> list[str]:
    return [name, *(f"{x:.2f}" for x in numbers.translation), *(f"{x:.2f}" for x in numbers.angles_deg)]


def _motion(before: np.ndarray, after: np.ndarray, centre: np.ndarray) -> tuple[float, float]:
    """How far the centre moved in mm, and by how many degrees the CT turned."""
    shift = after[:3, :3] @ centre + after[:3, 3] - before[:3, :3] @ centre - before[:3, 3]
    cosine = (np.trace(after[:3, :3] @ before[:3, :3].T) - 1) / 2
    return float(np.linalg.norm(shift)), math.degrees(math.acos(float(np.clip(cosine, -1, 1))))


def _iterations(report: Mapping[str, Any]) -> str:
    entries = report["iterations"]
    rows = [
        ("start" if index == 0 else str(index), "" if index == 0 else f"{entry['motion_mm']:.3f}",
         str(entry["points"]) if entry["points"] else "", f"{entry['similarity']:.4f}", f"{entry['seconds']:.2f}")
        for index, entry in enumerate(entries)
    ]  # fmt: skip
    parts = []
    if len(entries) > 1:
        parts.append(page.figure(similarity_chart(entries), "similarity after each iteration"))
    parts.append(page.table(("iteration", "moved mm", "points", "similarity", "seconds"), rows, numbers=range(1, 5)))
    note = "Points: correspondences that count; a step without any is the search for a start. Similarity: gradient NCC."
    return page.section("Iterations", *parts, page.paragraph(note, "dim"))


def similarity_chart(entries: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Similarity over the iterations; jumps belong to changes of resolution."""
    values = [entry["similarity"] for entry in entries]
    low, high = math.floor(10 * min(*values, 0)) / 10, max(0.1, math.ceil(10 * max(values)) / 10)
    step = 0.2 if high - low > 0.5 else 0.1
    ticks = [low + step * i for i in range(round((high - low) / step) + 1)]
    last = len(values) - 1
    every = max(1, math.ceil(last / 12))
    chart = Chart(
        "Similarity of CT and X-ray",
        Axis("iteration", 0, last, range(0, last + 1, every)),
        Axis("gradient NCC", low, high + 0.05 * (high - low), ticks),
        width=640,
        height=300,
    )
    chart.line(list(enumerate(values)), COLOURS[0])
    return chart.image()
