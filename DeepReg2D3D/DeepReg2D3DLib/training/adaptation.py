"""Adaptation to one CT: a short fine-tuning of the installed flow network on simulated X-rays of that CT.

Nothing of it is needed for a registration. The network goes on learning at a small rate from X-rays of this CT, and is
kept only where it does better than the installed one on held-out poses: some of them choose the best moment of the
training, others, seen once, judge it. The architecture is whatever the installed weights say it is.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..engine.errors import InputError
from ..engine.folder_lock import folder_lock
from ..engine.volume import Volume
from ..engine.volume_digest import volume_digest
from ..engine.weights import load_network, read_manifest, save_network
from .config import SampleConfig, TrainConfig
from .held_out import Errors, Verdict, compare, held_out_errors
from .job import cpu_threads
from .maker import ring_folder, ring_layout
from .patient_volumes import Aim, PatientVolumes
from .ring import SampleRing
from .samples import SampleBatch, SampleMaker
from .sources import MakerPlan, start_maker, training_volume, wait_for
from .tasks import Task
from .trainer import RingSource, Trainer

NETWORK = "deep-iterative-flow"
"""What is adapted."""
CHOOSING, JUDGING = 12, 36
"""Held-out X-rays that choose the best moment, and those that judge it."""
RING_SLOTS = 600
FIRST_SLOTS = 12
SHORTEST_MINUTES = 0.5
LEARNING_RATE = 3e-4
"""A tenth or so of what the networks were trained with: they are to be changed, not to be replaced."""
WARMUP_STEPS = 20
XRAYS = {"cpu": 4, "cuda": 16}
"""A step's X-rays: minutes on a CPU must be some hundred steps."""
WORK = ".adapt-"
"""How the names of folders begin in which an adaptation keeps its samples, beside its results and until its end."""
_ABANDONED_SECONDS = 24 * 3600.0

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class AdaptationOptions:
    """minutes: of everything together. aim: known views, or None for those of the training. models: the folder of the
    weights to begin with (None: the installed ones)."""

    minutes: float
    device: torch.device
    seed: int = 0
    aim: Aim | None = None
    models: Path | None = None


@dataclass
class Adaptation:
    """What came of it. status: kept, refused (it does not help), or nothing where it was stopped before it began."""

    status: str = "nothing"
    before: Errors | None = None
    after: Errors | None = None
    verdict: Verdict | None = None
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    curve: list[dict[str, float]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For adaptation.json."""
        return {
            "format": "deepreg2d3d-adaptation",
            "version": 1,
            "status": self.status,
            "interrupted": self.interrupted,
            "network": NETWORK,
            "steps": self.steps,
            "samples": self.samples,
            "seconds": round(self.seconds, 1),
            "held_out": {
                "starts": 0 if self.before is None else len(self.before.after_mm),
                "before": None if self.before is None else self.before.summary(),
                "after": None if self.after is None else self.after.summary(),
                "gain": None if self.verdict is None else asdict(self.verdict),
            },
            "curve": self.curve,
        }


def adapt(ct: Volume, options: AdaptationOptions, out: Path, report: Report) -> Adaptation:
    """Adapt the installed flow network to a CT, and write it into ``out`` if it helps.

    ``report`` is given records with a ``stage``: preparing, before, training, after. An interruption
    (KeyboardInterrupt) ends the training; what was best by then is judged and kept as usual. Raises InputError when
    ``out`` holds weights already or another process writes into it, when none are installed, and when the minutes do
    not suffice.
    """
    began = time.monotonic()
    if options.minutes < SHORTEST_MINUTES:
        raise InputError(f"--minutes {options.minutes:g}: at least {SHORTEST_MINUTES} are needed to learn anything.")
    _refuse_weights(out)
    entry = read_manifest(options.models).get(NETWORK)
    installed = load_network(NETWORK, options.device, options.models)
    config = adaptation_config(entry, options.seed, options.aim, options.device)
    found = Adaptation()
    with folder_lock(out):
        _refuse_weights(out)  # of one that ended meanwhile
        with _work_folder(out) as work:
            session = _Session(config, options, work, report, began + 60 * options.minutes)
            try:
                best = session.run(ct, installed, found)
            except KeyboardInterrupt:
                best, found.interrupted = None, True
            finally:
                session.end()
        if best is not None and found.verdict is not None:
            found.status = "kept" if found.verdict.helps else "refused"
        found.seconds = time.monotonic() - began
        if found.status == "kept":
            description = _description(config, options, found, entry, volume_digest(ct))
            save_network(NETWORK, best, entry["architecture"], description, out)
    return found


def _refuse_weights(out: Path) -> None:
    if read_manifest(out):
        raise InputError(f"{out}: holds network weights already; choose another folder.")


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """A new folder in ``out`` during the block; those that killed adaptations left there long ago are removed."""
    for left in out.glob(f"{WORK}*"):
        with suppress(OSError):
            if left.is_dir() and left.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    try:
        work = Path(tempfile.mkdtemp(prefix=WORK, dir=out))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}). Choose another folder.") from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def adaptation_config(entry: dict[str, Any], seed: int, aim: Aim | None, device: torch.device) -> TrainConfig:
    """The training that a manifest's entry describes, slowed down.

    It begins with the installed network, whatever that one began with, and learns in float32.
    """
    trained = entry.get("training", {}).get("configuration", {})
    sample = SampleConfig(**_known(SampleConfig(), trained.get("sample", {})))
    if aim is not None:
        sample = replace(sample, acquisition=aim.acquisition)
    return replace(
        TrainConfig(**_known(TrainConfig(), trained)),
        architecture=entry["architecture"],
        network=dict(entry["config"]),
        begin_with="",
        stage="flow",
        seed=seed,
        bfloat16=False,
        xrays=XRAYS[device.type],
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP_STEPS,
        matching_share=0.0,
        matching_steps=0,
        held_out=(),
        sample=sample,
    )


def _known(default: object, told: dict[str, Any]) -> dict[str, Any]:
    """Plain numbers and texts of ``told`` that are fields of a configuration, which may be another version's."""
    plain = {f.name: getattr(default, f.name) for f in fields(default)}
    return {
        name: told[name]
        for name, value in plain.items()
        if isinstance(value, (int, float, str)) and type(told.get(name)) is type(value)
    }


class _Session:
    """Processes, samples and the clock of one adaptation."""

    def __init__(
        self, config: TrainConfig, options: AdaptationOptions, work: Path, report: Report, deadline: float
    ) -> None:
        self.config, self.options, self.work, self.report, self.deadline = config, options, work, report, deadline
        self.makers: list[Any] = []

    def run(self, ct: Volume, installed: nn.Module, found: Adaptation) -> nn.Module | None:
        """Prepare, train, judge; fills ``found`` and returns the best network, or None where there was no time."""
        self.report({"stage": "preparing", "text": "volumes and first samples"})
        volumes = self._volumes(ct)
        rings = self._start_makers(volumes)
        choosing, judging = self._held_out_samples(volumes)
        trainer = Trainer(self.config, self.work, RingSource(rings, self.config.seed, self.options.device), self.device)
        trainer.network.load_state_dict(installed.state_dict())
        trainer.average = {k: v.detach().clone() for k, v in trainer.network.state_dict().items()}
        task = trainer.task
        began = time.monotonic()
        found.before = held_out_errors(task, installed, judging)
        judging_seconds = time.monotonic() - began
        self.report({"stage": "before", **found.before.summary()})
        best = _Best(task, choosing, installed)
        found.curve.append({"step": 0, **best.summary})
        self.report({"stage": "training", "step": 0, "done": 0.0, **best.summary})
        try:
            self._train(trainer, best, found, judging_seconds)
        except KeyboardInterrupt:
            found.interrupted = True
        found.steps, found.samples = trainer.step, trainer.samples
        if best.state is None:
            network = installed
        else:
            network = trainer.averaged_network()
            network.load_state_dict(best.state)
        found.after = held_out_errors(task, network, judging)
        found.verdict = compare(found.before, found.after)
        self.report({"stage": "after", **found.after.summary(), "gain": round(found.verdict.gain, 4)})
        return network

    @property
    def device(self) -> torch.device:
        return self.options.device

    def _train(self, trainer: Trainer, best: _Best, found: Adaptation, judging_seconds: float) -> None:
        seconds = self.deadline - time.monotonic() - 1.5 * judging_seconds - 2
        if seconds < 5:
            raise InputError(
                f"Preparing took so long that of {self.options.minutes:g} minutes none are left: give more --minutes."
            )
        cost = judging_seconds * CHOOSING / JUDGING
        start = time.monotonic()

        def check(network: nn.Module) -> dict[str, float]:
            summary = best.check(network)
            found.curve.append({"step": trainer.step, **summary})
            share = (time.monotonic() - start) / seconds
            self.report({"stage": "training", "step": trainer.step, "done": round(min(share, 1.0), 3), **summary})
            return summary

        def progress(entry: dict[str, Any]) -> None:
            if "validation" not in entry:
                share = (time.monotonic() - start) / seconds
                record = {name: entry[name] for name in ("step", "normal", "start") if name in entry}
                self.report({"stage": "training", "done": round(min(share, 1.0), 3), **record})

        trainer.run(
            minutes=seconds / 60,
            decay_share=0.4,
            validate=check,
            validate_minutes=max(seconds / 8, 8 * cost) / 60,
            report=progress,
        )

    def _volumes(self, ct: Volume) -> PatientVolumes:
        aims = None if self.options.aim is None else self.options.aim.points
        volumes = PatientVolumes(self.work / "volumes", self.config.seed, aims)
        volumes.keep(ct)
        return volumes

    def _start_makers(self, volumes: PatientVolumes) -> list[SampleRing]:
        count = 1
        if self.device.type == "cuda":
            # Each keeps a part of the volumes on the device, and waits until the first of them is made.
            count = min(2, max(1, (os.cpu_count() or 2) - 1))
            threading.Thread(target=lambda: list(volumes.volumes()), daemon=True).start()
        plan = MakerPlan(self.work, volumes, self.config.sample, self.config.seed, str(self.device), 0, count)
        for number in range(count):
            SampleRing.create(ring_folder(self.work, number), RING_SLOTS, ring_layout(self.config.sample))
            self.makers.append(start_maker(replace(plan, number=number)))
        return [ring for _, ring in self.makers]

    def _held_out_samples(self, volumes: PatientVolumes) -> tuple[list[SampleBatch], list[SampleBatch]]:
        volume = training_volume(volumes.held_out(), self.device)
        maker = SampleMaker(self.config.sample)
        generator = torch.Generator(self.device).manual_seed(self.config.seed + 271_828)
        with torch.no_grad():
            made = [maker.make(volume, 4, generator) for _ in range((CHOOSING + JUDGING) // 4)]
        for process, ring in self.makers:
            if not wait_for(ring, FIRST_SLOTS, process, max(1.0, self.deadline - time.monotonic())):
                raise InputError("The process that makes samples ended or is too slow: give more --minutes.")
        return made[: CHOOSING // 4], made[CHOOSING // 4 :]

    def end(self) -> None:
        """End the processes."""
        for process, _ in self.makers:
            process.terminate()
            process.join(5)


class _Best:
    """The best weights so far, on samples that choose."""

    def __init__(self, task: Task, batches: list[SampleBatch], installed: nn.Module) -> None:
        self.task, self.batches = task, batches
        errors = held_out_errors(task, installed, batches)
        self.score, self.summary = errors.score, errors.summary()
        self.state: dict[str, torch.Tensor] | None = None

    def check(self, network: nn.Module) -> dict[str, float]:
        """Remember the weights where they are the best by now; returns the errors for people."""
        errors = held_out_errors(self.task, network, self.batches)
        if errors.score < self.score:
            self.score = errors.score
            self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}
        return errors.summary()


def _description(
    config: TrainConfig, options: AdaptationOptions, found: Adaptation, entry: dict[str, Any], digest: str
) -> dict[str, Any]:
    """What the manifest says of adapted weights. ct_sha256: of the CT's voxels, so that another CT is noticed."""
    return {
        "purpose": entry.get("purpose", ""),
        "adapted": {
            "from_sha256": entry["sha256"],
            "ct_sha256": digest,
            "views": "given" if options.aim is not None else "any",
            "steps": found.steps,
            "samples": found.samples,
            "device": options.device.type,
            "gain": round(found.verdict.gain, 4),
        },
        "training": {"configuration": json.loads(json.dumps(config.as_dict()))},
        "date": datetime.date.today().isoformat(),
        "licence": entry.get("licence", "Apache-2.0"),
        "known_limits": "Adapted to one CT on simulated X-rays of it. Use the installed weights for others.",
    }


def prepare_threads(device: torch.device) -> None:
    """Leave a core of a CPU to the process that makes samples."""
    if device.type == "cpu":
        torch.set_num_threads(min(torch.get_num_threads(), cpu_threads()))
