"""A study: the published protocol on somebody's own CT, X-rays and reference pose, resumable, with a report.

The folder holds ``case`` (the anonymised inputs, as ``evaluate`` reads them), the files of an evaluation, fiducials.csv
where markers were given, and study.html.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .case_export import LANDMARKS, CaseContent, fill_case
from .engine.atomic import write_json
from .engine.case_file import load_case
from .engine.device import resolve_device
from .engine.dicom_geometry import Frame
from .engine.errors import InputError
from .engine.folder_lock import folder_lock
from .engine.geometry_file import View, load_geometry
from .engine.json_file import read_record
from .engine.landmark_file import load_landmarks
from .engine.landmarks import Landmark, solve_landmarks
from .engine.methods import get_method
from .engine.metrics import BIN_WIDTH, MINIMUM_PER_BIN
from .engine.pose_file import load_pose
from .engine.view_files import load_views
from .engine.volume_digest import warn_of_another_ct
from .engine.volume_io import load_volume
from .engine.xray_io import load_xray
from .evaluation.fiducials import fiducial_rows, write_fiducials
from .evaluation.fingerprint import digest, networks_in_place
from .evaluation.pose_log import read_poses
from .evaluation.protocol import EvaluationSettings, Told, evaluate, share_cores
from .evaluation.records import JOINT, Record, RecordFile
from .evaluation.study_report import StudyContent, write_study_report

FORMAT = "deepreg2d3d-study"
STUDY, CASE = "study.json", "case"
UNFINISHED = "case.new"
"""The case while it is written, beside the study.json that says whose it is; never without that one."""
SMALLEST_LIMIT, LARGEST_LIMIT = 5.0, 200.0


@dataclass(frozen=True)
class StudyFiles:
    """The inputs. reference: a pose file, or None for the pose that the landmarks give."""

    ct: Path
    geometry: Path | None = None
    images: Sequence[Path] | None = None
    frame: Frame = None
    reference: Path | None = None
    landmarks: Path | None = None


@dataclass(frozen=True)
class StudySettings:
    """How it runs. starts: registrations for each method and view; limit: mm of initial mTRE that they reach.

    views: 'each', 'joint', or None for joint where there are several, as ``register`` does. weights: a folder of
    networks that stand in for the installed ones of the same name.
    """

    out: Path
    methods: tuple[str, ...]
    starts: int = 100
    limit: float = 60.0
    preset: str = "accurate"
    views: str | None = None
    seed: int = 0
    device: str = "auto"
    jobs: int | None = None
    weights: Path | None = None
    told: Told = field(default=lambda done, total, text: None)
    note: Callable[[str], None] = field(default=lambda text: None)


def run_study(files: StudyFiles, settings: StudySettings) -> list[Record]:
    """Do what is still to be done of a study and write its report, also when interrupted; returns all rows.

    Raises InputError before the first registration for inputs that cannot be used, and where the folder holds a study
    of other inputs.
    """
    if not SMALLEST_LIMIT <= settings.limit <= LARGEST_LIMIT:
        raise InputError(f"--limit {settings.limit:g}: expected {SMALLEST_LIMIT:g} to {LARGEST_LIMIT:g} mm.")
    for method in settings.methods:  # what could not run is refused before anything is written
        get_method(method, weights=settings.weights)
    views = load_views(files.geometry, files.images, files.frame)
    mode = settings.views or (JOINT if len(views) > 1 else "each")
    if mode == JOINT and len(views) < 2:
        raise InputError("There is one view only; use --views each.")
    reference, kind = _reference(files, views)
    kind = _prepare_case(files, settings, views, reference, kind)
    if settings.weights is not None:
        warn_of_another_ct(settings.weights, load_volume(load_case(settings.out / CASE).ct))
    evaluation = EvaluationSettings(
        cases=settings.out / CASE,
        out=settings.out,
        methods=settings.methods,
        preset=settings.preset,
        views=mode,
        starts=settings.starts,
        reach=settings.limit,
        seed=settings.seed,
        device=settings.device,
        jobs=settings.jobs,
        weights=settings.weights,
    )
    wanted = MINIMUM_PER_BIN * math.ceil(settings.limit / BIN_WIDTH)
    if settings.starts * (1 if mode == JOINT else len(views)) < wanted:
        settings.note(f"note: a capture range needs {MINIMUM_PER_BIN} runs in each 5 mm bin: {wanted} in all.")
    planned = settings.starts * len(settings.methods) * (1 if mode == JOINT else len(views))
    refused = False
    try:
        return evaluate(evaluation, settings.told)
    except InputError:
        refused = True  # what is there is of another run, and its report stays
        raise
    finally:
        if not refused and (settings.out / "starts.csv").exists():
            settings.note("writing the report ...")
            write_report(settings.out, planned, kind, settings)


def write_report(out: Path, planned: int, kind: str, settings: StudySettings) -> None:
    """study.html and fiducials.csv from what is in a study's folder."""
    case = load_case(out / CASE)
    views = load_geometry(case.geometry)
    cameras = [view.camera for view in views]
    records = RecordFile(out / "starts.csv").read()
    poses = read_poses(out)
    landmarks = _case_landmarks(out / CASE, views)
    rows = fiducial_rows(landmarks, cameras, case.ground_truth, records, poses)
    if rows:
        write_fiducials(rows, out)
    device = resolve_device(settings.device).type
    jobs, threads = share_cores(settings.jobs, device, max(1, planned))
    told = [
        ("methods", ", ".join(dict.fromkeys(f"{r.method} ({r.preset})" for r in records))),
        ("starts", f"{len({r.start_id for r in records})} for each method and view, drawn with seed {settings.seed}"),
        ("reach of the starts", f"0 to {settings.limit:g} mm mTRE"),
        ("views", ", ".join(f"{camera.name} ({camera.columns} x {camera.rows} px)" for camera in cameras)),
        ("targets", f"{len(case.targets)} points on dense bone, on which mTRE and mRPD are averaged"),
        ("device", device),
    ]
    told += [("network in place of the installed one", name) for name in networks_in_place(out)]
    content = StudyContent(
        volume=load_volume(case.ct),
        views=views,
        xrays=[load_xray(view.image, view.camera, view.image_kind) for view in views],
        reference=case.ground_truth,
        reference_kind=kind,
        settings=told,
        records=records,
        poses=poses,
        fiducials=rows,
        landmarks=landmarks,
        missing=max(0, planned - len(records)),
        jobs=jobs,
        threads=threads,
    )
    write_study_report(out, content)


def _reference(files: StudyFiles, views: Sequence[View]) -> tuple[Tensor, str]:
    """The pose that counts as the truth, and where it comes from."""
    if files.reference is not None:
        return load_pose(files.reference), "a pose file"
    if files.landmarks is None:
        raise InputError(
            "A study needs a pose that counts as the truth: --reference with a pose accepted by eye, or --landmarks."
        )
    cameras = [view.camera for view in views]
    solved = solve_landmarks(load_landmarks(files.landmarks, [camera.name for camera in cameras]), cameras)
    return (
        solved.ct_to_world,
        f"markers and their clicks (rms {solved.rms_mm:.2f} mm, depth ± {solved.depth_mm:.1f} mm)",
    )


def _prepare_case(
    files: StudyFiles, settings: StudySettings, views: Sequence[View], reference: Tensor, kind: str
) -> str:
    """Write the case once; refuse another's folder. Returns where the reference comes from."""
    for view in views:
        if view.image is None or not view.image.exists():
            raise InputError(f"View '{view.name}': its image is missing ({view.image}); name the X-rays with --xray.")
    if not files.ct.exists():
        raise InputError(f"{files.ct}: this file or folder does not exist.")
    made_of: dict[str, Any] = {
        "CT": digest([files.ct]),
        "geometry": [view.camera.projection_matrix.tolist() for view in views],
        "reference": reference.tolist(),
        "seed": settings.seed,
        "limit": settings.limit,
    }
    made_of |= {f"X-ray {view.name}": f"{digest([view.image])} {view.frame} {view.image_kind}" for view in views}
    if files.landmarks is not None:
        made_of["landmarks"] = digest([files.landmarks])
    known = _known_kind(settings.out, made_of)
    if known is not None:
        return known
    settings.note("writing the case ...")
    landmarks: Sequence[Landmark] = ()
    if files.landmarks is not None:
        landmarks = load_landmarks(files.landmarks, [view.name for view in views])
    content = CaseContent("study", load_volume(files.ct), views, reference, None, landmarks)
    with folder_lock(settings.out):
        known = _known_kind(settings.out, made_of)  # of one that began meanwhile
        if known is not None:
            return known
        _write_whole_case(content, settings, {"reference_kind": kind, "made_of": made_of})
    return kind


def _known_kind(out: Path, made_of: dict[str, Any]) -> str | None:
    """Where the reference of the folder's study comes from; None where its case is still to be written.

    A study.json without anything else is that of a try that ended while it wrote the case: any study may begin there.
    Raises InputError where the folder holds another study, or something else.
    """
    path = out / STUDY
    begun = any((out / name).exists() for name in ("starts.csv", CASE))
    if not path.exists():
        if begun or (out / UNFINISHED).exists():
            raise InputError(f"{out}: holds something else; choose another --out.")
        return None
    record = read_record(path, FORMAT)
    if not begun:
        return None
    before = record.get("made_of")
    if not isinstance(before, dict):
        raise record.error("expected an object; choose another --out", "made_of")
    changed = [key for key in sorted({*made_of, *before}) if made_of.get(key) != before.get(key)]
    if changed:
        raise InputError(f"{out}: holds a study with another {' and '.join(changed)}; choose another --out.")
    return record.text("reference_kind") if (out / CASE).exists() else None


def _write_whole_case(content: CaseContent, settings: StudySettings, description: dict[str, Any]) -> None:
    """study.json and the case, which is there when it is whole; within the folder's lock, after ``_known_kind``."""
    unfinished = settings.out / UNFINISHED
    # First, as the mark by which a later try knows that what is unfinished beside it may be removed.
    write_json(settings.out / STUDY, {"format": FORMAT, "version": 1, **description})
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        fill_case(content, unfinished, settings.note)
        os.replace(unfinished, settings.out / CASE)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _case_landmarks(folder: Path, views: Sequence[View]) -> list[Landmark]:
    path = folder / LANDMARKS
    return load_landmarks(path, [view.name for view in views]) if path.exists() else []
