"""study.html: an evaluation on somebody's own data, in one file with tables, plots and pictures of the failures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..engine.atomic import write_text
from ..engine.geometry_file import View
from ..engine.landmarks import Landmark
from ..engine.volume import Volume
from ..engine.xray import XRay
from . import html_page as page
from .fiducials import FiducialRow, FiducialSummary, summarise_fiducials
from .marker_pictures import CAPTION as MARKERS_CAPTION
from .marker_pictures import marker_picture
from .overlay import REFERENCE_COLOUR, RESULT_COLOUR, ViewPicture, bone_renderer, footprint
from .pose_log import Key, LoggedPoses
from .published import CAPTION, PUBLISHED
from .records import JOINT, Record
from .report_parts import geometry_section, today, versions_line, volume_rows
from .tables import EXPLANATION, HEADINGS, Summary, cells, seconds_note, share, summarise

FILE_NAME = "study.html"
MOST_PICTURES = 24
_THUMBNAIL, _PICTURE, _VOXELS = 300, 520, 4_000_000


@dataclass(frozen=True)
class StudyContent:
    """What a report tells. reference_kind: in words, where the pose that counts as the truth comes from.

    settings: further lines (name, value). landmarks: the markers of ``fiducials``.
    missing: registrations that an interruption left undone.
    """

    volume: Volume
    views: Sequence[View]
    xrays: Sequence[XRay]
    reference: Tensor
    reference_kind: str
    settings: Sequence[tuple[str, str]]
    records: Sequence[Record]
    poses: Mapping[Key, LoggedPoses]
    fiducials: Sequence[FiducialRow] = ()
    landmarks: Sequence[Landmark] = ()
    missing: int = 0
    jobs: int = 1
    threads: int = 1


def write_study_report(folder: Path, content: StudyContent) -> Path:
    """Write study.html beside the plots of an evaluation (success.png, errors.png)."""
    renderer = bone_renderer(content.volume, _VOXELS)
    summaries = summarise(content.records)
    parts = [
        _question(content),
        _reference(content, renderer),
        _result(folder, content, summaries),
        _bins(summaries),
    ]
    if content.fiducials:
        parts.append(_fiducials(content, renderer))
    parts += [
        _failures(content, renderer),
        _every_start(content.records),
        _published(),
        geometry_section(content.views),
        page.section("CT", page.table(("", ""), volume_rows(content.volume))),
    ]
    text = page.page("Study of a registration", f"Made {today()}", parts, f"Made by {versions_line()}.")
    path = folder / FILE_NAME
    write_text(path, text)
    return path


def _question(content: StudyContent) -> str:
    told = []
    if content.missing:
        told.append(page.paragraph(f"Interrupted: {content.missing} registrations are missing.", "alarm"))
    told.append(page.table(("", ""), content.settings))
    told.append(
        page.paragraph(
            "Each registration begins at a random pose; its distance from the reference is the mean target "
            "registration error (mTRE) of points on the bones. The end is measured by the mean reprojection distance "
            "(mRPD), which a single view can show, and by the mTRE, which includes the depth. A success ends at mRPD "
            "of 2 mm or less."
        )
    )
    return page.section("What was measured", *told)


def _reference(content: StudyContent, renderer) -> str:
    pictures = []
    for xray in content.xrays:
        view = ViewPicture(renderer, xray, footprint(renderer, xray.camera, [content.reference]), _PICTURE)
        drawn = view.drawn(content.reference, REFERENCE_COLOUR)
        pictures.append(page.figure(drawn, f"{xray.name}: the reference", f"{xray.name}, at the reference", photo=True))
    return page.section(
        "The reference",
        page.paragraph(f"It comes from: {content.reference_kind}."),
        page.paragraph("If these outlines do not lie on the bones, none of the figures below mean anything.", "alarm"),
        page.figures(pictures),
    )


def _result(folder: Path, content: StudyContent, summaries: Sequence[Summary]) -> str:
    # A column for each method: twelve columns of figures would not fit on a page.
    columns = [(s.method, s.preset, s.views, *cells(s)) for s in summaries]
    head, *rows = zip(("", "preset", "views", *HEADINGS), *columns, strict=True)
    note = f"{EXPLANATION} {seconds_note(content.jobs, content.threads)}"
    return page.section(
        "Result",
        page.table(head, rows),
        page.paragraph(note, "dim"),
        page.figure(folder / "success.png", "success against the start's distance"),
        page.figure(folder / "errors.png", "histogram of the final errors"),
    )


def _bins(summaries: Sequence[Summary]) -> str:
    rows = [
        (
            s.method,
            s.views,
            f"{b.low_mm:.0f} to {b.high_mm:.0f}",
            b.runs,
            b.successes,
            share(b.success_rate, b.interval),
        )
        for s in summaries
        for b in s.bins
    ]
    head = ("method", "views", "start, mm mTRE", "runs", "successes", "SR % (95 % interval)")
    return page.section("Success by the start's distance", page.table(head, rows, numbers=(3, 4)))


def _fiducials(content: StudyContent, renderer) -> str:
    head = ("method", "views", "marker", "X-ray", "without", "with", "with, successes", "at the reference")
    numbers = {mark.name: f"{number} {mark.name}" for number, mark in enumerate(content.landmarks, start=1)}
    told = [_fiducial_cells(summary, numbers) for summary in summarise_fiducials(content.fiducials)]
    return page.section(
        "Markers",
        page.paragraph(
            "How far each marker of the CT is seen from its click: medians over all starts, in pixels (mm at the "
            "depth of the marker), without the registration (at the start) and with it. What is left at the "
            "reference is the error of the clicks, the geometry and the reference itself."
        ),
        page.table(head, told),
        page.figures(_marker_figures(content, renderer)),
    )


def _marker_figures(content: StudyContent, renderer) -> list[str]:
    figures = []
    for index, xray in enumerate(content.xrays):
        if not any(index in mark.clicks for mark in content.landmarks):
            continue
        view = ViewPicture(renderer, xray, footprint(renderer, xray.camera, [content.reference]), _PICTURE)
        drawn = marker_picture(view, content.views[index].camera, index, content.landmarks, content.reference)
        words = f"{xray.name}, {MARKERS_CAPTION}"
        figures.append(page.figure(drawn, words, words, photo=True))
    return figures


def _fiducial_cells(s: FiducialSummary, numbers: Mapping[str, str]) -> list[str]:
    pairs = (s.before, s.after, s.after_success, s.reference)
    shown = [f"{px:.1f} px ({mm:.2f} mm)" if math.isfinite(px) else "-" for px, mm in pairs]
    return [s.method, s.view, numbers.get(s.landmark, s.landmark), s.xray, *shown]


def _failures(content: StudyContent, renderer) -> str:
    failures = sorted((r for r in content.records if not r.success), key=lambda r: r.initial_mtre_mm)
    if not failures:
        return page.section("Failures", page.paragraph("None.", "good"))
    shown, pictures = 0, []
    for record in failures:
        logged = content.poses.get(record.key)
        if logged is None or logged.after is None or shown >= MOST_PICTURES:
            continue
        shown += 1
        pictures += _failure_pictures(content, renderer, record, logged)
    head = ("method", "view", "start", "start mm", "final mRPD", "final mTRE", "ended as", "confidence", "s")
    rows = [
        (r.method, r.view, r.start_id, f"{r.initial_mtre_mm:.1f}", _mm(r.final_mrpd_mm), _mm(r.final_mtre_mm), r.status,
         _percent(r.confidence), _mm(r.seconds))
        for r in failures
    ]  # fmt: skip
    told = sum(record.status == "unreliable" or record.status == "failed" for record in failures)
    parts = [
        page.paragraph(f"{len(failures)} of {len(content.records)} registrations; the program itself doubted {told}."),
        page.table(head, rows, numbers=(3, 4, 5, 7, 8)),
    ]
    if pictures:
        words = "Where they ended (blue) and the reference (orange)"
        more = f"; the {shown} nearest starts" if shown < len(failures) else ""
        parts += [page.subtitle(f"{words}{more}"), page.figures(pictures, small=True)]
    return page.section("Failures", *parts)


def _failure_pictures(content: StudyContent, renderer, record: Record, logged: LoggedPoses) -> list[str]:
    pictures = []
    for xray in content.xrays:
        if record.view not in (JOINT, xray.name):
            continue
        cut = footprint(renderer, xray.camera, [content.reference])
        view = ViewPicture(renderer, xray, cut, _THUMBNAIL)
        drawn = view.drawn_over([(content.reference, REFERENCE_COLOUR), (logged.after, RESULT_COLOUR)])
        words = (
            f"{record.method}, {xray.name}, start {record.start_id} at {record.initial_mtre_mm:.1f} mm: "
            f"mRPD {_mm(record.final_mrpd_mm)} mm, {record.status}"
        )
        pictures.append(page.figure(drawn, words, words, photo=True))
    return pictures


def _every_start(records: Sequence[Record]) -> str:
    ordered = sorted(records, key=lambda r: (r.method, r.view, r.initial_mtre_mm))
    rows = [
        (r.method, r.view, r.start_id, f"{r.initial_mtre_mm:.1f}", _mm(r.final_mrpd_mm), _mm(r.final_mtre_mm),
         page.Safe('<span class="good">yes</span>' if r.success else '<span class="alarm">no</span>'), r.status,
         _percent(r.confidence), _mm(r.seconds))
        for r in ordered
    ]  # fmt: skip
    head = ("method", "view", "start", "start mm", "final mRPD", "final mTRE", "success", "ended as", "confidence", "s")
    return page.section("Every registration", page.table(head, rows, numbers=(3, 4, 5, 8, 9)))


def _published() -> str:
    rows = [(e.system, e.mrpd_mm or "-", f"{e.success_percent:g}", e.capture_mm, e.seconds or "-") for e in PUBLISHED]
    return page.section(
        "The paper's own figures",
        page.paragraph(CAPTION, "dim"),
        page.table(("system", "mRPD mm", "SR %", "CR mm", "s"), rows, numbers=(2,)),
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else "-"


def _mm(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"
