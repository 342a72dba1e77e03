"""The automatic start: how often a registration ends right from a first pose up to 150 mm and 30 degrees off.

    python Testing/benchmarks/automatic_start.py --cases CASES --starts 5 [--jobs 2] [--method deep-iterative]

Every view of every case is registered alone, as ``register --init auto`` does it, from its true pose turned by up to
30 degrees about a random axis and moved by up to 150 mm in a random direction. The table gives the share of runs that
end at an mRPD of 2 mm or less, and the seconds of one thread.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from bench_tools import case_and_view, machine, parser_of, run, told, write_report

LARGEST_DEG, LARGEST_MM = 30.0, 150.0


@dataclass(frozen=True)
class Task:
    """One registration."""

    folder: Path
    view: int
    seed: int
    method: str


def register_once(task: Task) -> dict[str, float | str]:
    """One row."""
    import torch
    from DeepReg2D3DLib.engine.metrics import SUCCESS_MRPD, mrpd
    from DeepReg2D3DLib.engine.poses import motion_about, transform_points
    from DeepReg2D3DLib.engine.presets import ACCURATE, with_automatic_start
    from DeepReg2D3DLib.engine.registration import register
    from DeepReg2D3DLib.engine.wide_search import centred_pose
    from DeepReg2D3DLib.evaluation.starts import truth_of
    from DeepReg2D3DLib.evaluation.trials import prepared_case

    case, volume, xrays, setup = prepared_case(task.folder, "cpu")
    truth, targets = truth_of(case)
    xray = xrays[task.view]
    generator = torch.Generator().manual_seed(1000 * task.view + task.seed)
    numbers = torch.randn(6, generator=generator, dtype=torch.float64)
    sizes = torch.rand(2, generator=generator, dtype=torch.float64)
    turn = numbers[:3] / numbers[:3].norm() * math.radians(LARGEST_DEG) * sizes[0]
    shift = numbers[3:] / numbers[3:].norm() * LARGEST_MM * sizes[1]
    centre = transform_points(truth, targets.to(torch.float64)).mean(0)
    first = motion_about(turn, shift, centre) @ truth
    began = time.perf_counter()
    preset = with_automatic_start(ACCURATE)
    steps = register(volume, [xray], centred_pose(setup, xray, first), method=task.method, preset=preset, setup=setup)
    (last,) = deque(steps, maxlen=1)
    error = float(mrpd(last.ct_to_world, truth, targets, xray.camera))
    return {
        "case": case.name,
        "view": xray.name,
        "turn_deg": LARGEST_DEG * float(sizes[0]),
        "shift_mm": LARGEST_MM * float(sizes[1]),
        "final_mrpd_mm": error,
        "success": float(error <= SUCCESS_MRPD),
        "light": last.confidence.light,
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    """Register, print the table, write the rows."""
    import torch
    from DeepReg2D3DLib.engine.case_file import find_cases, load_case
    from DeepReg2D3DLib.engine.geometry_file import load_geometry
    from DeepReg2D3DLib.evaluation.worker_pool import work_off

    parser = parser_of(__doc__, "automatic_start.json")
    parser.add_argument("--cases", type=Path, required=True, help="a case folder, or a folder of them")
    parser.add_argument("--starts", type=int, default=5, help="starts for each case and view")
    parser.add_argument("--jobs", type=int, default=2, help="registrations at a time, one thread each")
    parser.add_argument("--method", default="deep-iterative")
    options = parser.parse_args()
    tasks = [
        Task(folder, view, seed, options.method)
        for folder in find_cases(options.cases)
        for view in range(len(load_geometry(load_case(folder).geometry)))
        for seed in range(options.starts)
    ]
    rows = []
    for done in work_off(tasks, register_once, case_and_view, options.jobs):
        if done.error is not None:
            print(f"failed: {done.task}: {done.error}")
            continue
        rows.append(done.result)
        row = done.result
        print(
            f"{row['case']} {row['view']}: {row['shift_mm']:.0f} mm and {row['turn_deg']:.0f} degrees off, ends at "
            f"{row['final_mrpd_mm']:.2f} mm ({row['light']}), {row['seconds']:.1f} s",
            flush=True,
        )
    facts = machine(torch.device("cpu"))
    print(told(facts))
    print("| case | view | right | seconds, median |")
    print("|---|---|---|---|")
    for case, view in dict.fromkeys((row["case"], row["view"]) for row in rows):
        mine = [row for row in rows if (row["case"], row["view"]) == (case, view)]
        seconds = statistics.median(row["seconds"] for row in mine)
        print(f"| {case} | {view} | {sum(row['success'] for row in mine):.0f}/{len(mine)} | {seconds:.1f} |")
    print(f"in all: {sum(row['success'] for row in rows):.0f} of {len(tasks)}")
    write_report(options.json, "automatic_start", machine=facts, rows=rows)


if __name__ == "__main__":
    run(main)
