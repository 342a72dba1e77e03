"""How many failures the confidence flags and how many successes, on cases that it was not calibrated on.

    PYTHONPATH=DeepReg2D3D python Testing/benchmarks/confidence.py --cases FOLDER --out FOLDER [--starts N]

Every view alone and all jointly, from listed starts as `evaluate` does it, from starts far away and one vertebra off,
and with hopeless inputs. An input that is refused counts as flagged. It goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import zlib
from collections import deque
from pathlib import Path

import torch
from confidence_problems import HOPELESS, loaded, make_problem, mean_mrpd, settled
from DeepReg2D3DLib.engine.case_file import find_cases
from DeepReg2D3DLib.engine.confidence import judge_result
from DeepReg2D3DLib.engine.errors import DeepReg2D3DError
from DeepReg2D3DLib.engine.metrics import SUCCESS_MRPD, wilson_interval
from DeepReg2D3DLib.engine.registration import register

HARD = ("vertebra", "far")
"""Beside the listed starts; 'vertebra' is judged where it settles, without a search that might bring it back."""


def trials(folders: list[Path], starts: int) -> list[tuple[Path, tuple[str, ...], str, int]]:
    """(case, views, kind, seed) of every registration."""
    listed = []
    for folder in folders:
        mine = loaded(folder)
        names = tuple(xray.name for xray in mine.xrays)
        count = len(mine.case.starts)
        for views in (*((name,) for name in names), names):
            for index in range(min(starts, count)):
                listed.append((folder, views, "listed", (2 * index + 1) * count // (2 * starts)))
            listed += [(folder, views, kind, seed) for kind in HARD for seed in range(2)]
            listed += [(folder, views, kind, 0) for kind in HOPELESS]
    # In an order that means nothing, so that what is done after some time is a fair sample.
    return sorted(listed, key=lambda trial: zlib.crc32(f"{trial[0].name}{trial[1:]}".encode()))


def run(folder: Path, views: tuple[str, ...], kind: str, seed: int, other: Path, method: str) -> dict:
    """One registration: its true error (NaN where no pose is right), confidence and reasons."""
    row = {"case": folder.name, "views": "+".join(views), "kind": kind, "seed": seed}
    problem = make_problem(folder, views, kind, seed, other)
    if problem is None:
        return {**row, "light": None}
    began = time.process_time()
    try:
        if problem.preset is None:
            pose = settled(problem)
            judged = judge_result(problem.setup, problem.xrays, pose, problem.start)
        else:
            steps = register(
                None, problem.xrays, problem.start, method=method, preset=problem.preset, setup=problem.setup
            )
            (last,) = deque(steps, maxlen=1)
            pose, judged = last.ct_to_world, last.confidence
    except DeepReg2D3DError as error:
        return {**row, "light": "red", "confidence": 0.0, "mrpd": None, "reasons": [f"refused: {error}"]}
    return {
        **row,
        "light": judged.light,
        "confidence": judged.probability,
        "mrpd": None if problem.hopeless else mean_mrpd(folder, views, pose),
        "reasons": list(judged.reasons),
        "signals": judged.signals,
        "measurements": judged.measurements,
        "seconds": time.process_time() - began,
    }


def table(rows: list[dict]) -> str:
    """Flagged shares by kind, ordinary and hopeless."""
    lines = [f"{'':<14}{'successes flagged':>26}{'failures flagged':>26}"]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    groups = {kind: [row for row in rows if row["kind"] == kind] for kind in kinds}
    groups["ORDINARY"] = [row for row in rows if row["kind"] not in HOPELESS]
    groups["HOPELESS"] = [row for row in rows if row["kind"] in HOPELESS]
    for name, members in groups.items():
        cells = []
        for good in (True, False):
            chosen = [row for row in members if row["light"] and (_succeeded(row) is good)]
            flagged = sum(row["light"] == "red" for row in chosen)
            low, high = wilson_interval(flagged, len(chosen))
            cells.append(f"{flagged} of {len(chosen)} ({100 * low:.0f}-{100 * high:.0f} %)" if chosen else "-")
        lines.append(f"{name:<14}{cells[0]:>26}{cells[1]:>26}")
    return "\n".join(lines)


def _succeeded(row: dict) -> bool:
    return row["mrpd"] is not None and row["mrpd"] <= SUCCESS_MRPD


def main() -> None:
    """Run what is still to be run, then print the table and what was judged wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--starts", type=int, default=6, help="listed starts a case and view (default: 6)")
    parser.add_argument("--method", default="deep-iterative")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="stop after this time; the same command goes on"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + options.seconds
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "confidence.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    known = {(row["case"], row["views"], row["kind"], row["seed"]) for row in rows}
    folders = find_cases(options.cases)
    with path.open("a") as file:
        for folder, views, kind, seed in trials(folders, options.starts):
            if (folder.name, "+".join(views), kind, seed) in known:
                continue
            if time.monotonic() > end:
                break
            other = folders[(folders.index(folder) + len(folders) // 2) % len(folders)]
            rows.append(run(folder, views, kind, seed, other, options.method))
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
    print(table(rows))
    for row in rows:
        if row["light"] and _succeeded(row) is (row["light"] == "red"):
            error = "hopeless" if row["mrpd"] is None else f"{row['mrpd']:.2f} mm"
            print(
                f"  {row['case']} {row['views']} {row['kind']}: {error}, {row['confidence']:.2f}: {row['reasons'][:2]}"
            )


if __name__ == "__main__":
    main()
