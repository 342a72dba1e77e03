"""One registration as the commands run it: inputs checked, progress told, results written even when interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from .engine.confidence import Confidence
from .engine.device import resolve_device
from .engine.dicom_geometry import Frame
from .engine.errors import InputError
from .engine.folder_lock import folder_lock
from .engine.geometry_file import View
from .engine.iteration import kept
from .engine.methods import Method, get_method
from .engine.presets import Preset, get_preset, with_automatic_start
from .engine.registration import Iteration, register
from .engine.report import RunFacts, Seconds, build_report
from .engine.result_checks import ResultChecks, check_result, in_words
from .engine.setup import RegistrationSetup
from .engine.structure import Structure, structure_setup
from .engine.structure_file import load_structure
from .engine.structure_registration import near_preset, register_structure
from .engine.view_files import load_views
from .engine.volume import Volume
from .engine.volume_digest import warn_of_another_ct
from .engine.volume_io import load_volume
from .engine.watch import watched_by
from .engine.weights import adapted_weights
from .engine.xray import XRay
from .engine.xray_io import load_xray
from .evaluation.registration_report import ReportInputs, write_registration_report
from .evaluation.report_parts import without_paths
from .evaluation.result_pictures import write_pictures
from .exit_status import DONE, INTERRUPTED, UNRELIABLE
from .first_pose import StartRequest
from .intrinsics_run import refine, save_refined
from .progress import Progress, collected_warnings
from .registration_exports import Exports, write_exports
from .result_files import ResultFiles

_STATUS_WORDS = {
    "converged": "converged",
    "stopped": "stopped (at the limit of iterations, still moving a little)",
    "unreliable": "unreliable (see the confidence)",
}
_NOT_LOOKED_AT = "the program ended before it looked at the result again: whether the views agree was not checked"


@dataclass(frozen=True)
class Inputs:
    """What is registered. start: ct_to_world (4, 4) float64; automatic: only its orientation is meant.

    views: with the sources of their numbers, in the order of the X-rays. files: what a file is -> its path. structure:
    the one part of the CT that is registered (None: all of it).
    """

    volume: Volume
    xrays: list[XRay]
    start: Tensor
    automatic: bool = False
    views: tuple[View, ...] = ()
    files: Mapping[str, Path | None] = field(default_factory=dict)
    structure: Structure | None = None


@dataclass(frozen=True)
class RunOptions:
    """How it is registered; checked as soon as they are given. Raises InputError for what cannot run here.

    weights: a folder of networks in place of the installed ones of the same name. refine: intrinsics of "each" view, or
    those "shared" by all, are refined afterwards.
    """

    method: str
    preset: str
    device: str = "auto"
    weights: Path | None = None
    refine: str | None = None

    def __post_init__(self) -> None:
        get_preset(self.preset)
        self.built(resolve_device(self.device))

    def built(self, device: torch.device) -> Method:
        """The method, its networks on ``device``."""
        return get_method(self.method, device, self.weights)


def load_inputs(
    ct: Path,
    geometry: Path | None,
    images: Sequence[Path] | None,
    start: StartRequest,
    frame: Frame = None,
    roi: tuple[Path, str | None] | None = None,
    tell: Callable[[str], None] = print,
) -> Inputs:
    """Read and check everything; small files first, so that mistakes show before a large CT is read.

    geometry: None where the images are DICOM files that carry their own. images: one per view in the geometry's order,
    or None for those it names. frame: of DICOM files with several. roi: a file with a region of interest, and its
    label. tell: is given the lines that say how well landmarks fit. Raises InputError.
    """
    views = load_views(geometry, images, frame)
    cameras = [view.camera for view in views]
    pose = start.from_files(cameras, tell)
    structure = None if roi is None else load_structure(*roi)
    xrays = []
    taken: dict[tuple[Path, Frame], str] = {}
    for view in views:
        if view.image is None:
            raise InputError(f"{geometry}: view '{view.name}' names no image; name the X-rays with --xray.")
        other = taken.setdefault((view.image.resolve(), view.frame), view.name)
        if other != view.name:
            raise InputError(f"{view.image}: is given for view '{view.name}' and for '{other}'; each view has its own.")
        xrays.append(load_xray(view.image, view.camera, view.image_kind, view.frame))
    volume = load_volume(ct)
    if pose is None:
        pose = start.in_beam(cameras, volume.centre if structure is None else structure.centre)
    files = {"CT": ct, "geometry": geometry, "landmarks": start.landmarks, "pose": start.pose_file}
    files |= {f"X-ray {view.name}": view.image for view in views}
    if roi is not None:
        files["region"] = roi[0]
    return Inputs(volume, xrays, pose, start.automatic, tuple(views), files, structure)


def run_registration(
    inputs: Inputs,
    options: RunOptions,
    out: Path,
    progress: Progress,
    *,
    load_seconds: float = 0.0,
    warned: Sequence[str] = (),
    exports: Exports | None = None,
) -> int:
    """Register, write everything into ``out``, print where it lies; returns the exit status.

    An interruption keeps the iterations that were finished; so does any error after the first of them, which is raised
    when they are written. ``warned``: warnings so far, for the report. Raises InputError where another process is
    writing into ``out``.
    """
    with folder_lock(out):
        return _run_alone(inputs, options, out, progress, load_seconds, warned, exports)


@dataclass
class _Run:
    """What came of the iterations. near: the preset for looks at the result; failure: what ended them unforeseen."""

    setup: RegistrationSetup
    alone: RegistrationSetup | None
    method: Method
    near: Preset
    iterations: list[Iteration]
    warnings: list[str]
    prepared: float
    setup_seconds: float
    interrupted: bool = False
    failure: Exception | None = None

    @property
    def registered(self) -> RegistrationSetup:
        """Of the structure, or of the whole CT."""
        return self.alone or self.setup

    @property
    def status(self) -> str:
        return "unreliable" if self.failure is not None else self.iterations[-1].status or "stopped"

    @property
    def outcome(self) -> str:
        """How it ended, for people."""
        return "interrupted" if self.interrupted else self.status


def _run_alone(
    inputs: Inputs,
    options: RunOptions,
    out: Path,
    progress: Progress,
    load_seconds: float,
    warned: Sequence[str],
    exports: Exports | None,
) -> int:
    run = _registered(inputs, options, progress)
    told = [*warned, *run.warnings]
    files = ResultFiles(out, [path for path in inputs.files.values() if path is not None])

    def facts(last: Sequence[str]) -> RunFacts:
        return RunFacts(
            status=run.status,
            method=options.method,
            preset=options.preset,
            device=run.setup.device.type,
            seconds=Seconds(load_seconds, run.setup_seconds, finished - run.prepared),
            warnings=without_paths([*told, *last], inputs.files),
            adapted={} if options.weights is None else adapted_weights(options.weights),
            region=None if inputs.structure is None else inputs.structure.name,
        )

    finished = time.perf_counter()
    xrays, refinement, checks = inputs.xrays, None, ResultChecks()
    if run.interrupted or run.failure is not None:
        told.append(_cut_short(run))
    else:
        # First as it is: what comes now takes memory and time, and may be killed for it.
        files.save(run.iterations[-1].ct_to_world, build_report(run.iterations, facts([_NOT_LOOKED_AT])))
        with collected_warnings(progress) as more:
            if options.refine is not None:
                last = run.iterations[-1]
                refinement = refine(run.registered, xrays, last, options.refine, run.method, run.near, progress)
        told += more
        if refinement is not None:
            run.iterations[-1] = replace(run.iterations[-1], final=False)
            run.iterations.append(refinement.iteration)
            xrays = refinement.xrays
        finished = time.perf_counter()
        found = run.iterations[-1]
        checks = check_result(
            run.registered, xrays, inputs.start, found.ct_to_world, run.method, run.near, progress.note
        )
        for sentence in checks.warnings:
            progress.note(f"warning: {sentence}")
        run.iterations[-1] = replace(found, confidence=checks.applied_to(found.confidence))
    final = replace(facts(checks.warnings), agreements=checks.agreements)
    report = build_report(run.iterations, final)
    if refinement is not None:
        report["intrinsics"] = refinement.record
    files.save(run.iterations[-1].ct_to_world, report)
    if refinement is not None:
        save_refined(refinement, inputs.views, out)
    if run.failure is not None:
        progress.note(f"warning: {final.warnings[-1]}; it is kept in {out}.")
    progress.note("drawing the pictures ...")
    poses = [iteration.ct_to_world for iteration in run.iterations]
    write_pictures(out, inputs.volume if run.alone is None else run.alone.volume, xrays, poses, run.outcome)
    write_registration_report(out, report, ReportInputs(inputs.volume, inputs.views, run.outcome, inputs.files))
    if run.failure is not None:
        raise run.failure
    written: list[Path] = []
    if exports is not None:
        how = f"{options.method}, {options.preset}"
        written, notes = write_exports(out, exports, inputs.volume, inputs.views, poses[-1], run.outcome, how)
        for note in notes:
            progress.note(note)
    _print_summary(run.iterations, final, out)
    for path in written:
        print(f"also        {path}")
    if run.interrupted:
        return INTERRUPTED
    if run.status == "unreliable":
        judged = run.iterations[-1].confidence
        reasons = "; ".join(judged.reasons) if judged else ""
        progress.note(
            f"the result is judged unreliable{': ' + reasons if reasons else ''}. Look at the pictures, and try a "
            "better first pose (--init)."
        )
        return UNRELIABLE
    return DONE


def _registered(inputs: Inputs, options: RunOptions, progress: Progress) -> _Run:
    """The iterations, also those of a run that something ended after the first of them."""
    began = time.perf_counter()
    with collected_warnings(progress) as warned:
        setup = RegistrationSetup.prepare(inputs.volume, resolve_device(options.device))
        alone = None if inputs.structure is None else structure_setup(setup, inputs.structure)
        method = options.built(setup.device)
        if options.weights is not None:
            warn_of_another_ct(options.weights, inputs.volume)
        prepared = time.perf_counter()
        preset = get_preset(options.preset)
        steps = sum(level.steps for level in preset.levels)
        if inputs.automatic:
            progress.note("looking for a start ...")
            preset = with_automatic_start(preset)
        near = preset if alone is None else near_preset(preset)
        run = _Run(setup, alone, method, near, [], warned, prepared, prepared - began)
        if alone is None:
            records = register(None, inputs.xrays, inputs.start, method=method, preset=preset, setup=setup)
        else:
            records = register_structure(setup, alone, inputs.xrays, inputs.start, method=method, preset=preset)
            steps += preset.levels[0].steps
        try:
            with watched_by(progress.working):
                for iteration in records:
                    run.iterations.append(_without_images(iteration))
                    progress.update(iteration.index, max(steps, iteration.index), _line(iteration))
        except KeyboardInterrupt:
            if not run.iterations:
                raise
            run.interrupted = True
        except Exception as error:
            if len(run.iterations) < 2:  # the first is the start
                raise
            run.failure = error
    return run


def _cut_short(run: _Run) -> str:
    """Let the last record be what is kept of a run that was ended early; returns what is to be said of it."""
    iterations = run.iterations
    reached, best = iterations[-1].index, kept(iterations)
    if best is not iterations[-1]:
        iterations.append(replace(best, index=reached + 1, motion_mm=0.0))
    which = "the one reached by then" if best.index == reached else f"that of iteration {best.index}, trusted most"
    if run.failure is None:
        return f"interrupted after iteration {reached}; the pose is {which}"
    reason = in_words(run.failure)
    return f"an error ended the registration after iteration {reached} ({reason}); the pose is {which}, and in doubt"


def _without_images(iteration: Iteration) -> Iteration:
    """The record without its DRRs and matches, which would add up over a run."""
    return replace(iteration, views=())


def _line(iteration: Iteration) -> str:
    if iteration.index == 0:
        return f"start: similarity {iteration.similarity:.3f}"
    # The search moves the CT by whole images, not by points.
    how = f"{iteration.points} points" if iteration.points else "by the search for a start"
    return (
        f"moved {iteration.motion_mm:.2f} mm, {how}, similarity {iteration.similarity:.3f}, {iteration.seconds:.2f} s"
    )


def _print_summary(iterations: Sequence[Iteration], facts: RunFacts, out: Path) -> None:
    first, last = iterations[0], iterations[-1]
    print(f"status      {_STATUS_WORDS.get(facts.status, facts.status)}")
    for line in confidence_lines(last.confidence):
        print(line)
    print(f"method      {facts.method}, preset {facts.preset}, on {facts.device}")
    print(f"iterations  {last.index} in {facts.seconds.register:.1f} s")
    print(f"similarity  {first.similarity:.3f} at the start, {last.similarity:.3f} at the end")
    print(f"pose        {out / 'pose.json'} and {out / 'pose.tfm'}")
    print(f"report      {out / 'report.html'} and {out / 'report.json'}")
    print(f"pictures    {out / 'overview.png'}, {out / 'iterations.gif'}, overlay_*.png; verify by eye")


def confidence_lines(judged: Confidence | None) -> list[str]:
    """The confidence, its reason and what is sure in each direction, for people; nothing where nothing was judged."""
    if judged is None:
        return []
    lines = [f"confidence  {100 * judged.probability:.0f} % ({judged.light}): {'; '.join(judged.reasons)}"]
    sure = judged.uncertainty
    if sure is not None and judged.reliable:
        lines.append(
            f"sure to     {sure.in_plane_mm:.1f} mm in plane, {sure.depth_mm:.1f} mm in depth, "
            f"{sure.turn_in_plane_deg:.1f} deg in plane, {sure.turn_out_of_plane_deg:.1f} deg out of plane "
            "(one standard deviation)"
        )
    return lines
