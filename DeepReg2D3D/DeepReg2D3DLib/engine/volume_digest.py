"""A number that tells one CT from another, and nothing else about it."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import torch

from .errors import InputError
from .volume import Volume
from .weights import MANIFEST, read_manifest


def volume_digest(volume: Volume) -> str:
    """SHA-256 of a CT's voxels (rounded to whole HU) and of their spacing to a hundredth of a mm.

    It is the same from any file format, whatever the CT is called and wherever it lies.
    """
    found = hashlib.sha256(repr([*volume.shape, *(round(100 * s) for s in volume.spacing)]).encode())
    for part in volume.hu.to("cpu").split(16):
        whole = part.round().to(torch.int16) if part.is_floating_point() else part
        found.update(whole.contiguous().numpy().tobytes())
    return found.hexdigest()


def warn_of_another_ct(weights: Path, volume: Volume) -> None:
    """A Python warning where the networks of a folder were adapted to another CT than this one. Raises InputError."""
    adapted = [entry["adapted"] for entry in read_manifest(weights).values() if "adapted" in entry]
    if not all(isinstance(entry, dict) for entry in adapted):
        raise InputError(
            f"{weights / MANIFEST}: adapted: expected an object. Make that folder again, or leave --weights out."
        )
    wanted = {entry.get("ct_sha256") for entry in adapted}
    if wanted and volume_digest(volume) not in wanted:
        warnings.warn(
            "These networks were adapted to another CT; the installed ones are used without --weights.",
            stacklevel=2,
        )
