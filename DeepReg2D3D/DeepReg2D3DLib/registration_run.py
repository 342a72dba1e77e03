"""One registration as the commands run it: inputs checked, progress told, results written even when interrupted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from .engine.atomic import write_json
from .engine.device import resolve_device
from .engine.dicom_geometry import Frame
from .engine.errors import InputError
from .engine.geometry_file import View
from .engine.initial_pose import default_pose
from .engine.landmark_file import load_landmarks
from .engine.landmarks import describe_pose, solve_landmarks
from .engine.methods import Method, get_method
from .engine.pose_file import load_pose, save_pose
from .engine.presets import get_preset, with_automatic_start
from .engine.registration import Iteration, register
from .engine.report import RunFacts, Seconds, build_report
from .engine.setup import RegistrationSetup
from .engine.view_files import load_views
from .engine.volume import Volume
from .engine.volume_io import load_volume
from .engine.xray import XRay
from .engine.xray_io import load_xray
from .evaluation.registration_report import ReportInputs, write_registration_report
from .evaluation.result_pictures import write_pictures
from .exit_status import DONE, INTERRUPTED, UNRELIABLE
from .progress import Progress, collected_warnings
from .registration_exports import Exports, write_exports

AUTOMATIC = "auto"
_STATUS_WORDS = {
    "converged": "converged",
    "stopped": "stopped (at the limit of iterations, still moving a little)",
    "unreliable": "unreliable (too few correspondences, or too little in common between CT and X-ray)",
}


@dataclass(frozen=True)
class Inputs:
    """What is registered. start: ct_to_world (4, 4) float64; automatic: only its orientation is meant.

    views: with the sources of their numbers, in the order of the X-rays. files: what a file is -> its path.
    """

    volume: Volume
    xrays: list[XRay]
    start: Tensor
    automatic: bool = False
    views: tuple[View, ...] = ()
    files: Mapping[str, Path | None] = field(default_factory=dict)


@dataclass(frozen=True)
class RunOptions:
    """How it is registered; checked as soon as they are given. Raises InputError for what cannot run here.

    weights: a folder of networks in place of the installed ones of the same name.
    """

    method: str
    preset: str
    device: str = "auto"
    weights: Path | None = None

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
    start: str | None,
    frame: Frame = None,
    landmarks: Path | None = None,
    tell: Callable[[str], None] = print,
) -> Inputs:
    """Read and check everything; small files first, so that mistakes show before a large CT is read.

    geometry: None where the images are DICOM files that carry their own. images: one per view in the geometry's order,
    or None for those it names. start: a pose file, "auto" for the automatic start, or None for the pose that the
    landmarks of a file give, or else for the default pose, which is told in a Python warning. frame: of DICOM files
    with several. tell: is given the lines that say how well landmarks fit. Raises InputError.
    """
    views = load_views(geometry, images, frame)
    automatic = start == AUTOMATIC
    if automatic:
        start = None
    elif start is not None and landmarks is not None:
        raise InputError("--init and --landmarks both give a first pose; leave one of them out.")
    pose = None if start is None else load_pose(start)
    if landmarks is not None:
        cameras = [view.camera for view in views]
        names = [camera.name for camera in cameras]
        solved = solve_landmarks(load_landmarks(landmarks, names), cameras)
        pose = solved.ct_to_world
        for line in describe_pose(solved, names):
            tell(line)
    xrays = []
    for view in views:
        if view.image is None:
            raise InputError(f"{geometry}: view '{view.name}' names no image; name the X-rays with --xray.")
        xrays.append(load_xray(view.image, view.camera, view.image_kind, view.frame))
    volume = load_volume(ct)
    if pose is None:
        pose = default_pose([view.camera for view in views], volume.centre)
    if start is None and landmarks is None and not automatic:
        where = "where the principal rays meet" if len(views) > 1 else "on the principal ray"
        warnings.warn(
            f"no first pose was given (--init): the CT's centre starts {where}, unrotated. If the result is wrong, "
            "give a pose within about 50 mm and 10 degrees, or --init auto.",
            stacklevel=2,
        )
    files = {"CT": ct, "geometry": geometry, "landmarks": landmarks, "pose": None if start is None else Path(start)}
    files |= {f"X-ray {view.name}": view.image for view in views}
    return Inputs(volume, xrays, pose, automatic, tuple(views), files)


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

    An interruption keeps the iterations that were finished. ``warned``: warnings so far, for the report.
    """
    out.mkdir(parents=True, exist_ok=True)
    iterations: list[Iteration] = []
    interrupted = False
    began = time.perf_counter()
    with collected_warnings(progress) as more:
        setup = RegistrationSetup.prepare(inputs.volume, resolve_device(options.device))
        method = options.built(setup.device)
        prepared = time.perf_counter()
        preset = get_preset(options.preset)
        steps = sum(level.steps for level in preset.levels)
        if inputs.automatic:
            progress.note("looking for a start ...")
            preset = with_automatic_start(preset)
        try:
            for iteration in register(None, inputs.xrays, inputs.start, method=method, preset=preset, setup=setup):
                iterations.append(_without_images(iteration))
                progress.update(iteration.index, max(steps, iteration.index), _line(iteration))
        except KeyboardInterrupt:
            if not iterations:
                raise
            interrupted = True
    finished = time.perf_counter()
    all_warnings = [*warned, *more]
    if interrupted:
        all_warnings.append(f"interrupted after iteration {iterations[-1].index}; the pose is the one reached by then")
    status = iterations[-1].status or "stopped"
    facts = RunFacts(
        status=status,
        method=options.method,
        preset=options.preset,
        device=setup.device.type,
        seconds=Seconds(load_seconds, prepared - began, finished - prepared),
        warnings=all_warnings,
    )
    save_pose(iterations[-1].ct_to_world, out / "pose.json")
    save_pose(iterations[-1].ct_to_world, out / "pose.tfm")
    report = build_report(iterations, facts)
    write_json(out / "report.json", report)
    outcome = "interrupted" if interrupted else status
    progress.note("drawing the pictures ...")
    poses = [iteration.ct_to_world for iteration in iterations]
    write_pictures(out, inputs.volume, inputs.xrays, poses, outcome)
    write_registration_report(out, report, ReportInputs(inputs.volume, inputs.views, outcome, inputs.files))
    written: list[Path] = []
    if exports is not None:
        how = f"{options.method}, {options.preset}"
        written, notes = write_exports(out, exports, inputs.volume, inputs.views, poses[-1], outcome, how)
        for note in notes:
            progress.note(note)
    _print_summary(iterations, facts, out)
    for path in written:
        print(f"also        {path}")
    if interrupted:
        return INTERRUPTED
    if status == "unreliable":
        progress.note("the result is judged unreliable: look at the pictures, and try a better first pose (--init).")
        return UNRELIABLE
    return DONE


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
    print(f"method      {facts.method}, preset {facts.preset}, on {facts.device}")
    print(f"iterations  {last.index} in {facts.seconds.register:.1f} s")
    print(f"similarity  {first.similarity:.3f} at the start, {last.similarity:.3f} at the end")
    print(f"pose        {out / 'pose.json'} and {out / 'pose.tfm'}")
    print(f"report      {out / 'report.html'} and {out / 'report.json'}")
    print(f"pictures    {out / 'overview.png'}, {out / 'iterations.gif'}, overlay_*.png; verify by eye")
