"""``deepreg2d3d adapt``: the installed flow network, fine-tuned to one CT where that helps."""

from __future__ import annotations

import _thread
import argparse
import json
import sys
import threading
from pathlib import Path
from typing import Any

from . import cli_options
from .exit_status import DONE, INTERRUPTED, UNRELIABLE
from .progress import Progress, collected_warnings

DESCRIPTION = """\
Fine-tunes the installed network of deep-iterative on simulated X-rays of one CT. No registration needs this: the
installed network works on CTs it has never seen. With --geometry (and --init, where the CT is not in the world's frame)
the X-rays are simulated about the views to come, else from the front, the side and between.

The result is judged on held-out poses of this CT by the error that one step leaves. Where it does not help it is not
kept (exit status 3). Otherwise --out holds the weights; give that folder to `register --weights`. The installed weights
are never touched. Ctrl-C ends the training early and judges what was best by then (exit status 130).

Writes into --out: deep-iterative-flow.pt and manifest.json (where it helps), adaptation.json and curves.png."""
EPILOG = """\
examples:
  deepreg2d3d adapt --ct ct.nrrd --minutes 5 --out adapted
  deepreg2d3d adapt --ct ct.nrrd --geometry geometry.json --init start.tfm --minutes 10 --out adapted
  deepreg2d3d register --ct ct.nrrd --weights adapted --geometry geometry.json --init start.tfm --out result

exit status: 0 kept, 3 refused (it does not help on held-out poses), 130 interrupted (kept where it helps by then)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``adapt``."""
    cli_options.add_ct(parser)
    parser.add_argument(
        "--minutes", type=float, default=5.0, metavar="M", help="time for everything together (default: %(default)g)"
    )
    cli_options.add_geometry(parser, required=False, note="; X-rays are then simulated about its views")
    parser.add_argument(
        "--init", type=Path, metavar="FILE", help="with --geometry: about where the CT lies in its world"
    )
    cli_options.add_seed(parser, "of the simulated X-rays")
    parser.add_argument(
        "--messages",
        action="store_true",
        help="for programs: JSON lines on stdout; 'stop', or the end of stdin, ends the training as Ctrl-C does",
    )
    cli_options.add_device(parser)
    cli_options.add_out_folder(parser)


def run(options: argparse.Namespace) -> int:
    """Adapt, write what came of it; returns the exit status."""
    import math

    from .engine.atomic import write_json
    from .engine.device import resolve_device
    from .engine.errors import InputError
    from .engine.volume_io import load_volume
    from .training.adaptation import AdaptationOptions, adapt, prepare_threads

    if not math.isfinite(options.minutes):
        raise InputError(f"--minutes {options.minutes}: expected a number of minutes.")
    if options.init is not None and options.geometry is None:
        raise InputError("--init says where the CT lies in the world of a geometry: give --geometry, too.")
    device = resolve_device(options.device)
    prepare_threads(device)
    with Progress() as progress:
        report = _Reporter(progress, options.messages, options.out / "curves.png")
        with collected_warnings(progress):
            ct = load_volume(options.ct)
            aim = None if options.geometry is None else _aim(ct, options.geometry, options.init)
        if options.messages:
            threading.Thread(target=_listen, daemon=True).start()
        found = adapt(ct, AdaptationOptions(options.minutes, device, options.seed, aim), options.out, report)
        write_json(options.out / "adaptation.json", found.as_dict())
    report({"stage": "end", "status": found.status, "interrupted": found.interrupted, "out": str(options.out)})
    if not options.messages:
        print(_told(found, options.out))
    if found.interrupted:
        return INTERRUPTED
    return DONE if found.status == "kept" else UNRELIABLE


def _aim(ct: Any, geometry: Path, init: Path | None) -> Any:
    from .engine.geometry_file import load_geometry
    from .engine.initial_pose import default_pose
    from .engine.pose_file import load_pose
    from .engine.surface import extract_surface_points
    from .training.patient_volumes import aim_of

    cameras = [view.camera for view in load_geometry(geometry)]
    pose = default_pose(cameras, ct.centre) if init is None else load_pose(init)
    return aim_of(cameras, pose, extract_surface_points(ct.cropped_to_body()))


class _Reporter:
    """Tells records to people, or to a program, and keeps the picture of the held-out error up to date."""

    def __init__(self, progress: Progress, messages: bool, picture: Path) -> None:
        self.progress, self.messages, self.picture = progress, messages, picture
        self.curve: list[dict[str, Any]] = []

    def __call__(self, record: dict[str, Any]) -> None:
        if record["stage"] == "training" and "step_mm" in record:
            from .training.adaptation_curves import plot_adaptation

            self.curve.append(record)
            plot_adaptation(self.curve, self.picture)
        if self.messages:
            print(json.dumps(record), flush=True)
            return
        stage = record["stage"]
        if stage == "preparing":
            self.progress.note(f"preparing {record['text']} ...")
        elif stage == "before":
            self.progress.note(f"held-out poses, installed network: {_errors(record)}")
        elif stage == "training":
            text = f"step {record['step']}, " if "step" in record else ""
            text += (
                f"held-out: {_errors(record)}"
                if "flow_px" in record
                else f"flow error {record.get('normal', 0):.2f} px"
            )
            self.progress.update(round(100 * record["done"]), 100, text)
        elif stage == "after":
            self.progress.note(f"held-out poses, adapted network:   {_errors(record)}")


def _errors(record: dict[str, Any]) -> str:
    return (
        f"flow error {record['flow_px']:.2f} px; one step brings {record['start_mm']:.2f} to {record['step_mm']:.2f} "
        f"mm, {100 * record['below_2mm']:.0f} % below 2 mm"
    )


def _told(found: Any, out: Path) -> str:
    """The end, for people."""
    if found.verdict is None:
        return "interrupted before anything was learned; nothing was kept."
    verdict = found.verdict
    gain = f"the error after one step is {100 * verdict.gain:.0f} % smaller" if verdict.gain > 0 else "no smaller error"
    numbers = f"{gain} (90 % interval {100 * verdict.low:.0f} to {100 * verdict.high:.0f} %)"
    done = f"{found.steps} steps, {found.samples} samples, {found.seconds / 60:.1f} min"
    if found.status == "kept":
        return f"kept: {numbers}; {done}.\nuse it with  deepreg2d3d register --weights {out} ...  for this CT."
    return f"refused: it does not help on held-out poses of this CT: {numbers}; {done}.\nUse the installed network."


def _listen() -> None:
    for line in sys.stdin:
        if line.strip() == "stop":
            break
    _thread.interrupt_main()
