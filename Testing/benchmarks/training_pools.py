"""Fixed training samples that differ in one thing only, and the samples that networks trained on them are judged by.

All X-rays of a pool show the same CTs from the same places with the same starts; each comes in several variants, which
differ in what the simulation of the X-ray varied. Training networks on the variants tells what that variation is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import bench_tools  # noqa: F401  puts DeepReg2D3DLib on the path
import numpy as np
import torch
from DeepReg2D3DLib.engine.case_file import load_case
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.volume_io import load_volume
from DeepReg2D3DLib.engine.xray_io import load_xray
from DeepReg2D3DLib.evaluation.starts import truth_of
from DeepReg2D3DLib.training.acquisition import Acquisitions, StartConfig
from DeepReg2D3DLib.training.config import USUAL_XRAYS, SampleConfig
from DeepReg2D3DLib.training.maker import XRAYS_AT_ONCE, batch_of, slots_of
from DeepReg2D3DLib.training.samples import SampleBatch, SampleMaker, TrainingVolume
from DeepReg2D3DLib.training.simulator import IDEAL, XraySettings, draw_xray_recipe, simulate_xray
from DeepReg2D3DLib.training.sources import training_volume
from DeepReg2D3DLib.training.volumes import load_prepared, prepare_volume
from torch import Tensor

XRAYS: dict[str, XraySettings] = {
    "all": USUAL_XRAYS,
    "no-energies": replace(USUAL_XRAYS, spectrum=IDEAL.spectrum),
    "no-tissue": replace(USUAL_XRAYS, tissue=IDEAL.tissue),
    "no-metal": replace(USUAL_XRAYS, metal=IDEAL.metal),
    "no-collimator": replace(USUAL_XRAYS, collimator=IDEAL.collimator),
    "no-detector": replace(USUAL_XRAYS, detector=IDEAL.detector),
    "ideal": IDEAL,
}
"""What varies from one X-ray to the next, each without one group of it; ideal: line integrals as they are."""


class Pool:
    """Samples in memory. arrays: as ``slots_of`` names them, stacked; images: of each variant, (xray, mask)."""

    def __init__(self, arrays: dict[str, np.ndarray], images: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        self.arrays, self.images = arrays, images

    def __len__(self) -> int:
        return len(self.arrays["truth"])

    def save(self, path: Path) -> None:
        """Write it; a torn file never appears."""
        part = path.with_suffix(".part")
        pictures = {
            f"{kind}:{name}": a for name, pair in self.images.items() for kind, a in zip(("x", "m"), pair, strict=True)
        }
        with part.open("wb") as file:
            np.savez(file, **self.arrays, **pictures)
        part.replace(path)

    @classmethod
    def load(cls, paths: Sequence[Path], variant: str) -> Pool:
        """The pool with the images of one variant; one that was made in parts is joined."""
        parts = []
        for path in paths:
            with np.load(path, allow_pickle=False) as stored:
                wanted = {f"x:{variant}", f"m:{variant}"}
                parts.append({name: stored[name] for name in stored.files if ":" not in name or name in wanted})
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        pictures = arrays.pop(f"x:{variant}"), arrays.pop(f"m:{variant}")
        return cls(arrays, {variant: pictures})


class PoolSource:
    """Batches of one variant of a pool, drawn by the trainer's own generator: a resumed job draws as it would have."""

    def __init__(self, pool: Pool, variant: str) -> None:
        self.pool, (self.xray, self.mask) = pool, pool.images[variant]

    def batch(self, xrays: int, generator: torch.Generator) -> SampleBatch:
        """See ``SampleSource``."""
        drawn = torch.randperm(len(self.pool), generator=generator, device=generator.device)[:xrays].cpu().numpy()
        slots = {name: array[drawn] for name, array in self.pool.arrays.items()}
        return batch_of(slots | {"xray": self.xray[drawn], "mask": self.mask[drawn]}, generator.device)


@torch.no_grad()
def make_pool(
    volumes: Sequence[Path],
    config: SampleConfig,
    variants: Iterable[str],
    xrays: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> Pool:
    """``xrays`` X-rays (or a few more: whole batches), as many of each volume, in every variant, rendered on
    ``device``."""
    maker = SampleMaker(config, IDEAL)
    names = list(variants)
    at_once = XRAYS_AT_ONCE[torch.device(device).type]
    collected: dict[str, list[np.ndarray]] = {}
    pictures: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in names}
    for volume, count, number in _shares(volumes, xrays, device):
        generator = torch.Generator(device).manual_seed(seed * 1_000_003 + number)
        made = 0
        while made < count:
            batch = maker.make(volume, at_once, generator)
            if not bool(batch.valid.any(-1).all()):
                continue
            for slot in slots_of(batch):
                for name, array in slot.items():
                    if name not in ("xray", "mask"):
                        collected.setdefault(name, []).append(array)
            first = slice(None, None, config.starts_per_xray)
            paths = volume.materials(batch.truth[first], batch.intrinsics[first], (config.rows, config.columns))
            for name in names:
                pictures[name] += _variant(paths, XRAYS[name], seed * 7919 + number * 101 + made)
            made += at_once
    arrays = {name: np.stack(each) for name, each in collected.items()}
    return Pool(arrays, {name: tuple(np.stack(part) for part in zip(*pictures[name], strict=True)) for name in names})


def _shares(
    volumes: Sequence[Path], xrays: int, device: torch.device | str
) -> Iterator[tuple[TrainingVolume, int, int]]:
    """(volume, X-rays of it, its number): the whole, divided evenly."""
    for number, path in enumerate(volumes):
        count = xrays * (number + 1) // len(volumes) - xrays * number // len(volumes)
        yield training_volume(load_prepared(path), device), count, number


def _variant(paths: Tensor, settings: XraySettings, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """X-rays of the materials' line integrals (M, 2, H, W), simulated with some settings."""
    device = paths.device
    recipe = draw_xray_recipe(torch.Generator().manual_seed(seed), len(paths), settings)
    generator = torch.Generator(device).manual_seed(seed)
    image = simulate_xray(paths[:, :1], paths[:, 1:2], recipe.to(device), generator)
    xrays, masks = image.line_integral[:, 0].half().cpu(), image.mask[:, 0].cpu()
    return list(zip(xrays.numpy(), masks.numpy(), strict=True))


def batches_of(pool: Pool, variant: str, device: torch.device | str = "cpu") -> list[SampleBatch]:
    """A whole pool in order, for judging on ``device``."""
    xray, mask = pool.images[variant]
    every = pool.arrays | {"xray": xray, "mask": mask}
    at_once = XRAYS_AT_ONCE[torch.device(device).type]
    return [
        batch_of({name: array[at : at + at_once] for name, array in every.items()}, device)
        for at in range(0, len(pool), at_once)
    ]


@torch.no_grad()
def case_batches(
    folder: Path, config: SampleConfig, starts: int, seed: int, device: torch.device | str = "cpu"
) -> list[SampleBatch]:
    """Starts about the X-rays of a test case, which another program simulated or a real C-arm took; a batch a view.

    Its CT is prepared as an unvaried one of the training is; the image's longer side is ``config.columns`` pixels.
    """
    case = load_case(folder)
    truth, _ = truth_of(case)
    generator = torch.Generator().manual_seed(seed)
    volume = training_volume(prepare_volume(load_volume(case.ct), generator, vary=False), device)
    generator = torch.Generator(device).manual_seed(seed)
    maker = SampleMaker(replace(config, starts_per_xray=starts))
    centre = volume.surface.points.mean(0).to("cpu", torch.float64)
    batches = []
    for view in load_geometry(case.geometry):
        xray = load_xray(view.image, view.camera, view.image_kind, view.frame)
        scale = config.columns / max(xray.camera.size)
        xray = xray.resized(round(scale * xray.camera.columns), round(scale * xray.camera.rows))
        pose = xray.camera.ct_to_camera(truth)
        depth: Tensor = (pose[:3, :3] @ centre + pose[:3, 3])[2]
        acquired = (pose[None], xray.camera.intrinsics[None], depth[None], torch.tensor([False]))
        moved = Acquisitions(*(each.to(device) for each in acquired))
        images = xray.line_integral.to(device), xray.mask.to(device)
        batches.append(maker.with_starts(volume, moved, *images, generator))
    return batches


NEAR_STARTS = StartConfig(wide_share=0.0)
"""For bones that are smaller than a vertebral column: no start that leaves the image."""
