"""The training job: draw a batch, one step, log, validate, checkpoint; resumable at any second."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..engine.atomic import cut_torn_line, write_json
from ..engine.errors import InputError
from .checkpoint import load_checkpoint, save_checkpoint
from .config import TrainConfig
from .joint import joint_task
from .losses import normal_error
from .maker import batch_of
from .ring import SampleRing
from .samples import SampleBatch, augmented
from .tasks import network_input

CHECKPOINT_SECONDS = 60.0
LOG_STEPS = 50
LOG_SECONDS = 30.0
"""A line in the log after as many steps or as long, whichever comes first: a slow machine shows progress, too."""


class SampleSource(Protocol):
    """Where batches come from."""

    def batch(self, xrays: int, generator: torch.Generator) -> SampleBatch:
        """``xrays`` X-rays with their starts, not yet augmented, on the generator's device."""
        ...


class RingSource:
    """Batches from rings that other processes fill, as many X-rays from each; ``filled``: whether they still do."""

    def __init__(
        self,
        rings: Sequence[SampleRing],
        seed: int,
        device: torch.device | str = "cpu",
        filled: Callable[[], bool] = lambda: True,
    ) -> None:
        self.rings = list(rings)
        self.filled = filled
        self.device = device
        self._random = np.random.default_rng(seed)

    def batch(self, xrays: int, generator: torch.Generator) -> SampleBatch:
        """See ``SampleSource``; the source's own random numbers choose the slots.

        Raises InputError where nobody makes samples any more: the same ones again and again teach nothing.
        """
        if not self.filled():
            raise InputError("A process that makes training samples has ended: see the messages above. Start again.")
        share, over = divmod(xrays, len(self.rings))
        order = self._random.permutation(len(self.rings))
        counts = [share + (number < over) for number in range(len(self.rings))]
        parts = [
            self.rings[ring].read(count, self._random) for ring, count in zip(order, counts, strict=True) if count > 0
        ]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return batch_of(joined, self.device)


class Trainer:
    """One training job in one folder: ``checkpoint/``, ``log.jsonl``, ``config.json``."""

    def __init__(self, config: TrainConfig, folder: Path, source: SampleSource, device: torch.device) -> None:
        self.config, self.folder, self.source, self.device = config, folder, source, device
        torch.manual_seed(config.seed)
        self.task = joint_task(config)
        self.network: nn.Module = self.task.build().to(device)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self._groups(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.step = 0
        self.samples = 0
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", config.as_dict())
        cut_torn_line(folder / "log.jsonl")
        self._resume()

    def run(
        self,
        *,
        steps: int | None = None,
        minutes: float | None = None,
        decay_share: float = 0.0,
        validate: Callable[[nn.Module], dict[str, float]] | None = None,
        validate_minutes: float = 10.0,
        report: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Train until ``steps`` or ``minutes`` of this call are over.

        In the last ``decay_share`` of the budget the learning rate falls linearly to a hundredth. ``validate`` is given
        the averaged network; ``report`` gets every logged record.
        """
        began = time.monotonic()
        first = self.step
        saved = validated = began
        totals: dict[str, float] = {}
        waited = 0.0
        counted, mark = 0, began
        while True:
            now = time.monotonic()
            progress = max(
                (self.step - first) / steps if steps else 0.0, (now - began) / (60 * minutes) if minutes else 0.0
            )
            if progress >= 1.0:
                break
            self._set_rate(progress, decay_share)
            record, wait = self._train_step()
            waited += wait
            counted += 1
            for name, value in record.items():
                totals[name] = totals.get(name, 0.0) + value
            now = time.monotonic()
            if self.step % LOG_STEPS == 0 or now - mark > LOG_SECONDS:
                rate = counted * self.config.xrays * self.config.sample.starts_per_xray / (now - mark)
                entry = {"step": self.step, "samples": self.samples, "seconds": round(self.seconds + now - began, 1)}
                entry |= {k: round(v / counted, 4) for k, v in totals.items()}
                entry |= {"samples_per_s": round(rate, 1), "waiting": round(waited / (now - mark), 3)}
                entry["rate"] = self.optimiser.param_groups[0]["lr"]
                self._log(entry, report)
                totals, counted, waited, mark = {}, 0, 0.0, now
            if validate is not None and now - validated > 60 * validate_minutes:
                self._log({"step": self.step, "validation": validate(self.averaged_network())}, report)
                validated = mark = time.monotonic()
                totals, counted, waited = {}, 0, 0.0
            if now - saved > CHECKPOINT_SECONDS:
                self.save(self.seconds + now - began)
                saved = time.monotonic()
        self.seconds += time.monotonic() - began
        if validate is not None:
            self._log({"step": self.step, "validation": validate(self.averaged_network())}, report)
        self.save(self.seconds)

    def averaged_network(self) -> nn.Module:
        """The network with the running average of its weights, for use and for validation."""
        network = self.task.build().to(self.device)
        network.load_state_dict(self.average)
        return network.eval()

    def save(self, seconds: float) -> None:
        """Write the checkpoint."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        state = self.optimiser.state_dict()["state"]
        for index, entry in state.items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in entry.items()}
        description = {
            "config": self.config.as_dict(),
            "step": self.step,
            "samples": self.samples,
            "seconds": round(seconds, 1),
        }
        save_checkpoint(self.folder / "checkpoint", tensors, description)

    def _resume(self) -> None:
        found = load_checkpoint(self.folder / "checkpoint")
        if found is None:
            return
        tensors, description = found

        def part(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.network.load_state_dict(part("network."))
        self.average = {k: v.to(self.device) for k, v in part("average.").items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimiser.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.samples = description["step"], description["samples"]
        self.seconds = description["seconds"]

    def _groups(self) -> list[dict[str, Any]]:
        """What is trained, with its share of the learning rate: a joint job may keep or spare its flow network."""
        named = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        flow = self.config.stage == "joint"
        spared = [p for name, p in named if flow and name.startswith("flow.")]
        others = [p for name, p in named if not (flow and name.startswith("flow."))]
        groups = [{"params": others, "share": 1.0}]
        return [*groups, {"params": spared, "share": self.config.flow_rate}] if spared else groups

    def _set_rate(self, progress: float, decay_share: float) -> None:
        config = self.config
        rate = config.learning_rate * min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        if config.cycle_steps > 0:
            # Triangular (Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017).
            phase = (self.step % config.cycle_steps) / config.cycle_steps
            rate *= 0.1 + 0.9 * (1 - abs(2 * phase - 1))
        if decay_share > 0 and progress > 1 - decay_share:
            rate *= max(0.01, (1 - progress) / decay_share)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]

    def _train_step(self) -> tuple[dict[str, float], float]:
        config = self.config
        # Every step draws from a generator of its own, so that a resumed job continues as if never stopped.
        seed = config.seed * 1_000_003 + self.step
        generator = torch.Generator(self.device).manual_seed(seed)
        host = torch.Generator().manual_seed(seed)
        asked = time.monotonic()
        with torch.no_grad():
            batch = self.source.batch(config.xrays, generator)
            waited = time.monotonic() - asked
            changed = float(torch.rand((), generator=host)) < config.photometric_share
            batch = augmented(batch, generator)
            given = network_input(batch, host if changed else None)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
            loss, record = self.task.losses(self.network, batch, given, self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        self._update_average()
        self.step += 1
        self.samples += len(batch.drr)
        with torch.no_grad():
            still = torch.zeros_like(given.flow)
            record |= {
                "loss": float(loss.detach()),
                "start": float(normal_error(still, given.flow, given.normals, given.weights)),
                "norm": float(norm),
            }
        return record, waited

    @torch.no_grad()
    def _update_average(self) -> None:
        # The average follows faster while the job is young, or it would remember the random start for long.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _log(self, entry: dict[str, Any], report: Callable[[dict[str, Any]], None] | None) -> None:
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(entry) + "\n")
        if report is not None:
            report(entry)


def read_log(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of a job's log; a last line cut off by a stop is passed over."""
    path = folder / "log.jsonl"
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue
