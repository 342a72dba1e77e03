"""One registration end to end, ours beside nanodrr's gradient registration: seconds and successes, in one run.

    python Testing/benchmarks/registration.py --cases DIR... [--starts 6] [--device cuda] [--json FILE]

Both register the same cases from the same starts, a single view at a time, from a CT and X-rays that are in memory;
a success ends at a mean reprojection distance of 2 mm or less, counted per 10 mm of initial mTRE. They take turns.
The peer is optional (pip install nanodrr); without it ours runs alone and says so. The report is written anew after
every start, so that an interrupted run has lost one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch
from bench_tools import DATA, Stopwatch, machine, median, parsed, parser_of, run, told, write_report
from DeepReg2D3DLib.engine.case_file import Case, find_cases, load_case
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.methods import get_method
from DeepReg2D3DLib.engine.metrics import SUCCESS_MRPD, mrpd, mtre
from DeepReg2D3DLib.engine.registration import RegistrationSetup, register
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.volume_io import load_volume
from DeepReg2D3DLib.engine.xray import XRay
from DeepReg2D3DLib.engine.xray_io import load_xray
from DeepReg2D3DLib.evaluation.starts import choose_starts, truth_of
from registration_peer import NanoDrrRegistration, PeerSettings
from torch import Tensor

OURS, PEER = "ours", "nanodrr"
BIN_MM = 10.0
Solver = Callable[[XRay, Tensor], tuple[Tensor, int]]
"""(X-ray, start) -> (pose it ends at, iterations)."""


def main() -> None:
    """Measure, print a line a run, write the report."""
    options = _options()
    facts = machine(options.device)
    print(told(facts))
    rows: list[dict[str, Any]] = []
    peer = "" if options.no_peer else _missing_peer()
    if peer:
        print(f"{PEER} is not installed here and is left out ({peer})")
    for folder in [case for given in options.cases for case in find_cases(given)]:
        for row in _case_rows(folder, options, with_peer=not (options.no_peer or peer)):
            rows.append(row)
            print(_line(row), flush=True)
            write_report(options.json, "registration", **_settings(options), machine=facts, rows=rows, **summary(rows))
    print_summary(summary(rows))
    print(f"written to {options.json}")


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "registration_benchmark.json")
    parser.add_argument("--cases", type=Path, nargs="+", default=[DATA / "cases" / "thorax_b"], help="case folders")
    parser.add_argument("--views", nargs="+", help="names of views (default: each view of a case)")
    parser.add_argument("--starts", type=int, default=6, help="starts a view, evenly spaced over the listed ones")
    parser.add_argument("--method", default="deep-iterative")
    parser.add_argument("--preset", default="accurate")
    parser.add_argument("--no-peer", action="store_true", help="ours alone")
    parser.add_argument("--peer-sides", type=int, nargs="+", default=[64, 128, 256], help="the peer's image sizes")
    parser.add_argument("--peer-iterations", type=int, default=500, help="the peer's most iterations at each size")
    return parsed(parser)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "method": options.method,
        "preset": options.preset,
        "success_mrpd_mm": SUCCESS_MRPD,
        "peer_sides_px": options.peer_sides,
        "peer_iterations": options.peer_iterations,
    }


def _missing_peer() -> str:
    try:
        import nanodrr.registration  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def _case_rows(folder: Path, options: argparse.Namespace, with_peer: bool):
    """Register one case from all its starts; yields a row for each, and says what the preparation took."""
    case, volume, xrays = read_case(folder)
    with Stopwatch(options.device) as watch:
        solvers: dict[str, Solver] = {OURS: ours_of(volume, options.method, options.preset, options.device)}
    prepared = {f"{OURS}_setup_s": watch.seconds}
    if with_peer:
        with Stopwatch(options.device) as watch:
            settings = PeerSettings(sides=tuple(options.peer_sides), iterations=options.peer_iterations)
            solvers[PEER] = NanoDrrRegistration(volume, options.device, settings).register
        prepared[f"{PEER}_setup_s"] = watch.seconds
    print(f"{case.name}: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in prepared.items()))
    truth, targets = truth_of(case)
    for xray in xrays:
        if options.views and xray.name not in options.views:
            continue
        for start in choose_starts(case, options.starts, seed=0):
            row = {"case": case.name, "view": xray.name, "start": start.name, "initial_mtre_mm": start.initial_mtre}
            for name, solve in solvers.items():
                with Stopwatch(options.device) as watch:
                    pose, iterations = solve(xray, start.pose)
                error = mrpd(pose, truth, targets, xray.camera)
                row |= {
                    f"{name}_s": watch.seconds,
                    f"{name}_cpu_s": watch.cpu_seconds,
                    f"{name}_mrpd_mm": error,
                    f"{name}_mtre_mm": mtre(pose, truth, targets),
                    f"{name}_success": int(error <= SUCCESS_MRPD),
                    f"{name}_iterations": iterations,
                }
            yield row | prepared


def read_case(folder: Path) -> tuple[Case, Volume, list[XRay]]:
    """A case with its CT and X-rays."""
    case = load_case(folder)
    views = load_geometry(case.geometry)
    return case, load_volume(case.ct), [load_xray(v.image, v.camera, v.image_kind, v.frame) for v in views]


def ours_of(volume: Volume, method_name: str, preset: str, device: torch.device) -> Solver:
    """Our registration of a CT, prepared."""
    setup = RegistrationSetup.prepare(volume, device)
    method = get_method(method_name, device)

    def solve(xray: XRay, start: Tensor) -> tuple[Tensor, int]:
        for iteration in register(None, [xray], start, method=method, preset=preset, setup=setup):
            last = iteration.ct_to_world, iteration.index
        return last

    return solve


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians, the ratio of the medians, and successes by bin of initial mTRE; of the peer where it ran."""
    names = [name for name in (OURS, PEER) if any(f"{name}_s" in row for row in rows)]
    found: dict[str, Any] = {
        f"{name}_median_{what}": median([row[f"{name}_{what}"] for row in rows if f"{name}_{what}" in row])
        for name in names
        for what in ("s", "cpu_s")
    }
    if len(names) == 2:
        found["times_faster"] = found[f"{PEER}_median_s"] / found[f"{OURS}_median_s"]
        found["times_faster_cpu"] = found[f"{PEER}_median_cpu_s"] / max(found[f"{OURS}_median_cpu_s"], 1e-9)
    bins = []
    for first in sorted({BIN_MM * (row["initial_mtre_mm"] // BIN_MM) for row in rows}):
        here = [row for row in rows if BIN_MM * (row["initial_mtre_mm"] // BIN_MM) == first]
        successes = {f"{name}_successes": sum(row[f"{name}_success"] for row in here) for name in names}
        bins.append({"from_mm": first, "to_mm": first + BIN_MM, "runs": len(here), **successes})
    return {**found, "bins": bins}


def _line(row: dict[str, Any]) -> str:
    text = f"{row['case']:18} {row['view']:8} {row['start']:>4} {row['initial_mtre_mm']:6.1f} mm"
    for name in (OURS, PEER):
        if f"{name}_s" in row:
            text += f" | {name} {row[f'{name}_s']:8.2f} s ({row[f'{name}_cpu_s']:.2f} CPU), "
            text += f"mRPD {row[f'{name}_mrpd_mm']:7.2f}, {row[f'{name}_iterations']} steps"
    if f"{PEER}_s" in row:
        text += f" | {row[f'{PEER}_s'] / row[f'{OURS}_s']:.1f} times faster"
    return text


def print_summary(found: dict[str, Any]) -> None:
    """The medians and the table of bins."""
    for name in (OURS, PEER):
        if f"{name}_median_s" in found:
            print(f"{name}: median {found[f'{name}_median_s']:.2f} s, {found[f'{name}_median_cpu_s']:.2f} CPU seconds")
    if "times_faster" in found:
        print(f"{PEER} / {OURS}: {found['times_faster']:.1f} (CPU seconds: {found['times_faster_cpu']:.1f})")
    for each in found["bins"]:
        text = f"{each['from_mm']:4.0f} to {each['to_mm']:3.0f} mm:"
        for name in (OURS, PEER):
            if f"{name}_successes" in each:
                text += f"  {name} {each[f'{name}_successes']} of {each['runs']}"
        print(text)


if __name__ == "__main__":
    run(main)
