"""Trained weights: the files in Resources/Models, checked against their manifest and loaded without running code.

``manifest.json`` holds one entry a network: file, SHA-256, architecture and configuration, and what it was trained on.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..resources import models_dir
from .atomic import atomic_path
from .errors import InputError
from .folder_lock import folder_lock
from .json_file import read_json
from .networks import build_network

MANIFEST = "manifest.json"
FORMAT = "deepreg2d3d-models"
LARGEST_FILE = 64 * 1024 * 1024


class MissingWeights(InputError):
    """No weights of this name are in the manifest."""


def _mend(folder: Path) -> str:
    if folder == models_dir():
        return "Install the program again, or use --method dppc, which needs no weights."
    return "Make that folder again, or leave --weights out."


def read_manifest(folder: Path | None = None) -> dict[str, Any]:
    """Entries of the manifest by the network's name; empty where no weights are installed."""
    folder = folder or models_dir()
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
        if content["format"] != FORMAT:
            raise KeyError("format")
        return {name: entry for name, entry in content["networks"].items() if isinstance(entry, dict)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: the list of network weights cannot be read ({error}). {_mend(folder)}") from error


def files_state(folder: Path | None = None) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of the files of a folder of weights (None: the installed ones): others where one changed."""
    folder = folder or models_dir()
    if not folder.is_dir():
        return ()
    found = []
    for path in sorted([*folder.glob("*.pt"), folder / MANIFEST]):
        with suppress(FileNotFoundError):  # another process may be writing there
            stat = path.stat()
            found.append((path.name, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def load_network(name: str, device: torch.device | str = "cpu", folder: Path | None = None) -> nn.Module:
    """The trained network of a name, in evaluation mode on ``device``, in float32.

    Raises InputError when it isn't installed, or when its file is missing, truncated, altered or of another network.
    """
    folder = folder or models_dir()
    entry = read_manifest(folder).get(name)
    if entry is None:
        raise MissingWeights(f"No trained weights named '{name}' come with this version. Use --method dppc.")
    path = folder / str(entry.get("file", ""))
    if path.parent != folder or not path.is_file():
        raise InputError(f"The weights '{name}' are missing ({path} is not there). {_mend(folder)}")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path}: this file is too large to be the weights '{name}'. {_mend(folder)}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise InputError(
            f"{path}: the file was altered or cut off (its SHA-256 is not the manifest's). {_mend(folder)}"
        )
    try:
        network = build_network(entry["architecture"], entry["config"])
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    except Exception as error:  # torch raises many kinds for a file that isn't what it says
        kind = entry.get("architecture")
        raise InputError(f"{path}: these are not weights of '{kind}' ({error}). {_mend(folder)}") from error
    return network.to(device).eval().requires_grad_(False)


def adapted_weights(folder: Path) -> dict[str, str]:
    """SHA-256 of the networks of a folder, by name: what a report says of weights that are not the installed ones."""
    return {name: str(entry.get("sha256")) for name, entry in read_manifest(folder).items()}


def network_loader(device: torch.device, adapted: Path | None = None) -> Callable[[str], nn.Module]:
    """What loads networks by name onto ``device``: those that the folder ``adapted`` holds from there, others from the
    installed ones.

    Raises InputError at once when ``adapted`` holds no weights.
    """
    held = {} if adapted is None else read_manifest(adapted)
    if adapted is not None and not held:
        raise InputError(f"{adapted}: holds no network weights; deepreg2d3d adapt and train write such a folder.")
    return lambda name: load_network(name, device, adapted if name in held else None)


def save_network(name: str, network: nn.Module, architecture: str, description: dict[str, Any], folder: Path) -> Path:
    """Write a network's weights in half precision as ``<name>.pt`` and enter it in the manifest.

    ``description``: what it was trained on and how, its date, licence and known limits. Returns the file. Whenever this
    is cut off, the manifest names a whole file: the old or the new one.
    """
    state = {k: v.detach().cpu() for k, v in network.state_dict().items()}
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    content = buffer.getvalue()
    entry = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "architecture": architecture,
        "config": asdict(network.config),
        "parameters": sum(p.numel() for p in network.parameters()),
        **description,
    }
    path, meanwhile = folder / f"{name}.pt", folder / f"{name}.new.pt"
    with folder_lock(folder, wait=True, name=".manifest-in-use"):
        networks = read_manifest(folder)
        # A file that the manifest names is not written over: the new weights stand under another name meanwhile.
        named = networks.get(name, {}).get("file") == path.name
        for file in [meanwhile, path] if named else [path]:
            with atomic_path(file) as part:
                part.write_bytes(content)
            networks[name] = {"file": file.name, **entry}
            manifest = {"format": FORMAT, "version": 1, "networks": networks}
            with atomic_path(folder / MANIFEST) as part:
                part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        meanwhile.unlink(missing_ok=True)
    return path
