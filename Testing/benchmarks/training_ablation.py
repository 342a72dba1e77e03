"""What the training is made of, one part left out at a time: networks trained alike, judged on the same samples.

    python Testing/benchmarks/training_ablation.py --cts FOLDER --out WORK [--samples 9600] [--jobs 2] [--device cuda]

Every network sees as many samples, from the same starts about the same views of the same CTs, begins with the same
random numbers, and takes as many steps. They are judged by one step: the flow's error along the contours' normals, and
the reprojection distance after one PPC solution, on simulated X-rays of CTs that were left out, and on the X-rays of
test cases. This is a small part of a real training (the shipped flow network saw 340,608 samples): it ranks the parts
for short trainings, and tells nothing about how far a network can come. An interrupted run goes on with the same
command.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from bench_tools import machine, parsed, parser_of, run, told, write_report
from DeepReg2D3DLib.engine.case_file import find_cases
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.json_file import read_json
from DeepReg2D3DLib.engine.ppc import SolverSettings
from DeepReg2D3DLib.training.config import PAPER, SampleConfig, TrainConfig
from DeepReg2D3DLib.training.job import configured
from DeepReg2D3DLib.training.ppc_step import ROBUST, ppc_step, projection_distance
from DeepReg2D3DLib.training.samples import SampleBatch
from DeepReg2D3DLib.training.tasks import network_input
from DeepReg2D3DLib.training.trainer import Trainer, read_log
from DeepReg2D3DLib.training.volume_set import (
    VolumeSetSettings,
    begin_worker,
    build_in_parallel,
    build_volume_set,
    ct_name,
    find_cts,
)
from training_pools import NEAR_STARTS, XRAYS, Pool, PoolSource, batches_of, case_batches, make_pool

PLAIN = SolverSettings(robust_iterations=0)
SHORT = {"train_points": 96, "joint_points": 256, "warmup_steps": 60, "ema_decay": 0.99}
DENSE = {"matching_share": 0.0, "matching_steps": 0, "learning_rate": 4e-4}
"""Networks that map images to flow, as the paper's; all of ours that they share with PointFlow stays."""
JOINT = {"stage": "joint", "learning_rate": 1e-3}


@dataclass(frozen=True)
class Variant:
    """told: for people. images: the variant of the pool. changes: of the configuration. after: the variant whose flow
    network it goes on with; share: of the samples that the others see. recipe: "ours" or "paper"."""

    told: str
    images: str = "all"
    changes: dict[str, Any] = field(default_factory=dict)
    after: str = ""
    share: float = 1.0
    recipe: str = "ours"
    plain_cts: bool = False


VARIANTS: dict[str, Variant] = {
    "all": Variant("everything varied: PointFlow, flow loss"),
    "no-energies": Variant("one X-ray energy", "no-energies"),
    "no-tissue": Variant("soft tissue as in the CT", "no-tissue"),
    "no-metal": Variant("no metal, no instruments", "no-metal"),
    "no-collimator": Variant("no collimators", "no-collimator"),
    "no-detector": Variant("ideal detector: no scatter, blur, noise, exposure, windows", "no-detector"),
    "no-photometric": Variant("no photometric changes after the simulation", changes={"photometric_share": 0.0}),
    "ideal": Variant("line integrals as they are, none of the above", "ideal", {"photometric_share": 0.0}),
    "plain-cts": Variant("the five CTs as they are: no copies, no phantoms, no meshes", plain_cts=True),
    "joint": Variant("PointNet++ added, through the solver", changes=JOINT, after="all", share=0.5),
    "joint-no-motion": Variant(
        "the same without the motion regulariser", changes=JOINT | {"motion_share": 0.0}, after="all", share=0.5
    ),
    "joint-no-inliers": Variant(
        "the same with the registration losses alone", changes=JOINT | {"inlier_share": 0.0}, after="all", share=0.5
    ),
    "flownetc": Variant("FlowNetC, our flow loss", changes={"architecture": "flownetc", **DENSE}),
    "raft": Variant("RAFT (small), our flow loss", changes={"architecture": "raft-small", **DENSE}),
    "paper": Variant(
        "the paper's recipe: RAFT (small), end-point error, cyclical rate",
        changes={"architecture": "raft-small", "cycle_steps": 200},
        recipe="paper",
    ),
    "paper-longer": Variant(
        "the flow alone for as many samples as with the next stage",
        changes={"architecture": "raft-small", "cycle_steps": 200},
        share=1.5,
        recipe="paper",
    ),
    "paper-joint": Variant(
        "and then everything through the solver: registration loss, motion regulariser",
        changes={"architecture": "raft-small", "cycle_steps": 200, "stage": "joint"},
        after="paper",
        share=0.5,
        recipe="paper",
    ),
    "paper-no-motion": Variant(
        "the same without the motion regulariser",
        changes={"architecture": "raft-small", "cycle_steps": 200, "stage": "joint", "motion_share": 0.0},
        after="paper",
        share=0.5,
        recipe="paper",
    ),
}


def sample_of(columns: int) -> SampleConfig:
    """Samples as in a real training, with fewer points, in images of so many columns."""
    return SampleConfig(rows=round(0.8 * columns), columns=columns, points=256)


@dataclass(frozen=True)
class Work:
    """What a process is told: train ``name`` in ``out`` with as many samples, and judge it."""

    name: str
    out: Path
    samples: int
    columns: int
    cases: tuple[Path, ...]
    xrays: int = 4
    device: str = "cpu"


@dataclass(frozen=True)
class PoolWork:
    """What a process is told: make a part of a pool."""

    path: Path
    volumes: tuple[Path, ...]
    variants: tuple[str, ...]
    xrays: int
    seed: int
    columns: int
    device: str


PARTS = 4
"""In which a training pool is made, one process each at a time."""


def main() -> None:
    """Make the pools, train, judge, print the table."""
    options = _options()
    print(told(machine(options.device)), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    names = options.only.split(",")
    cases = tuple(case for folder in options.cases for case in find_cases(folder))
    settings, cache = VolumeSetSettings(count=options.volumes), options.out / "volumes"
    if options.device.type == "cuda":  # there are processors enough, then
        build_in_parallel(settings, cache, options.cts, options.skeletons, max(1, (os.cpu_count() or 2) - 1))
    volumes = list(build_volume_set(settings, cache, options.cts, options.skeletons))
    rows: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(
        options.jobs, mp_context=multiprocessing.get_context("spawn"), initializer=begin_worker
    ) as pool:
        list(pool.map(made_pool, _missing_pools(options, volumes)))
        running: dict[Future, str] = {}

        def begin(after: str) -> None:
            """The networks that go on with another one, or with none."""
            for name in names:
                if VARIANTS[name].after == after:
                    given = (options.samples, options.columns, cases, options.batch, options.device.type)
                    running[pool.submit(trained_and_judged, Work(name, options.out, *given))] = name

        begin("")
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(done)
                rows[name] = done.result()
                print(line(name, rows[name]), flush=True)
                write_report(
                    options.json,
                    "training-ablation",
                    samples=options.samples,
                    columns=options.columns,
                    xrays=options.xrays,
                    machine=machine(options.device),
                    rows={each: rows[each] for each in names if each in rows},
                )
                begin(name)
    print(f"written to {options.json}")


def _options():
    parser = parser_of(__doc__, "training_ablation.json")
    parser.add_argument("--cts", type=Path, required=True, help="folder of CTs; thoracolumbar_a and lumbar_c judge")
    parser.add_argument("--skeletons", type=Path, help="folder of bone meshes")
    parser.add_argument("--cases", type=Path, nargs="*", default=[], help="test cases whose X-rays judge, too")
    parser.add_argument("--out", type=Path, required=True, help="volumes, samples, networks; a run goes on there")
    parser.add_argument("--volumes", type=int, default=24, help="training volumes, the CTs as they are included")
    parser.add_argument("--xrays", type=int, default=1000, help="X-rays in the pool, four starts each")
    parser.add_argument("--samples", type=int, default=9600, help="starts that each network sees, repeats counted")
    parser.add_argument("--columns", type=int, default=160, help="of the images; their rows are four fifths of it")
    parser.add_argument("--batch", type=int, default=4, help="X-rays a step, four starts each")
    parser.add_argument("--jobs", type=int, default=2, help="networks trained at a time, one thread each")
    parser.add_argument("--only", default=",".join(VARIANTS), help="variants, separated by commas")
    options = parsed(parser)
    for name in options.only.split(","):
        if name not in VARIANTS:
            parser.error(f"unknown variant '{name}'; known: {', '.join(VARIANTS)}")
        if VARIANTS[name].after not in ("", *options.only.split(",")):
            parser.error(f"'{name}' goes on with the network of '{VARIANTS[name].after}': ask for that, too")
    return options


def _missing_pools(options: Any, volumes: Sequence[Path]) -> list[PoolWork]:
    """The parts of pools that are still to be made."""
    training = [path for path in volumes if path.name.startswith("train_")]
    held = [path for path in volumes if path.name.startswith("val_")]
    needed = {"judge", *("plain" if VARIANTS[name].plain_cts else "varied" for name in options.only.split(","))}
    plain = [path for path in training if path.name.split("_")[1] < f"{_plain_count(options):04d}"]
    parts = [
        PoolWork(
            options.out / f"{name}-{number}.npz",
            tuple(chosen[number::count]),
            variants,
            round(xrays * len(chosen[number::count]) / len(chosen)),
            10 * seed + number,
            options.columns,
            options.device.type,
        )
        for name, chosen, variants, xrays, seed, count in (
            ("varied", training, tuple(XRAYS), options.xrays, 1, PARTS),
            ("plain", plain, ("all",), options.xrays, 2, PARTS),
            ("judge", held, ("all",), 96, 3, 1),
        )
        for number in range(count)
        if name in needed
    ]
    return [part for part in parts if part.volumes and not part.path.is_file()]


def made_pool(work: PoolWork) -> None:
    """Make a part of a pool."""
    print(f"making the samples '{work.path.stem}'", flush=True)
    sample = sample_of(work.columns)
    make_pool(work.volumes, sample, work.variants, work.xrays, work.seed, work.device).save(work.path)


def pool_of(out: Path, name: str, variant: str) -> Pool:
    """A pool of this run with the images of one variant."""
    return Pool.load(sorted(out.glob(f"{name}-*.npz")), variant)


def _plain_count(options: Any) -> int:
    return sum(ct_name(path) not in VolumeSetSettings().held_out for path in find_cts(options.cts))


def config_of(work: Work) -> tuple[TrainConfig, int]:
    """The configuration of a variant, and its steps."""
    variant = VARIANTS[work.name]
    base = PAPER if variant.recipe == "paper" else TrainConfig()
    base = replace(base, sample=sample_of(work.columns), xrays=work.xrays)
    config = configured(base, SHORT | variant.changes)
    if variant.after:
        config = replace(config, flow_from=str(work.out / variant.after))
    steps = round(variant.share * work.samples / (config.xrays * config.sample.starts_per_xray))
    return config, steps


def trained_and_judged(work: Work) -> dict[str, Any]:
    """Train one variant, or go on where it stopped, and judge its averaged network."""
    variant, folder = VARIANTS[work.name], work.out / work.name
    config, steps = config_of(work)
    done = folder / "result.json"
    if done.is_file():
        found = read_json(done)
        if found.get("steps") == steps:
            return found
        raise InputError(f"{folder}: holds a network trained by another number of samples; give another --out.")
    pool = pool_of(work.out, "plain" if variant.plain_cts else "varied", variant.images)
    trainer = Trainer(config, folder, PoolSource(pool, variant.images), torch.device(work.device))
    trainer.run(steps=max(1, steps - trainer.step), decay_share=0.3)
    network = trainer.averaged_network()
    judged = {"held-out CTs": batches_of(pool_of(work.out, "judge", "all"), "all", work.device)}
    for case in work.cases:
        sample = config.sample if case.name.startswith("thorax") else replace(config.sample, start=NEAR_STARTS)
        judged[case.name] = case_batches(case, sample, 48, 5, work.device)
    row: dict[str, Any] = {"steps": steps, "told": variant.told, "samples": trainer.samples}
    row["seconds"] = round(trainer.seconds)
    row["loss"] = [entry["loss"] for entry in read_log(folder) if "loss" in entry][-1:]
    row["judged"] = {name: _errors(trainer.task, network, batches) for name, batches in judged.items()}
    done.write_text(json.dumps(row))
    return row


@torch.no_grad()
def _errors(task: Any, network: torch.nn.Module, batches: Sequence[SampleBatch]) -> dict[str, float]:
    """Medians over starts. flow_px: along the normals; before, after, after_plain: mRPD in mm, robust and plain PPC."""
    network.eval()
    found: dict[str, list[torch.Tensor]] = {"flow_px": [], "before": [], "after": [], "after_plain": []}
    for batch in batches:
        given = network_input(batch)
        estimate, weights = task.answer(network, batch, given)
        off = ((estimate.flow.float() - given.flow) * given.normals).sum(-1).abs()
        found["flow_px"].append((off * given.weights).sum(-1) / given.weights.sum(-1).clamp_min(1e-6))
        found["before"].append(projection_distance(batch.start, batch))
        for name, settings in (("after", ROBUST), ("after_plain", PLAIN)):
            moved = ppc_step(batch, batch.start, given.pixels + estimate.flow, weights, settings)
            found[name].append(torch.nan_to_num(projection_distance(moved, batch), nan=1e3, posinf=1e3))
    result = {name: round(float(torch.cat(each).double().median()), 3) for name, each in found.items()}
    after = torch.cat(found["after"])
    return result | {
        "halved": round(float((after < 0.5 * torch.cat(found["before"])).double().mean()), 3),
        "starts": len(after),
    }


def line(name: str, row: dict[str, Any]) -> str:
    """A row of the table for people."""
    cells = [
        f"{each['flow_px']:.2f} px, {each['before']:.1f} -> {each['after']:.2f} ({each['after_plain']:.2f}) mm"
        for each in row["judged"].values()
    ]
    return f"| {name} | {row['told']} | {row['samples']} | {row['seconds']} | {' | '.join(cells)} |"


if __name__ == "__main__":
    run(main)
