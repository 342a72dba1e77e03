"""What each part of the default method is worth: the same starts with one part changed at a time.

    python Testing/benchmarks/ablation.py --cases CASES --starts 12 [--jobs 2] [--only paper,one-level]

Every view of every case is registered alone. The table gives, for each variant, the share of runs that end at an mRPD
of 2 mm or less, in all and in thirds of the initial error, the mRPD of these runs, and CPU seconds. Nothing is trained
here: what another network, loss or training set does is in the model cards.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench_tools import case_and_view, machine, parser_of, run, told, write_report

VARIANTS: dict[str, str] = {
    "default": "as it ships: PointFlow, PointNet++, patches at the finest level, IRLS, two levels, further attempts",
    "no-attempts": "one attempt without any search",
    "search-first": "one attempt after a search, as the older methods begin",
    "least-squares": "plain weighted least squares in place of IRLS",
    "one-level": "the finer level alone, with all the steps",
    "1000-points": "as many contour points in the last steps as before them",
    "no-pointnet": "the flow network's own weights in place of PointNet++'s",
    "no-patches": "flow alone at the finest level",
    "n1": "1 update of the flow network at a pose",
    "n12": "12 updates of the flow network at a pose",
    "flownetc": "FlowNetC in place of PointFlow, all else equal",
    "paper": "preset paper: one level, ten steps, plain least squares, no search",
}


@dataclass(frozen=True)
class Task:
    """One registration of one variant."""

    folder: Path
    variant: str
    view: int
    start: int
    starts: int
    seed: int


def variant(name: str):
    """(method, preset) of a variant."""
    from DeepReg2D3DLib.engine.agreed_matching import AgreedMatching
    from DeepReg2D3DLib.engine.flow_matching import FlowMatching
    from DeepReg2D3DLib.engine.methods import get_method
    from DeepReg2D3DLib.engine.point_matching import PointFlowMatching
    from DeepReg2D3DLib.engine.ppc import SolverSettings
    from DeepReg2D3DLib.engine.presets import ACCURATE, PAPER
    from DeepReg2D3DLib.engine.weights import load_network

    method = get_method("deep-iterative")
    first, last = ACCURATE.levels
    alone = replace(ACCURATE, search=None, again=())

    def updates(count: int):
        flow = PointFlowMatching(method.correspondences.network, count)
        return replace(method, correspondences=flow, finishing=AgreedMatching(flow, method.weighting))

    changed: dict[str, Callable] = {
        "default": lambda: (method, ACCURATE),
        "no-attempts": lambda: (method, alone),
        "search-first": lambda: (replace(method, sees_far=False), replace(ACCURATE, again=(), last_resort=None)),
        "least-squares": lambda: (method, replace(alone, solver=SolverSettings(robust_iterations=0))),
        "one-level": lambda: (method, replace(alone, levels=(replace(last, steps=first.steps + last.steps),))),
        "1000-points": lambda: (method, replace(alone, levels=(first, replace(last, settled_points=None)))),
        "no-pointnet": lambda: (
            replace(method, weighting=None, finishing=AgreedMatching(method.correspondences)),
            alone,
        ),
        "no-patches": lambda: (replace(method, finishing=None), alone),
        "n1": lambda: (updates(1), alone),
        "n12": lambda: (updates(12), alone),
        "flownetc": lambda: (
            replace(
                method,
                correspondences=FlowMatching(load_network("ppc-flow-attention-flow")),
                finishing=None,
                weighting=None,
            ),
            alone,
        ),
        "paper": lambda: (method, PAPER),
    }
    return changed[name]()


def register_once(task: Task) -> dict[str, float | str]:
    """One row."""
    from DeepReg2D3DLib.engine.metrics import mrpd
    from DeepReg2D3DLib.engine.random_starts import draw_starts
    from DeepReg2D3DLib.engine.registration import register
    from DeepReg2D3DLib.evaluation.starts import truth_of
    from DeepReg2D3DLib.evaluation.trials import prepared_case

    case, volume, xrays, setup = prepared_case(task.folder, "cpu")
    truth, targets = truth_of(case)
    xray = xrays[task.view]
    start = draw_starts(truth, targets, task.starts, 60.0, task.seed)[task.start]
    method, preset = variant(task.variant)
    began = time.process_time()
    (last,) = deque(register(volume, [xray], start.pose, method=method, preset=preset, setup=setup), maxlen=1)
    return {
        "variant": task.variant,
        "case": case.name,
        "view": xray.name,
        "initial_mtre_mm": start.initial_mtre,
        "final_mrpd_mm": float(mrpd(last.ct_to_world, truth, targets, xray.camera)),
        "cpu_seconds": time.process_time() - began,
    }


def summary(rows: list[dict]) -> str:
    """One line of the table."""

    def share(part: list[dict]) -> str:
        return f"{sum(row['final_mrpd_mm'] <= 2 for row in part)}/{len(part)}"

    thirds = [share([row for row in rows if low <= row["initial_mtre_mm"] < low + 20]) for low in (0, 20, 40)]
    good = [row["final_mrpd_mm"] for row in rows if row["final_mrpd_mm"] <= 2]
    error = f"{statistics.fmean(good):.2f} ({statistics.median(good):.2f})" if good else "n/a"
    seconds = statistics.median(row["cpu_seconds"] for row in rows)
    return f"{share(rows)} | {' | '.join(thirds)} | {error} | {seconds:.1f}"


def main() -> None:
    """Register, print the table, write the rows."""
    from DeepReg2D3DLib.engine.case_file import find_cases, load_case
    from DeepReg2D3DLib.engine.geometry_file import load_geometry
    from DeepReg2D3DLib.evaluation.worker_pool import work_off

    parser = parser_of(__doc__, "ablation.json")
    parser.add_argument("--cases", type=Path, required=True, help="a case folder, or a folder of them")
    parser.add_argument("--starts", type=int, default=12, help="starts for each case and view")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="registrations at a time, one thread each")
    parser.add_argument("--only", default=",".join(VARIANTS), help="variants, separated by commas")
    options = parser.parse_args()
    names = options.only.split(",")
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        parser.error(f"unknown variant '{unknown[0]}'; known: {', '.join(VARIANTS)}")
    tasks = [
        Task(folder, name, view, start, options.starts, options.seed)
        for folder in find_cases(options.cases)
        for view in range(len(load_geometry(load_case(folder).geometry)))
        for start in range(options.starts)
        for name in names
    ]
    rows = []
    for done in work_off(tasks, register_once, case_and_view, options.jobs):
        if done.error is not None:
            print(f"failed: {done.task}: {done.error}")
            lost = {"variant": done.task.variant, "initial_mtre_mm": 0.0, "final_mrpd_mm": float("inf")}
            rows.append(lost | {"cpu_seconds": float("nan")})
            continue
        rows.append(done.result)
    import torch

    facts = machine(torch.device("cpu"))
    print(told(facts))
    print("| variant | SR | 0-20 mm | 20-40 mm | 40-60 mm | mRPD mm, mean (median) | CPU s | |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        print(f"| {name} | {summary([row for row in rows if row['variant'] == name])} | {VARIANTS[name]} |")
    write_report(options.json, "ablation", machine=facts, rows=[row for row in rows if "case" in row])


if __name__ == "__main__":
    run(main)
