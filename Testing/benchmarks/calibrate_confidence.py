"""Make the confidence's coefficients: simulate cases, register them, measure the results, fit.

    PYTHONPATH=DeepReg2D3D python Testing/benchmarks/calibrate_confidence.py --cts FOLDER --work FOLDER [--seconds S]

Every stage goes on where it stopped. What is stored: cases/, results.jsonl (one pose a line, with its true error) and
checks.jsonl (the measurements at that pose). Delete checks.jsonl after the measurements have changed, results.jsonl
after the registration has.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path

import torch
from confidence_cases import SUBJECTS, Subject, make_case
from confidence_fit import fit, left_out, samples_from, summary, worst, write_model
from confidence_problems import HOPELESS, ORDINARY, Problem, loaded, make_problem, mean_mrpd, settled
from DeepReg2D3DLib.engine import confidence_model
from DeepReg2D3DLib.engine.errors import DeepReg2D3DError
from DeepReg2D3DLib.engine.poses import transform_points
from DeepReg2D3DLib.engine.registration import register
from DeepReg2D3DLib.engine.self_check import check_result
from DeepReg2D3DLib.engine.uncertainty import pose_errors

METHOD = "dppc"
"""The measurements know nothing of the method; this one needs no weights, so a new training changes nothing here."""
VIEWS = (("AP",), ("LAT",), ("OBL",), ("AP", "LAT"))


def items(rounds: int) -> list[dict]:
    """Every registration of a calibration, subject after subject."""
    listed = []
    for number, subject in enumerate(SUBJECTS):
        for turn in range(rounds):
            for index, views in enumerate(VIEWS):
                listed.append(_item(subject, views, "near", turn + 50))
                listed.append(_item(subject, views, ORDINARY[(index + number + turn) % 3], turn))
                if index == (number + turn) % 4:
                    listed.append(_item(subject, views, "far", turn))
            for place, kind in enumerate(HOPELESS):
                views = VIEWS[(number + place + turn) % 4]
                listed.append(_item(subject, views, kind, turn))
            other = VIEWS[(number + turn + 2) % 4]
            listed += [_item(subject, other, kind, turn + 100) for kind in ("patient", "geometry")]
    return listed


def _item(subject: Subject, views: tuple[str, ...], kind: str, seed: int) -> dict:
    return {"id": f"{subject.name} {'+'.join(views)} {kind} {seed}", "subject": subject.name, "views": list(views),
            "kind": kind, "seed": seed}  # fmt: skip


def problem_of(item: dict, cts: Path, folder: Path) -> Problem | None:
    """The problem of an item, its cases made where they are not there yet; the wrong patient is another subject."""
    position = [subject.name for subject in SUBJECTS].index(item["subject"])
    mine, other = make_case(SUBJECTS[position], cts, folder), None
    if item["kind"] == "patient":
        others = [subject for subject in SUBJECTS if subject.ct != SUBJECTS[position].ct]
        other = make_case(others[(3 * item["seed"] + 2 * position) % len(others)], cts, folder)
    return make_problem(mine, item["views"], item["kind"], item["seed"], other)


def run(item: dict, cts: Path, folder: Path) -> dict:
    """Register an item: its pose and true errors."""
    problem = problem_of(item, cts, folder)
    if problem is None:
        return {**item, "pose": None}
    began = time.process_time()
    if problem.preset is None:
        pose = settled(problem)
    else:
        try:
            steps = register(
                None, problem.xrays, problem.start, method=METHOD, preset=problem.preset, setup=problem.setup
            )
            (last,) = deque(steps, maxlen=1)
        except DeepReg2D3DError as error:
            return {**item, "pose": None, "refused": str(error)}
        pose = last.ct_to_world
    mine = loaded(folder / item["subject"])
    truth = mine.case.ground_truth
    error = 999.0 if problem.hopeless else mean_mrpd(folder / item["subject"], item["views"], pose)
    centre = transform_points(pose, mine.case.targets.to(torch.float64)).mean(0)
    camera = problem.xrays[0].camera
    return {
        **item,
        "hopeless": problem.hopeless,
        "mrpd": error,
        "errors": asdict(pose_errors(pose, truth, centre, camera.world_to_camera)),
        "pose": pose.tolist(),
        "seconds": time.process_time() - began,
    }


def measure(result: dict, cts: Path, folder: Path) -> dict:
    """The measurements at a result's pose."""
    problem = problem_of(result, cts, folder)
    pose = torch.tensor(result["pose"], dtype=torch.float64)
    began = time.process_time()
    check = check_result(problem.setup, problem.xrays, pose, problem.start)
    return {
        "id": result["id"],
        "check": None if check is None else {**check.numbers(), "uncertainty": asdict(check.uncertainty)},
        "seconds": time.process_time() - began,
    }


def read_lines(path: Path) -> list[dict]:
    """The whole lines of a file of JSON lines; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def main() -> None:
    """Do what is still to be done, then fit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cts", type=Path, required=True, help="the folder of CTs")
    parser.add_argument("--work", type=Path, required=True, help="where cases and results are kept")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--fit-only", action="store_true", help="fit to what has been measured so far")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="stop after this time; the same command goes on"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.fit_only:
        calibrate(read_lines(options.work / "results.jsonl"), read_lines(options.work / "checks.jsonl"))
        return
    end = time.monotonic() + options.seconds
    cases = options.work / "cases"
    results_file, checks_file = options.work / "results.jsonl", options.work / "checks.jsonl"
    known = {row["id"]: row for row in read_lines(results_file)}
    checked = {row["id"] for row in read_lines(checks_file)}
    with results_file.open("a") as results, checks_file.open("a") as checks:
        for item in items(options.rounds):
            if time.monotonic() > end:
                return
            if item["id"] not in known:
                known[item["id"]] = run(item, options.cts, cases)
                results.write(json.dumps(known[item["id"]]) + "\n")
                results.flush()
            result = known[item["id"]]
            if result["pose"] is not None and item["id"] not in checked:
                checks.write(json.dumps(measure(result, options.cts, cases)) + "\n")
                checks.flush()
    print("all registered and measured")
    calibrate(read_lines(results_file), read_lines(checks_file))


def calibrate(results: list[dict], checks: list[dict]) -> None:
    """Fit, print how well it does on subjects that were left out, and write the coefficients."""
    samples = samples_from(results, checks)
    p = left_out(samples)
    print(summary(samples, p))
    print("judged most wrongly:")
    print(worst(samples, p))
    weights, intercept = fit([sample for sample in samples if sample.check is not None])
    path = Path(confidence_model.__file__)
    write_model(path, samples, weights, intercept)
    print(path)


if __name__ == "__main__":
    main()
