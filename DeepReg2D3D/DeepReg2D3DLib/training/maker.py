"""Filling a ring with training samples on a CPU, beside the trainer, and reading batches out of it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .config import SampleConfig
from .ring import SampleRing
from .samples import SampleBatch, SampleMaker, TrainingVolume

XRAYS_AT_ONCE = {"cpu": 4, "cuda": 16}


def ring_layout(config: SampleConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    """Arrays of one slot: an X-ray with its starts. Images in half precision: their range is that of line integrals."""
    rows, columns, starts, points = config.rows, config.columns, config.starts_per_xray, config.points
    return {
        "drr": ((starts, rows, columns), "float16"),
        "xray": ((rows, columns), "float16"),
        "mask": ((rows, columns), "bool"),
        "points": ((starts, points, 3), "float32"),
        "gradients": ((starts, points, 3), "float32"),
        "valid": ((starts, points), "bool"),
        "start": ((starts, 4, 4), "float64"),
        "truth": ((4, 4), "float64"),
        "intrinsics": ((3, 3), "float64"),
    }


def slots_of(batch: SampleBatch) -> Iterator[dict[str, np.ndarray]]:
    """The batch as slots, one for each X-ray; its starts must be in the order of their X-rays and equally many."""
    xrays = len(batch.xray)
    starts = len(batch.drr) // xrays
    batch = replace(batch, drr=batch.drr.half(), xray=batch.xray.half()).to("cpu")

    def grouped(tensor: Tensor) -> np.ndarray:
        return tensor.reshape(xrays, starts, *tensor.shape[1:]).numpy()

    drr, start, truth = grouped(batch.drr[:, 0]), grouped(batch.start), grouped(batch.truth)
    points, gradients, valid = grouped(batch.points), grouped(batch.gradients), grouped(batch.valid)
    intrinsics = grouped(batch.intrinsics)
    for m in range(xrays):
        yield {
            "drr": drr[m],
            "xray": batch.xray[m, 0].numpy(),
            "mask": batch.mask[m, 0].numpy(),
            "points": points[m],
            "gradients": gradients[m],
            "valid": valid[m],
            "start": start[m],
            "truth": truth[m, 0],
            "intrinsics": intrinsics[m, 0],
        }


def batch_of(slots: dict[str, np.ndarray], device: torch.device | str = "cpu") -> SampleBatch:
    """The batch held by slots read from a ring, (M, ...) each, on a device."""
    starts = slots["drr"].shape[1]

    def moved(name: str) -> Tensor:
        return torch.from_numpy(slots[name]).to(device)

    def flat(name: str, dtype: torch.dtype) -> Tensor:
        return moved(name).to(dtype).flatten(0, 1)

    def repeated(name: str) -> Tensor:
        return moved(name).repeat_interleave(starts, dim=0)

    return SampleBatch(
        drr=flat("drr", torch.float32)[:, None],
        xray=moved("xray").to(torch.float32)[:, None],
        mask=moved("mask")[:, None],
        xray_index=torch.arange(len(slots["xray"]), device=device).repeat_interleave(starts),
        points=flat("points", torch.float32),
        gradients=flat("gradients", torch.float32),
        valid=flat("valid", torch.bool),
        start=flat("start", torch.float64),
        truth=repeated("truth"),
        intrinsics=repeated("intrinsics"),
    )


@torch.no_grad()
def fill_ring(
    ring: SampleRing,
    config: SampleConfig,
    volumes: Iterator[TrainingVolume],
    seed: int,
    xrays_per_volume: int,
    device: torch.device | str = "cpu",
) -> None:
    """Render samples into the ring, ``xrays_per_volume`` from each volume.

    The volumes must be on ``device``, where everything is rendered.
    """
    generator = torch.Generator(device).manual_seed(seed)
    at_once = XRAYS_AT_ONCE[torch.device(device).type]
    maker = SampleMaker(config)
    for volume in volumes:
        for _ in range(max(1, xrays_per_volume // at_once)):
            batch = maker.make(volume, at_once, generator)
            if not bool(batch.valid.any(-1).all()):
                continue  # A start without a single contour point teaches nothing.
            for slot in slots_of(batch):
                ring.write(slot)


def end_with_parent() -> None:
    """End this process at once when the one that started it (by multiprocessing) ends, in whatever way.

    What it writes may be cut short anywhere.
    """

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def ring_folder(folder: Path, number: int = 0) -> Path:
    """Where a job keeps the ring of its maker ``number``."""
    return folder / f"ring-{number}"
