"""The published protocol: register from many starts, measure each result, and sum up in a table and plots.

Metrics, bins and success as in table 1 of Jaganathan et al., MICCAI 2021.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..engine.case_file import Case, find_cases, load_case
from ..engine.device import resolve_device
from ..engine.errors import InputError
from ..engine.folder_lock import folder_lock
from ..engine.geometry_file import load_geometry
from ..engine.methods import get_method
from .fingerprint import check_same_run, fingerprint
from .plots import plot_final_errors, plot_success
from .pose_log import append_poses, mend_log
from .records import JOINT, Record, RecordFile
from .starts import choose_starts
from .tables import write_tables
from .trials import Trial, failed, run_trial
from .worker_pool import work_off

CLASSICAL = "dppc"
Told = Callable[[int, int, str], None]


@dataclass(frozen=True)
class EvaluationSettings:
    """What to evaluate. starts: how many per case and view (None: all listed). views: 'each' or 'joint'.

    reach: draw all starts, evenly in the 5 mm bins below so many mm of initial mTRE (None: those listed come first).
    jobs: processes at a time (None: one a core, a single one on a GPU). weights: a folder of networks that stand in for
    the installed ones of the same name.
    """

    cases: Path
    out: Path
    methods: tuple[str, ...]
    preset: str = "accurate"
    views: str = "each"
    starts: int | None = None
    reach: float | None = None
    seed: int = 0
    device: str = "auto"
    jobs: int | None = None
    weights: Path | None = None


def evaluate(settings: EvaluationSettings, told: Told = lambda done, total, text: None) -> list[Record]:
    """Do what is still to be done of an evaluation; returns all its rows and leaves the files in ``settings.out``.

    starts.csv grows row by row, so the same call after an interruption goes on where it stopped. The table and plots
    are written at the end, and also when the run is interrupted, from the rows that are there. ``told`` hears of each
    row: (done, total, text). Raises InputError before the first registration when cases or methods cannot be used.
    """
    device = resolve_device(settings.device).type
    for method in settings.methods:
        get_method(method, device, settings.weights)
    folders = find_cases(settings.cases)
    trials = plan(folders, settings, device)
    with folder_lock(settings.out):
        return _evaluate_alone(settings, folders, trials, device, told)


def _evaluate_alone(
    settings: EvaluationSettings, folders: Sequence[Path], trials: list[Trial], device: str, told: Told
) -> list[Record]:
    learned = any(method != CLASSICAL for method in settings.methods)
    check_same_run(settings.out, fingerprint(folders, learned, settings.weights))
    file = RecordFile(settings.out / "starts.csv")
    records = file.read()
    known = {record.key: record for record in records}
    for trial in trials:
        record = known.get(trial.key)
        if record is not None and abs(record.initial_mtre_mm - trial.initial_mtre) > 0.01:
            raise InputError(
                f"{file.path}: start {trial.start_id} of {trial.case} was another pose; choose another --out."
            )
    todo = [trial for trial in trials if trial.key not in known]
    total, done = len(trials), len(trials) - len(todo)
    if done:
        told(done, total, f"{done} of {total} registrations are in {file.path} already")
    jobs, threads = share_cores(settings.jobs, device, len(todo))
    mend_log(settings.out)
    try:
        with closing(work_off(todo, run_trial, lambda trial: trial.group, jobs, threads)) as answers:
            for answer in answers:
                outcome = answer.result or failed(answer.task)
                record = outcome.record
                # The poses first: every row of starts.csv has some.
                append_poses(settings.out, answer.task, outcome)
                file.append([record])
                records.append(record)
                done += 1
                told(done, total, _line(record, answer.error))
    finally:
        if records:
            write_results(settings.out, records, jobs=jobs, threads=threads, missing=total - done)
    return records


def plan(folders: Sequence[Path], settings: EvaluationSettings, device: str) -> list[Trial]:
    """Every registration of an evaluation, case by case."""
    trials: list[Trial] = []
    seen: dict[str, Path] = {}
    for folder in folders:
        case = load_case(folder)
        if case.name in seen:
            raise InputError(f"{folder} and {seen[case.name]} hold cases of the same name, '{case.name}'; rename one.")
        seen[case.name] = folder
        starts = choose_starts(case, settings.starts, settings.seed, settings.reach)
        for method in settings.methods:
            for view in _views(case, settings.views):
                for start in starts:
                    pose = tuple(tuple(row) for row in start.pose.tolist())
                    trials.append(
                        Trial(
                            folder,
                            case.name,
                            view,
                            method,
                            settings.preset,
                            device,
                            start.name,
                            pose,
                            start.initial_mtre,
                            settings.weights,
                        )
                    )
    return trials


def write_results(out: Path, records: Sequence[Record], *, jobs: int, threads: int, missing: int) -> None:
    """table.md, table.json, success.png and errors.png from rows."""
    write_tables(out, records, jobs=jobs, threads=threads, missing=missing)
    plot_success(records, out / "success.png")
    plot_final_errors(records, out / "errors.png")


def _views(case: Case, mode: str) -> list[str]:
    views = load_geometry(case.geometry)
    for view in views:
        if view.image is None or not view.image.exists():
            raise InputError(f"Case '{case.name}': the image of view '{view.name}' is missing ({view.image}).")
    if not case.ct.exists():
        raise InputError(f"Case '{case.name}': its CT {case.ct} does not exist.")
    if mode == JOINT:
        if len(views) < 2:
            raise InputError(f"Case '{case.name}' has one view only; use --views each.")
        return [JOINT]
    return [view.name for view in views]


def share_cores(jobs: int | None, device: str, tasks: int) -> tuple[int, int]:
    """(processes, threads in each): one registration a core, since one alone gains little from a second core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs is None:
        jobs = 1 if device == "cuda" else cores
    jobs = max(1, min(jobs, tasks))
    return jobs, max(1, cores // jobs)


def _line(record: Record, error: str | None) -> str:
    what = f"{record.case} {record.view} {record.method} start {record.start_id} ({record.initial_mtre_mm:.1f} mm)"
    if error is not None:
        return f"{what}: failed, {error}"
    return f"{what}: mRPD {record.final_mrpd_mm:.2f} mm, {record.seconds:.1f} s"
