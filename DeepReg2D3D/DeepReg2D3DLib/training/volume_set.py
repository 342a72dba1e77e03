"""A folder of training volumes: every CT as it is, then different copies, formula phantoms and skeleton phantoms.

Volumes are written one by one, the plain CTs first, so that training can begin on the first while the rest are made.
What is there already is kept: the same settings give the same files.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..engine.atomic import write_text
from ..engine.errors import InputError
from ..engine.json_file import read_json
from ..engine.phantom import make_phantom
from ..engine.volume import Volume
from ..engine.volume_io import load_volume
from .maker import end_with_parent
from .skeleton import make_skeleton_phantom
from .volumes import VolumeSettings, prepare_volume, save_prepared

_PHANTOM_REGIONS = ("thoracolumbar", "thorax", "lumbar")
_CT_SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha", ".mhd")


@dataclass(frozen=True)
class VolumeSetSettings:
    """What a set holds: how many volumes, the shares of formula and skeleton-mesh phantoms, and who is left out.

    held_out: names of CTs (file names without suffix) that are kept, with every copy of them, for validation;
    validation: copies of each of them in the validation set, the plain CT included.
    """

    count: int = 64
    seed: int = 0
    phantoms: float = 0.2
    skeletons: float = 0.15
    held_out: tuple[str, ...] = ("thoracolumbar_a", "lumbar_c")
    validation: int = 2
    volume: VolumeSettings = field(default_factory=VolumeSettings)


@dataclass(frozen=True)
class PlannedVolume:
    """A volume to make: file name, kind ("ct", "phantom" or "skeleton"), the CT's path, its seed, varied or plain."""

    file: str
    kind: str
    path: Path | None
    seed: int
    vary: bool


def ct_name(path: Path) -> str:
    """The name by which a CT is held out: its file name without suffixes."""
    return path.name.split(".")[0]


def find_cts(folder: str | Path) -> list[Path]:
    """The CT files in a folder, sorted by name. Raises InputError when there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of CTs.")
    found = sorted(p for p in folder.iterdir() if p.name.lower().endswith(_CT_SUFFIXES))
    if not found:
        raise InputError(f"{folder}: it holds no CT ({', '.join(_CT_SUFFIXES)}).")
    return found


def plan_volumes(
    settings: VolumeSetSettings, ct_folder: str | Path | None, skeletons: bool
) -> tuple[list[PlannedVolume], list[PlannedVolume]]:
    """What to make for training and for validation, in the order of making.

    Without a CT folder the set is phantoms alone. Copies and phantoms are interleaved, so that any beginning of the
    list is a fair sample of the whole.
    """
    cts = find_cts(ct_folder) if ct_folder is not None else []
    training = [p for p in cts if ct_name(p) not in settings.held_out]
    validation = [p for p in cts if ct_name(p) in settings.held_out]
    base = settings.seed * 1_000_003
    train: list[PlannedVolume] = []

    def add(kind: str, path: Path | None, vary: bool) -> None:
        index = len(train)
        name = ct_name(path) if path is not None else kind
        train.append(PlannedVolume(f"train_{index:04d}_{name}.npz", kind, path, base + index, vary))

    for path in training[: settings.count]:
        add("ct", path, False)
    shares = [settings.phantoms, settings.skeletons if skeletons else 0.0]
    owed = [0.0, 0.0]
    turn = 0
    while len(train) < settings.count:
        owed = [o + s for o, s in zip(owed, shares, strict=True)]
        if owed[0] >= 1 or (not training and owed[0] >= owed[1]):
            owed[0] -= 1
            add("phantom", None, False)
        elif owed[1] >= 1 or not training:
            owed[1] -= 1
            add("skeleton", None, False)
        else:
            add("ct", training[turn % len(training)], True)
            turn += 1
    held = [
        PlannedVolume(f"val_{ct_name(path)}_{copy}.npz", "ct", path, base - 1 - copy, copy > 0)
        for copy in range(settings.validation)
        for path in validation
    ]
    return train, held


def _source(planned: PlannedVolume, skeleton_folder: str | Path | None, seed: int) -> Volume:
    if planned.kind == "ct":
        return load_volume(planned.path)
    if planned.kind == "phantom":
        return make_phantom(seed, region=_PHANTOM_REGIONS[seed % len(_PHANTOM_REGIONS)])
    return make_skeleton_phantom(seed, skeleton_folder)


def build_volume_set(
    settings: VolumeSetSettings,
    cache: str | Path,
    ct_folder: str | Path | None,
    skeleton_folder: str | Path | None = None,
    validation_first: bool = True,
) -> Iterator[Path]:
    """Make the set in the folder ``cache`` and yield each file when it is complete (``load_prepared`` reads it).

    Files of training volumes begin with ``train_``, of validation volumes with ``val_``. Raises InputError when the
    folder holds a set made with other settings.
    """
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    description = json.dumps(asdict(settings), indent=1)
    record = cache / "settings.json"
    before = read_json(record) if record.exists() else {}
    if before and (not isinstance(before, dict) or before | {"count": 0} != json.loads(description) | {"count": 0}):
        raise InputError(f"{cache}: it holds training volumes made with other settings; give another folder.")
    write_text(record, description)
    train, held = plan_volumes(settings, ct_folder, skeleton_folder is not None)
    # One volume to train on at once, then what validation needs, then the rest.
    order = [*train[:1], *held, *train[1:]] if validation_first else train
    for planned in order:
        yield make_planned(planned, cache, skeleton_folder, settings)


def make_planned(
    planned: PlannedVolume, cache: Path, skeleton_folder: str | Path | None, settings: VolumeSetSettings
) -> Path:
    """Make one volume of a set where it is missing; returns its file."""
    path = cache / planned.file
    if not path.exists():
        generator = torch.Generator().manual_seed(planned.seed % 2**62)
        source = _source(planned, skeleton_folder, planned.seed)
        vary = planned.vary or planned.kind != "ct"
        save_prepared(prepare_volume(source, generator, settings.volume, vary), path)
    return path


def begin_worker() -> None:
    """What a process of ``build_in_parallel`` begins with: one thread, and an end with the process that started it."""
    end_with_parent()
    torch.set_num_threads(1)


def build_in_parallel(
    settings: VolumeSetSettings,
    cache: Path,
    ct_folder: str | Path | None,
    skeleton_folder: str | Path | None,
    workers: int,
) -> list[Path]:
    """Make the whole set with several processes, for a machine whose GPU waits; returns the files in order."""
    cache.mkdir(parents=True, exist_ok=True)
    train, held = plan_volumes(settings, ct_folder, skeleton_folder is not None)
    planned = [*train, *held]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=begin_worker) as pool:
        count = len(planned)
        return list(pool.map(make_planned, planned, [cache] * count, [skeleton_folder] * count, [settings] * count))


def training_data(cache: Path) -> dict[str, Any]:
    """What the folder of a set holds to train on, for people: the CTs by name, volumes by kind, and their sources."""
    names = [path.stem.split("_", 2)[2] for path in sorted(cache.glob("train_*.npz"))]
    cts = sorted(set(names) - {"phantom", "skeleton"})
    counts = {
        "as_they_are": len(cts),
        "varied": sum(name in cts for name in names) - len(cts),
        "phantoms": names.count("phantom"),
        "meshes": names.count("skeleton"),
    }
    sources = {
        "as_they_are": "the CTs of these names in the folder given with --cts",
        "varied": "copies of these CTs: bent, scaled, mirrored, noisy, cut",
        "phantoms": "torsos by formula, made by this program",
        "meshes": "the bone meshes in the folder given with --skeletons",
    }
    return {"cts": cts, "volumes": counts, "sources": {kind: told for kind, told in sources.items() if counts[kind]}}
