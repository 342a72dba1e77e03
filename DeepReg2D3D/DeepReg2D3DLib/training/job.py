"""`deepreg2d3d train`: one job from a folder of CTs to weights, on a GPU or on a CPU's cores."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..engine.errors import InputError
from ..engine.weights import save_network
from .config import TrainConfig
from .sources import (
    OnlineSource,
    ValidationSet,
    VolumeFolders,
    load_prepared,
    start_maker,
    training_volume,
    wait_for,
)
from .trainer import RingSource, SampleSource, Trainer
from .validation import validate
from .volume_set import VolumeSetSettings, build_in_parallel

FIRST_SLOTS = 24
"""X-rays in the ring before the first step; the rest comes while it trains."""


@dataclass(frozen=True)
class JobOptions:
    """What a user asks of a job. cts, skeletons: folders, or None (phantoms alone). Budgets: minutes or steps."""

    out: Path
    cts: Path | None
    skeletons: Path | None
    device: torch.device
    minutes: float | None = None
    steps: int | None = None
    decay_share: float = 0.2
    validate_minutes: float = 10.0
    volumes: int = 96


def run_job(config: TrainConfig, options: JobOptions, report: Callable[[dict[str, Any]], None]) -> Trainer:
    """Train, or go on where the job in ``options.out`` stopped, and return the trainer.

    Raises InputError when there is no CT to train on, or when the folder holds a job of another configuration.
    """
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(out).free < 6e9:
        raise InputError(f"{out}: a training job needs 6 GB of free disk for its volumes and samples.")
    settings = VolumeSetSettings(count=options.volumes, seed=config.seed, held_out=config.held_out)
    folders = VolumeFolders(out / "volumes", options.cts, options.skeletons, settings)
    if options.device.type == "cuda":
        source: SampleSource = _gpu_source(config, options, folders, report)
    else:
        source = _ring_source(config, options, folders, report)
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


def _gpu_source(
    config: TrainConfig, options: JobOptions, folders: VolumeFolders, report: Callable[[dict[str, Any]], None]
) -> OnlineSource:
    workers = max(1, (os.cpu_count() or 2) - 1)
    files = build_in_parallel(folders.settings, folders.cache, folders.cts, folders.skeletons, workers)
    training = [path for path in files if path.name.startswith("train_")]
    report({"volumes": len(training)})
    volumes = [training_volume(load_prepared(path), options.device, torch.float16) for path in training]
    return OnlineSource(volumes, config.sample)


def _ring_source(
    config: TrainConfig, options: JobOptions, folders: VolumeFolders, report: Callable[[dict[str, Any]], None]
) -> RingSource:
    process, ring = start_maker(options.out, folders, config.sample, config.seed, os.getpid())
    report({"preparing": "volumes and first samples"})
    if not wait_for(ring, FIRST_SLOTS, process, 900.0):
        raise InputError("The process that makes training samples ended or is too slow: see the messages above it.")
    return RingSource(ring, config.seed)


def cpu_threads() -> int:
    """Threads for the trainer on a CPU: the maker has one core to itself."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else (os.cpu_count() or 2)
    return max(1, cores - 1)


def configured(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    """``config`` with single fields changed, of the samples by ``sample.<field>``. InputError for unknown ones."""
    for name, value in changes.items():
        owner, _, field = name.rpartition(".")
        target: Any = config.sample if owner == "sample" else config
        if owner not in ("", "sample") or not hasattr(target, field):
            raise InputError(f"There is no training setting '{name}'.")
        old = getattr(target, field)
        if not isinstance(value, type(old)) and not (isinstance(old, float) and isinstance(value, int)):
            raise InputError(f"Training setting '{name}': expected {type(old).__name__}, found {value!r}.")
        target = replace(target, **{field: value})
        config = replace(config, sample=target) if owner == "sample" else target
    return config


def export_weights(trainer: Trainer, name: str, folder: Path) -> list[Path]:
    """Enter the averaged weights in the manifest of ``folder``, with what they were trained on; returns the files.

    A joint job has two networks: ``<name>-flow`` (unless it has nothing to learn) and ``<name>-weights``.
    """
    config = trainer.config
    description = {
        "training": {
            "steps": trainer.step,
            "samples": trainer.samples,
            "hours": round(trainer.seconds / 3600, 2),
            "device": trainer.device.type,
            "held_out": list(config.held_out),
            "configuration": config.as_dict(),
        },
        "date": datetime.date.today().isoformat(),
        "licence": "Apache-2.0",
        "known_limits": "Trained on simulated X-rays of the trunk alone; see the model card.",
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
