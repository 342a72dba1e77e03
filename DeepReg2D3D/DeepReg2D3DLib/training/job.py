"""`deepreg2d3d train`: one job from a folder of CTs to weights, on a GPU or on a CPU's cores."""

from __future__ import annotations

import datetime
import json
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..engine.atomic import make_folder
from ..engine.errors import InputError
from ..engine.folder_lock import folder_lock, sweep
from ..engine.json_file import read_json
from ..engine.networks import FLOW_ARCHITECTURES, POINT_ARCHITECTURES
from ..engine.weights import read_manifest, save_network
from .config import TrainConfig
from .joint import joint_task
from .maker import ring_layout
from .ring import SampleRing
from .sources import MakerPlan, ValidationSet, VolumeFolders, start_maker, wait_for
from .trainer import RingSource, Trainer
from .validation import validate
from .volume_set import VolumeSetSettings, build_in_parallel, find_cts, training_data

FIRST_SLOTS = 24
"""X-rays in the ring before the first step; the rest comes while it trains."""


@dataclass(frozen=True)
class JobOptions:
    """What a user asks of a job. cts, skeletons: folders, or None (phantoms alone). Budgets: minutes or steps.

    makers: processes that render samples on a GPU. samples_of: folder of a running job whose samples are used instead
    of own ones, so that networks can be compared on the same.
    """

    out: Path
    cts: Path | None
    skeletons: Path | None
    device: torch.device
    minutes: float | None = None
    steps: int | None = None
    decay_share: float = 0.2
    validate_minutes: float = 10.0
    volumes: int = 96
    makers: int = 8
    samples_of: Path | None = None


def run_job(config: TrainConfig, options: JobOptions, report: Callable[[dict[str, Any]], None]) -> Trainer:
    """Train, or go on where the job in ``options.out`` stopped, and return the trainer.

    Raises InputError when there is no CT to train on, when the folder holds a job of another configuration, or when
    another process trains there.
    """
    check_config(config)
    for folder, holds in ((options.cts, "CTs"), (options.skeletons, "bone meshes")):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder of {holds}.")
    if options.cts is not None:
        find_cts(options.cts)
    with folder_lock(options.out):
        return _run_alone(config, options, report)


def _run_alone(config: TrainConfig, options: JobOptions, report: Callable[[dict[str, Any]], None]) -> Trainer:
    out = make_folder(options.out)
    refuse_another_job(config, out)
    if shutil.disk_usage(out).free < 6e9:
        raise InputError(f"{out}: a training job needs 6 GB of free disk for its volumes and samples.")
    settings = VolumeSetSettings(count=options.volumes, seed=config.seed, held_out=config.held_out)
    folders = VolumeFolders(out / "volumes", options.cts, options.skeletons, settings)
    if options.samples_of is not None:
        source = _shared_source(config, options)
        folders = replace(folders, cache=options.samples_of / "volumes")
    else:
        source = _own_source(config, options, folders, report)
    held = ValidationSet(folders, config.sample, options.device)
    trainer = Trainer(config, out, source, options.device)
    report({"resumed_at_step": trainer.step, "parameters": sum(p.numel() for p in trainer.network.parameters())})
    trainer.run(
        steps=options.steps,
        minutes=options.minutes,
        decay_share=options.decay_share,
        validate=lambda network: validate(trainer.task, network, held.batches()),
        validate_minutes=options.validate_minutes,
        report=report,
    )
    return trainer


BEGUN_WITH = (
    "architecture",
    "network",
    "begin_with",
    "stage",
    "seed",
    "held_out",
    "sample",
    "flow_from",
    "weight_architecture",
    "weight_network",
)
"""Settings that a job keeps from its first call to its last: others may change when it goes on."""


def refuse_another_job(config: TrainConfig, out: Path) -> None:
    """Raises InputError where a job was begun in ``out`` with settings that can't change on the way."""
    if not (out / "config.json").is_file():
        return
    usual, asked = (json.loads(json.dumps(each.as_dict())) for each in (TrainConfig(), config))
    begun = usual | read_json(out / "config.json")  # an older program knew fewer settings
    for name in BEGUN_WITH:
        before, now = begun[name], asked[name]
        if before != now:
            raise InputError(
                f"{out}: holds a job that was begun with {name} = {json.dumps(before)}, and this call says "
                f"{json.dumps(now)}. Give another --out, or the setting it was begun with."
            )


def _own_source(
    config: TrainConfig, options: JobOptions, folders: VolumeFolders, report: Callable[[dict[str, Any]], None]
) -> RingSource:
    """Start the makers of the job's samples and wait for their first ones."""
    report({"preparing": "volumes and first samples"})
    sweep(folders.cache)
    gpu = options.device.type == "cuda"
    count = options.makers if gpu else 1
    if gpu:
        workers = max(1, (os.cpu_count() or 2) - 1)
        arguments = (folders.settings, folders.cache, folders.cts, folders.skeletons, workers)
        threading.Thread(target=build_in_parallel, args=arguments, daemon=True).start()
    plan = MakerPlan(options.out, folders, config.sample, config.seed, str(options.device), 0, count)
    makers = [start_maker(replace(plan, number=number)) for number in range(count)]
    for process, ring in makers:
        if not wait_for(ring, FIRST_SLOTS, process, 900.0):
            raise InputError("A process that makes training samples ended or is too slow: see the messages above it.")
    return RingSource(
        [ring for _, ring in makers],
        config.seed,
        options.device,
        filled=lambda: all(process.is_alive() for process, _ in makers),
    )


def _shared_source(config: TrainConfig, options: JobOptions) -> RingSource:
    """Read the samples that another job makes. Raises InputError where it makes none, or others than asked for."""
    other = options.samples_of
    rings = [SampleRing.open(file.parent) for file in sorted(other.glob("ring-*/ring.json"))]
    if not rings:
        raise InputError(f"{other}: no job makes samples there; start it first.")
    if any(ring.layout != ring_layout(config.sample) for ring in rings):
        raise InputError(f"{other}: its samples differ in size or number of points from those of this job.")
    return RingSource(rings, config.seed + 1, options.device)


def check_config(config: TrainConfig) -> None:
    """Refuse settings that no job can be run with, before anything is made for it. Raises InputError."""
    joint_task(config).build()
    sample = config.sample
    counts = {"xrays": config.xrays, "iterations": config.iterations, "train_points": config.train_points}
    counts |= {f"sample.{name}": getattr(sample, name) for name in ("rows", "columns", "points", "starts_per_xray")}
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"Training setting '{name}': expected a number from 1 upwards, found {value}.")
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float) and not 0 <= value < math.inf:
            raise InputError(f"Training setting '{field.name}': expected a number from 0 upwards, found {value}.")
    if not -(2**62) < config.seed < 2**62:
        raise InputError(f"Training setting 'seed': {config.seed} is too large.")


def cpu_threads() -> int:
    """Threads for the trainer on a CPU: the maker has one core to itself."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else (os.cpu_count() or 2)
    return max(1, cores - 1)


def configured(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    """``config`` with single fields changed, nested ones by their path (``sample.start.wide_share``).

    Where it begins with installed weights, the network is that of those. Raises InputError for unknown fields and
    values of another type.
    """
    for name, value in changes.items():
        config = _changed(config, name.split("."), value, name)
    if not config.begin_with:
        return config
    flows = {
        name: entry
        for name, entry in read_manifest().items()
        if entry.get("architecture") in FLOW_ARCHITECTURES | POINT_ARCHITECTURES
    }
    if config.begin_with not in flows:
        raise InputError(
            f"Training setting 'begin_with': '{config.begin_with}' is no installed flow network. There are: "
            f"{', '.join(sorted(flows)) or 'none'}."
        )
    entry = flows[config.begin_with]
    return replace(config, architecture=entry["architecture"], network=dict(entry["config"]))


def _changed(target: Any, path: list[str], value: Any, name: str) -> Any:
    if not is_dataclass(target) or path[0] not in {field.name for field in fields(target)}:
        raise InputError(f"There is no training setting '{name}'.")
    old = getattr(target, path[0])
    if len(path) > 1:
        return replace(target, **{path[0]: _changed(old, path[1:], value, name)})
    if isinstance(old, tuple) and isinstance(value, list):
        value = tuple(value)
    if not isinstance(value, type(old)) and not (isinstance(old, float) and isinstance(value, int)):
        raise InputError(f"Training setting '{name}': expected {type(old).__name__}, found {value!r}.")
    try:
        json.dumps(value, allow_nan=False)  # config.json has to hold it
    except ValueError as error:
        raise InputError(f"Training setting '{name}': expected a number that is finite, found {value!r}.") from error
    return replace(target, **{path[0]: value})


def export_weights(trainer: Trainer, name: str, folder: Path, volumes: Path) -> list[Path]:
    """Enter the averaged weights in the manifest of ``folder``, with what they were trained on; returns the files.

    volumes: the folder of what the samples were made of. A joint job has two networks: ``<name>-flow`` (unless it has
    nothing to learn) and ``<name>-weights``.
    """
    config = trainer.config
    description = {
        "training": {
            "steps": trainer.step,
            "samples": trainer.samples,
            "hours": round(trainer.seconds / 3600, 2),
            "device": trainer.device.type,
            "held_out": list(config.held_out),
            "data": training_data(volumes),
            "configuration": config.as_dict(),
        },
        "date": datetime.date.today().isoformat(),
        "licence": "Apache-2.0",
        "known_limits": "Trained on simulated X-rays alone, of the CTs, phantoms and bone meshes that training.data "
        "counts: real X-rays, other bones and other views than those of the configuration were never seen.",
    }
    network = trainer.averaged_network()
    if config.stage == "flow":
        return [save_network(name, network, config.architecture, description, folder)]
    parts = {"flow": config.architecture, "weights": config.weight_architecture}
    return [
        save_network(f"{name}-{part}", network[part], architecture, description, folder)
        for part, architecture in parts.items()
        if any(True for _ in network[part].parameters())
    ]
