"""Where samples come from: training volumes made and cached as they are needed, on a CPU in a process of its own.

On a GPU every step renders its own samples from volumes that stay on the device. On a CPU one process makes volumes and
fills the ring, and the trainer reads it.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ..engine.drr import DrrRenderer
from ..engine.surface import SurfacePoints
from ..engine.volume import attenuation_of
from .config import SampleConfig
from .maker import fill_ring, parent_lives, ring_folder, ring_layout
from .ring import SampleRing
from .samples import SampleBatch, SampleMaker, TrainingVolume, concatenated
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


def _make_samples(folder: str, folders: VolumeFolders, config: SampleConfig, seed: int, parent: int) -> None:
    torch.set_num_threads(1)
    ring = SampleRing.open(ring_folder(Path(folder)))
    alive = parent_lives(parent)
    # Another seed each time the job is resumed, or it would make the same samples again.
    seed = seed + ring.written
    fill_ring(ring, config, stream_of_volumes(folders, seed), seed, XRAYS_PER_VOLUME, alive)


def start_maker(
    folder: Path, folders: VolumeFolders, config: SampleConfig, seed: int, parent: int
) -> tuple[multiprocessing.process.BaseProcess, SampleRing]:
    """Start the process that fills the ring of a job in ``folder``; it ends when process ``parent`` does."""
    if not (ring_folder(folder) / "ring.json").exists():
        SampleRing.create(ring_folder(folder), RING_SLOTS, ring_layout(config))
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_make_samples, args=(str(folder), folders, config, seed, parent), daemon=True)
    process.start()
    return process, SampleRing.open(ring_folder(folder))


class OnlineSource:
    """Samples rendered for every step on the device of the volumes, a few X-rays from each of several volumes."""

    def __init__(self, volumes: list[TrainingVolume], config: SampleConfig, xrays_per_volume: int = 8) -> None:
        self.volumes = volumes
        self.maker = SampleMaker(config)
        self.xrays_per_volume = xrays_per_volume

    def batch(self, xrays: int, generator: torch.Generator) -> SampleBatch:
        """See ``SampleSource``."""
        parts, left = [], xrays
        while left > 0:
            count = min(left, self.xrays_per_volume)
            chosen = int(torch.randint(len(self.volumes), (1,), generator=generator, device=generator.device))
            parts.append(self.maker.make(self.volumes[chosen], count, generator))
            left -= count
        return concatenated(parts)


def validation_batches(
    folders: VolumeFolders, config: SampleConfig, xrays_per_volume: int = 12, seed: int = 12345
) -> list[SampleBatch]:
    """Fixed samples of the held-out CTs and their copies, on the CPU."""
    batches = []
    names = sorted(folders.cache.glob("val_*.npz"))
    generator = torch.Generator().manual_seed(seed)
    maker = SampleMaker(config)
    with torch.no_grad():
        for path in names:
            volume = training_volume(load_prepared(path))
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
            made = validation_batches(self.folders, self.config)
            self._volumes, self._batches = volumes, [batch.to(self.device) for batch in made]
        return self._batches


def wait_for(ring: SampleRing, slots: int, process: multiprocessing.process.BaseProcess, seconds: float) -> bool:
    """Wait until the ring holds ``slots`` samples; False when the maker ended or time ran out."""
    limit = time.monotonic() + seconds
    while ring.filled < slots and process.is_alive() and time.monotonic() < limit:
        time.sleep(0.5)
    return ring.filled >= slots
