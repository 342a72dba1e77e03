"""``deepreg2d3d benchmark``: how fast this program is on this machine."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import cli_options
from .exit_status import DONE
from .progress import Progress

DESCRIPTION = """\
Measures this machine: what preparing a CT takes, DRRs a second, and a registration of one view and of all of them,
from a start 2 cm off. Without --case the patient is the demo's. Close other programs first: they slow it down."""
EPILOG = """\
examples:
  deepreg2d3d benchmark
  deepreg2d3d benchmark --device cuda --case cases/mine --json speed.json"""
FORMAT = "deepreg2d3d-benchmark"
START_MTRE = 20.0
"""mm: of the case's starts, the one that comes nearest to this is registered."""
SIDES = (256, 512)
"""Pixels along the longer side of the DRRs."""
_DRR_SECONDS, _LEAST_DRRS = 2.0, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``benchmark``."""
    parser.add_argument("--case", type=Path, metavar="DIR", help="a case folder (default: the demo's, made anew)")
    cli_options.add_method(parser)
    cli_options.add_preset(parser)
    cli_options.add_device(parser)
    parser.add_argument(
        "--repeats",
        type=cli_options.positive_count,
        default=3,
        metavar="N",
        help="registrations of each kind, of which the median is told, after one that is not counted (default: 3)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the numbers go, too")


def run(options: argparse.Namespace) -> int:
    """Measure, print the numbers, and write them where that is asked for."""
    import tempfile

    from .demo_case import write_demo_case
    from .engine.atomic import write_json

    with Progress() as progress, tempfile.TemporaryDirectory(prefix="deepreg2d3d-") as folder:
        case = options.case
        if case is None:
            progress.note("making a patient and taking X-rays ...")
            write_demo_case(Path(folder))
            case = Path(folder)
        found = measured(case, options.method, options.preset, options.device, options.repeats, progress.note)
    if options.json is not None:
        write_json(options.json, {"format": FORMAT, "version": 1, **found})
    print("\n".join(_lines(found)))
    if options.json is not None:
        print(f"written     {options.json}")
    return DONE


def measured(
    folder: Path, method: str, preset: str, device: str, repeats: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """The numbers of one case. Seconds, images a second and mm; peak_mb: of the process, None where it isn't told."""
    import torch

    from .engine.drr_pyramid import DrrPyramid
    from .engine.methods import get_method
    from .engine.metrics import mrpd
    from .engine.registration import register
    from .engine.report import versions
    from .evaluation.starts import choose_starts, truth_of
    from .evaluation.trials import prepared_case

    tell("preparing the CT ...")
    (case, volume, xrays, setup), prepare_s = _timed(lambda: prepared_case(folder, device))
    truth, targets = truth_of(case)
    start = min(choose_starts(case, None, seed=0), key=lambda start: abs(start.initial_mtre - START_MTRE))
    built = get_method(method, setup.device)

    def registered(used: list) -> dict[str, float]:
        seconds = []
        for _ in range(1 + repeats):
            (*_, last), taken = _timed(
                lambda: list(register(None, used, start.pose, method=built, preset=preset, setup=setup))
            )
            seconds.append(taken)
        error = statistics.fmean(mrpd(last.ct_to_world, truth, targets, xray.camera) for xray in used)
        return {"seconds": statistics.median(seconds[1:]), "mrpd_mm": error}

    tell("rendering ...")
    renderer = DrrPyramid(volume, setup.device)
    drrs = {str(side): _drrs_a_second(renderer, xrays[0].camera, start.pose, side) for side in SIDES}
    registrations = {}
    for name, used in {"one view": xrays[:1], **({"all views": xrays} if len(xrays) > 1 else {})}.items():
        tell(f"registering {name} ...")
        registrations[name] = {"views": len(used), **registered(used)}
    gpu = setup.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(setup.device) if gpu else "cpu",
        "threads": torch.get_num_threads(),
        "ct_voxels": list(volume.shape),
        "method": method,
        "preset": preset,
        "start_mtre_mm": start.initial_mtre,
        "prepare_s": prepare_s,
        "drrs_per_s": drrs,
        "registrations": registrations,
        "peak_mb": peak_mb(),
        "versions": versions(),
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What ``work`` gives, and its seconds, those of a GPU included."""
    import torch

    began = time.perf_counter()
    found = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return found, time.perf_counter() - began


def _drrs_a_second(renderer: Any, camera: Any, pose: Any, side: int) -> float:
    import torch

    scale = side / max(camera.size)
    camera = camera.resized(round(scale * camera.columns), round(scale * camera.rows))
    ct_to_camera = camera.ct_to_camera(pose)[None]

    def render() -> float:
        with torch.inference_mode():
            return _timed(lambda: renderer(ct_to_camera, camera.intrinsics, camera.size))[1]

    render()
    seconds = [render() for _ in range(_LEAST_DRRS)]
    while sum(seconds) < _DRR_SECONDS:
        seconds.append(render())
    return 1 / statistics.median(seconds)


def peak_mb() -> float | None:
    """Most memory that this process has held, in MB (10^6 bytes); None where the system doesn't tell."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held when it started this process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _lines(found: dict[str, Any]) -> list[str]:
    where = "the CPU" if found["device"] == "cpu" else found["device"]
    threads = found["threads"]
    voxels = " x ".join(str(count) for count in reversed(found["ct_voxels"]))
    rates = [f"{rate:.0f} a second at {side} pixels" for side, rate in found["drrs_per_s"].items()]
    lines = [
        f"device      {where}, {threads} thread{'s' if threads > 1 else ''}, torch {found['versions']['torch']}",
        f"CT          {voxels} voxels, read and prepared in {found['prepare_s']:.1f} s",
        f"DRR         {', '.join(rates)}",
    ]
    for name, each in found["registrations"].items():
        lines.append(
            f"{name:<11} {each['seconds']:.1f} s from {found['start_mtre_mm']:.0f} mm off ({found['method']}, "
            f"{found['preset']}), ends {each['mrpd_mm']:.2f} mm off in the image"
        )
    if found["peak_mb"] is not None:
        lines.append(f"memory      {found['peak_mb']:.0f} MB at most, of the whole process")
    return lines
