"""A run of frames as ``track`` follows it: inputs checked, progress told, results written even when interrupted."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from PIL import Image
from torch import Tensor

from .engine.atomic import write_json, write_text, written_together
from .engine.device import resolve_device
from .engine.errors import InputError
from .engine.folder_lock import folder_lock
from .engine.geometry_file import View
from .engine.image_files import write_image
from .engine.pose_file import save_pose
from .engine.presets import get_preset, with_automatic_start
from .engine.report import versions
from .engine.setup import RegistrationSetup
from .engine.tracking import Load, TrackedFrame, track
from .engine.view_files import load_views, views_of_dicom
from .engine.volume import Volume
from .engine.volume_io import load_volume
from .engine.xray_run import XRayRun, frame_files, runs_of_dicom
from .evaluation.overlay import RESULT_COLOUR, ViewPicture, bone_renderer, footprint, side_by_side, titled
from .evaluation.result_pictures import file_labels, save_animation
from .exit_status import DONE, INTERRUPTED, UNRELIABLE
from .first_pose import StartRequest
from .progress import Progress
from .registration_run import RunOptions
from .result_files import earlier_result, remove_older

FORMAT = "deepreg2d3d-poses"
POSES, TABLE, ANIMATION, FRAMES = "poses.json", "track.csv", "track.gif", "frames"
_PANEL, _VOXELS, _FRAME_MS, _END_MS = 420, 4_000_000, 120, 1500
_MOST_PICTURES = 150
_EVERY = 20
"""So many frames are tracked between two writings of what is there."""
_COLUMNS = ("frame", "status", "confidence", "agreement", "similarity", "moved_mm", "iterations", "seconds", "searched")


@dataclass(frozen=True)
class TrackInputs:
    """What is tracked. start: ct_to_world (4, 4) for the first frame; automatic: only its orientation is meant.

    numbers: the frames to follow, in order, from 1. files: the given ones, which stay wherever they lie.
    """

    volume: Volume
    runs: Sequence[XRayRun]
    start: Tensor
    automatic: bool
    numbers: Sequence[int]
    files: Sequence[Path] = ()


def load_track_inputs(
    ct: Path,
    geometry: Path | None,
    images: Sequence[Path] | None,
    start: StartRequest,
    frames: str | None,
    progress: Progress,
) -> TrackInputs:
    """Read and check everything; frames: 'first-last' or 'first-last:step', from 1. Raises InputError."""
    runs = open_runs(geometry, images)
    counts = sorted({len(run) for run in runs})
    if len(counts) > 1:
        raise InputError(
            f"The runs have {' and '.join(map(str, counts))} frames; runs of several views must be in step."
        )
    numbers = parse_frames(frames, counts[0])
    cameras = [run.camera(numbers[0]) for run in runs]
    pose = start.from_files(cameras, progress.note)
    volume = load_volume(ct)
    if pose is None:
        pose = start.in_beam(cameras, volume.centre)
    files = [ct, start.pose_file, *(run.view.image for run in runs)]
    return TrackInputs(volume, runs, pose, start.automatic, numbers, [path for path in files if path is not None])


def open_runs(geometry: Path | None, images: Sequence[Path] | None) -> list[XRayRun]:
    """The runs of all views. Raises InputError."""
    if geometry is not None:
        return [XRayRun(view) for view in load_views(geometry, images)]
    paths = list(images or [])
    firsts = [frame_files(path)[0] if path.is_dir() else path for path in paths]
    if not firsts:
        load_views(None, None)  # refuses, and says what is needed
    views = [replace(view, image=path) for path, view in zip(paths, views_of_dicom(firsts, 1), strict=True)]
    return runs_of_dicom(paths, views)


def parse_frames(text: str | None, count: int) -> list[int]:
    """Numbers from 1 of 'first-last' (without last: to the end) or 'first-last:step'; None: all. Raises InputError."""
    if text is None:
        return list(range(1, count + 1))
    range_, _, step = text.partition(":")
    first, dash, last = range_.partition("-")
    parts = (first, (last or str(count)) if dash else first, step or "1")
    if not all(part.isdigit() for part in parts):
        raise InputError(f"--frames {text}: expected first-last or first-last:step, for example 5-40:2.")
    low, high, by = (int(part) for part in parts)
    if not 1 <= low <= high <= count or by < 1:
        raise InputError(f"--frames {text}: the run has frames 1 to {count}.")
    return list(range(low, high + 1, by))


def run_tracking(
    inputs: TrackInputs, options: RunOptions, out: Path, progress: Progress, keep_images: bool = False
) -> int:
    """Track and write poses.json, a .tfm for each frame, track.csv and track.gif; returns the exit status.

    keep_images: also the tracked frames as line integrals, in images_<view>.nrrd. Whatever ends the tracking early, the
    poses up to there are written; a process that is killed leaves those of all but the last frames. Raises InputError
    or DegenerateError where the first frame cannot be registered, and InputError where another process is writing into
    ``out``.
    """
    made = not out.exists()
    try:
        with folder_lock(out):
            return _run_alone(inputs, options, out, progress, keep_images)
    finally:
        if made:
            with suppress(OSError):  # something was written
                out.rmdir()


def _run_alone(inputs: TrackInputs, options: RunOptions, out: Path, progress: Progress, keep_images: bool) -> int:
    resolved = resolve_device(options.device)
    built = options.built(resolved)
    first = get_preset(options.preset)
    if inputs.automatic:
        first = with_automatic_start(first)
    setup = RegistrationSetup.prepare(inputs.volume, resolved)
    frames = ((number, _loader(inputs.runs, number, resolved)) for number in inputs.numbers)
    tracked: list[TrackedFrame] = []
    written = _Written(out, [run.view for run in inputs.runs], options, inputs.files)
    interrupted = False
    try:
        for frame in track(setup, frames, inputs.start, built, first):
            tracked.append(frame)
            progress.update(len(tracked), len(inputs.numbers), _line(frame))
            if len(tracked) % _EVERY == 0:
                written.update(tracked)
    except KeyboardInterrupt:
        if not tracked:
            raise
        interrupted = True
    finally:  # also of what nobody foresaw: a run may have taken hours
        if tracked:
            written.update(tracked)
    if keep_images:
        for run, label in zip(inputs.runs, file_labels([run.name for run in inputs.runs]), strict=True):
            _write_images(out / f"images_{label}.nrrd", run, [frame.frame for frame in tracked])
    progress.note("drawing the pictures ...")
    _write_animation(out / ANIMATION, inputs, tracked)
    doubted = sum(not frame.sound for frame in tracked)
    print(f"frames      {len(tracked)} of {len(inputs.numbers)}, {doubted} in doubt")
    print(f"poses       {out / POSES}, {out / FRAMES} (a .tfm each), {out / TABLE}")
    print(f"pictures    {out / ANIMATION}; verify by eye")
    if interrupted:
        return INTERRUPTED
    return UNRELIABLE if doubted else DONE


def _loader(runs: Sequence[XRayRun], number: int, device: torch.device) -> Load:
    """Loads a frame of every view when it is its turn."""
    return lambda: [run[number].to(device) for run in runs]


class _Written:
    """poses.json, track.csv and frames/pose_<number>.tfm, as they grow. given: input files, which stay."""

    def __init__(self, out: Path, views: Sequence[View], options: RunOptions, given: Sequence[Path]) -> None:
        self.out, self.views, self.options, self.given = out, views, options, given
        self.count = 0

    def update(self, tracked: Sequence[TrackedFrame]) -> None:
        """Write what was tracked by now. At first the files of an earlier run go."""
        with written_together(self.out, last=POSES) as folder:
            write_text(folder / TABLE, _table(tracked))
            write_json(folder / POSES, poses_content(tracked, self.views, self.options))
            earlier = earlier_result(self.out / POSES, FORMAT) if self.count == 0 else None
            if earlier is not None:
                images = [f"images_{label}.nrrd" for label in file_labels(list(map(str, earlier.get("views") or [])))]
                remove_older(self.out, [f"{FRAMES}/pose_*.tfm", ANIMATION, *images], self.given)
        for frame in tracked[self.count :]:
            save_pose(frame.ct_to_world, self.out / FRAMES / f"pose_{frame.frame:04d}.tfm")
        self.count = len(tracked)


def _table(tracked: Sequence[TrackedFrame]) -> str:
    """track.csv: a row a frame."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([_cell(getattr(frame, name)) for name in _COLUMNS] for frame in tracked)
    return text.getvalue()


def poses_content(tracked: Sequence[TrackedFrame], views: Sequence[View], options: RunOptions) -> dict[str, Any]:
    """The content of poses.json: a pose for each frame, LPS mm, with what is known of it."""
    return {
        "format": FORMAT,
        "version": 1,
        "coordinate_system": "LPS",
        "method": options.method,
        "preset": options.preset,
        "views": [view.name for view in views],
        "frames": [
            {
                "frame": frame.frame,
                "ct_to_world": frame.ct_to_world.tolist(),
                "status": frame.status,
                "confidence": frame.confidence,
                "agreement": frame.agreement,
                "similarity": frame.similarity,
                "moved_mm": frame.moved_mm,
                "seconds": frame.seconds,
            }
            for frame in tracked
        ],
        "versions": versions(),
    }


def _write_images(path: Path, run: XRayRun, numbers: Sequence[int]) -> None:
    """Line integrals of the frames, float32 (frames, rows, columns), 0 outside the valid field.

    Frames that cannot be used are 0 everywhere, so that the images stay in step with the poses.
    """
    frames = []
    for number in numbers:
        xray = run.shown(number)
        frames.append((xray.line_integral * xray.mask)[0, 0].numpy())
    write_image(sitk.GetImageFromArray(np.stack(frames)), path, compressed=False)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)


def _line(frame: TrackedFrame) -> str:
    sure = "" if frame.confidence is None else f", confidence {100 * frame.confidence:.0f} %"
    again = ", searched anew" if frame.searched else ""
    if frame.reason:
        return f"frame {frame.frame}: {frame.status}, at the last sound pose{again}: {frame.reason}"
    return (
        f"frame {frame.frame}: {frame.status}, moved {frame.moved_mm:.2f} mm, edges {frame.agreement:.2f}{sure}{again}"
        f", {frame.seconds:.2f} s"
    )


def _write_animation(path: Path, inputs: TrackInputs, tracked: Sequence[TrackedFrame]) -> None:
    """The frames with the outlines of the CT's bones at their poses; at most ``_MOST_PICTURES`` of them.

    A view of a frame that cannot be used is black.
    """
    every = max(1, -(-len(tracked) // _MOST_PICTURES))
    shown = tracked[::every]
    renderer = bone_renderer(inputs.volume, _VOXELS)
    ends = [shown[0].ct_to_world, shown[len(shown) // 2].ct_to_world, shown[-1].ct_to_world]
    cuts = [footprint(renderer, run.camera(shown[0].frame), ends) for run in inputs.runs]
    pictures: list[Image.Image] = []
    for frame in shown:
        drawn = []
        for run, cut in zip(inputs.runs, cuts, strict=True):
            view = ViewPicture(renderer, run.shown(frame.frame), cut, _PANEL)
            drawn.append(titled(view.drawn(frame.ct_to_world, RESULT_COLOUR), run.name, notice=False))
        words = f"frame {frame.frame}" + ("" if frame.sound else ": unreliable")
        if frame.confidence is not None:
            words += f" ({100 * frame.confidence:.0f} %)"
        pictures.append(titled(side_by_side(drawn), words, alarm=not frame.sound))
    save_animation(pictures, path, [_FRAME_MS] * (len(pictures) - 1) + [_END_MS])
