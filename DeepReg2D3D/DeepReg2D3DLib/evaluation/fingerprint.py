"""What an evaluation was made of, so that rows of other data or other weights are never mixed into its table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..engine.atomic import write_json
from ..engine.case_file import load_case
from ..engine.errors import InputError
from ..engine.geometry_file import load_geometry
from ..engine.image_files import data_files
from ..engine.json_file import read_record
from ..engine.weights import MANIFEST, adapted_weights
from ..resources import models_dir

FORMAT = "deepreg2d3d-evaluation"
FILE_NAME = "run.json"
WEIGHTS = "weights"


def digest(paths: Sequence[Path]) -> str:
    """SHA-256 over the contents of files; of a folder, over its files in the order of their names."""
    total = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as content:
                    total.update(hashlib.file_digest(content, "sha256").digest() if hasattr(hashlib, "file_digest")
                                 else hashlib.sha256(content.read()).digest())  # fmt: skip
    return total.hexdigest()


def fingerprint(folders: Sequence[Path], learned: bool, weights: Path | None = None) -> dict[str, str]:
    """One digest per case folder, the program's version and, where a learned method runs, a digest of the weights.

    weights: a folder of networks that stand in for installed ones of the same name; their own digests are added.
    """
    prints = {"version": __version__}
    for folder in folders:
        case = load_case(folder)
        images = [view.image for view in load_geometry(case.geometry) if view.image is not None]
        pixels = [beside for image in (case.ct, *images) for beside in data_files(image)]
        prints[f"case {case.name}"] = digest([folder / "case.json", case.geometry, case.ct, *images, *pixels])
    if learned:
        others = {} if weights is None else adapted_weights(weights)
        named = [f"{name} {others[name]}" for name in sorted(others)]
        prints[WEIGHTS] = "; ".join([digest(_installed_weights()), *named])
    return prints


def _installed_weights() -> list[Path]:
    """The manifest and the weight files, without the model cards beside them."""
    return [path for path in sorted(models_dir().iterdir()) if path.name == MANIFEST or path.suffix == ".pt"]


def networks_in_place(out: Path) -> list[str]:
    """'name SHA-256' of the networks that stood in for installed ones in the run whose run.json lies in ``out``."""
    made_of = read_record(out / FILE_NAME, FORMAT).get("made_of")
    return str(made_of.get(WEIGHTS, "")).split("; ")[1:]


def check_same_run(out: Path, prints: dict[str, str]) -> None:
    """Write run.json into ``out``; raises InputError when the rows there were made with other data or weights."""
    path = out / FILE_NAME
    known = dict(prints)
    if path.exists():
        record = read_record(path, FORMAT)
        before = record.get("made_of")
        if not isinstance(before, dict):
            raise record.error("expected an object; choose another --out", "made_of")
        changed = [name for name in prints if name in before and before[name] != prints[name]]
        if changed:
            raise InputError(
                f"{out}: its rows come from a run with different {' and '.join(changed)}; choose another --out, or "
                "empty it."
            )
        known = {**before, **prints}
    write_json(path, {"format": FORMAT, "version": 1, "made_of": known})
