"""Training checkpoints: a folder of tensor files of at most 15 MB each and a description, replaced as a whole.

A job can be stopped at any moment: the new checkpoint is written beside the old one and takes its place by renaming.
Tensors are read back with ``weights_only``, so a checkpoint cannot run code.
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..engine.errors import InputError
from ..engine.json_file import read_json

PIECE_BYTES = 15 * 1000 * 1000
_DESCRIPTION = "checkpoint.json"


def _pieces(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    pieces: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        # The budget leaves room for the container's own bytes around each tensor.
        needed = tensor.numel() * tensor.element_size() + 1024
        if size + needed > PIECE_BYTES and pieces[-1]:
            pieces.append({})
            size = 0
        pieces[-1][name] = tensor.detach().cpu().contiguous().clone()
        size += needed
    return pieces


def save_checkpoint(folder: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Replace the checkpoint in ``folder`` by these named tensors and this JSON-able description."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    pieces = _pieces(tensors)
    for index, piece in enumerate(pieces):
        torch.save(piece, fresh / f"tensors-{index:02d}.pt")
    (fresh / _DESCRIPTION).write_text(json.dumps({**description, "pieces": len(pieces)}, indent=1))
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and description last saved in ``folder``, or None where there is no checkpoint.

    Raises InputError when a checkpoint is there but incomplete or unreadable.
    """
    if not folder.exists():
        # A stop between the two renames of ``save_checkpoint`` leaves the previous checkpoint under this name.
        folder = folder.with_name(folder.name + ".old")
    if not (folder / _DESCRIPTION).is_file():
        return None
    try:
        description = read_json(folder / _DESCRIPTION)
        tensors: dict[str, Tensor] = {}
        for index in range(description["pieces"]):
            path = folder / f"tensors-{index:02d}.pt"
            tensors.update(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"The checkpoint in {folder} cannot be read ({error}). Remove that folder to start the training afresh."
        ) from error
    return tensors, description
