"""Which device computes."""

from __future__ import annotations

import torch

from .errors import InputError


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The torch device of 'auto' (CUDA where there is one), 'cpu' or 'cuda'.

    Raises InputError for another name, or for CUDA where none is usable.
    """
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name == "cuda" or name.startswith("cuda:"):
        if not torch.cuda.is_available():
            raise InputError(
                "Device 'cuda' was asked for, but torch finds no usable NVIDIA GPU here. Use --device cpu."
            )
        return torch.device(name)
    raise InputError(f"Unknown device '{name}'. Known devices: auto, cpu, cuda.")
