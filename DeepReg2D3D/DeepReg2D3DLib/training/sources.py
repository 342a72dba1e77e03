"""Where samples come from: training volumes made and cached as they are needed, on a CPU in a process of its own.

Processes of their own render samples into rings, and the trainer reads those: on a CPU one process, which also makes
the volumes; on a GPU several, each with a part of the volumes on the device, because one process can't give it work
enough. Several trainers may read the same rings.
"""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ..engine.drr import DrrRenderer
from ..engine.folder_lock import folder_lock
from ..engine.surface import SurfacePoints
from ..engine.volume import attenuation_of
from .config import SampleConfig
from .maker import XRAYS_AT_ONCE, end_with_parent, fill_ring, ring_folder, ring_layout
from .ring import SampleRing
from .samples import SampleBatch, SampleMaker, TrainingVolume
from .spectrum import split_materials
from .volume_set import VolumeSetSettings, build_volume_set
from .volumes import PreparedVolume, load_prepared

RING_SLOTS = 4000
XRAYS_PER_VOLUME = 40
SURFACE_POINTS = 25_000
"""Enough for the few hundred contour points of a small image."""


@dataclass(frozen=True)
class VolumeFolders:
    """cache: where prepared volumes are kept; cts: a folder of CTs, or None; skeletons: bone meshes, or None."""

    cache: Path
    cts: Path | None
    skeletons: Path | None
    settings: VolumeSetSettings

    def volumes(self) -> Iterator[Path]:
        """Files of the set, each made first where it is missing."""
        return build_volume_set(self.settings, self.cache, self.cts, self.skeletons)


def training_volume(
    prepared: PreparedVolume, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> TrainingVolume:
    """A cached volume, ready to render on ``device`` in ``dtype``."""
    patient = prepared.continued_patient()
    materials = split_materials(patient.hu.to(torch.float32))
    surface = SurfacePoints(prepared.points.to(torch.float32), prepared.gradients.to(torch.float32))
    if len(surface) > SURFACE_POINTS:
        surface = surface.subsampled(SURFACE_POINTS, torch.Generator().manual_seed(0))
    return TrainingVolume(
        prepared.name,
        DrrRenderer(attenuation_of(prepared.ct.hu).to(device, dtype), prepared.ct.ijk_to_ct),
        DrrRenderer(materials.to(device, dtype), patient.ijk_to_ct),
        surface.to(device),
        prepared.isocentres.to(device),
    )


def stream_of_volumes(folders: VolumeFolders, seed: int) -> Iterator[TrainingVolume]:
    """Training volumes without end: after each newly made one, one of those that are there already.

    Validation volumes are passed over.
    """
    chance = random.Random(seed)
    made: list[Path] = []
    for path in folders.volumes():
        if path.name.startswith("train_"):
            made.append(path)
            yield training_volume(load_prepared(path))
            yield training_volume(load_prepared(chance.choice(made)))
    while made:
        yield training_volume(load_prepared(chance.choice(made)))


def resident_volumes(cache: Path, number: int, count: int, device: torch.device, seed: int) -> Iterator[TrainingVolume]:
    """Volumes without end out of every ``count``-th file of ``cache``, kept on the device; new files as they appear."""
    chance = random.Random(seed)
    held: dict[Path, TrainingVolume] = {}
    while True:
        for path in sorted(cache.glob("train_*.npz")):
            if int(path.name.split("_")[1]) % count == number and path not in held:
                held[path] = training_volume(load_prepared(path), device, torch.float16)
                break  # One at a time: samples of those that are there already need not wait.
        if held:
            yield chance.choice(list(held.values()))
        else:
            time.sleep(0.2)


@dataclass(frozen=True)
class MakerPlan:
    """What a process that fills a ring is told: the job's folder, and its number among ``count``."""

    folder: Path
    folders: VolumeFolders
    config: SampleConfig
    seed: int
    device: str = "cpu"
    number: int = 0
    count: int = 1


def _make_samples(plan: MakerPlan) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of a terminal; the one that trains decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder = ring_folder(plan.folder, plan.number)
    with folder_lock(folder, wait=True):
        _fill(SampleRing.open(folder), plan)


def _fill(ring: SampleRing, plan: MakerPlan) -> None:
    device = torch.device(plan.device)
    # Another seed each time the job is resumed, or it would make the same samples again.
    seed = plan.seed + 7919 * plan.number + ring.written
    if device.type == "cpu":
        volumes, per_volume = stream_of_volumes(plan.folders, seed), XRAYS_PER_VOLUME
    else:
        volumes = resident_volumes(plan.folders.cache, plan.number, plan.count, device, seed)
        per_volume = XRAYS_AT_ONCE["cuda"]
    fill_ring(ring, plan.config, volumes, seed, per_volume, device)


def start_maker(plan: MakerPlan) -> tuple[multiprocessing.process.BaseProcess, SampleRing]:
    """Start a process that fills a ring of a job; one of a killed job that still fills it is waited for."""
    folder = ring_folder(plan.folder, plan.number)
    with folder_lock(folder, wait=True):
        ring = SampleRing.open_or_create(folder, RING_SLOTS // plan.count, ring_layout(plan.config))
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_make_samples, args=(plan,), daemon=True)
    process.start()
    return process, ring


def validation_batches(
    folders: VolumeFolders,
    config: SampleConfig,
    device: torch.device | str = "cpu",
    xrays_per_volume: int = 12,
    seed: int = 12345,
) -> list[SampleBatch]:
    """Fixed samples of the held-out CTs and their copies, rendered on and for ``device``."""
    batches = []
    names = sorted(folders.cache.glob("val_*.npz"))
    generator = torch.Generator(device).manual_seed(seed)
    maker = SampleMaker(config)
    with torch.no_grad():
        for path in names:
            volume = training_volume(load_prepared(path), device)
            batches += [maker.make(volume, 4, generator) for _ in range(xrays_per_volume // 4)]
    return batches


class ValidationSet:
    """Fixed samples of the held-out volumes, made anew whenever more of these volumes exist.

    On a CPU the volumes of a new job appear while it trains.
    """

    def __init__(self, folders: VolumeFolders, config: SampleConfig, device: torch.device | str = "cpu") -> None:
        self.folders, self.config, self.device = folders, config, device
        self._volumes: list[Path] = []
        self._batches: list[SampleBatch] = []

    def batches(self) -> list[SampleBatch]:
        """The samples of all volumes that are there now."""
        volumes = sorted(self.folders.cache.glob("val_*.npz"))
        if volumes != self._volumes:
            self._volumes = volumes
            self._batches = validation_batches(self.folders, self.config, self.device)
        return self._batches


def wait_for(ring: SampleRing, slots: int, process: multiprocessing.process.BaseProcess, seconds: float) -> bool:
    """Wait until the ring holds ``slots`` samples; False when the maker ended or time ran out."""
    limit = time.monotonic() + seconds
    while ring.filled < slots and process.is_alive() and time.monotonic() < limit:
        time.sleep(0.5)
    return ring.filled >= slots and process.is_alive()
