"""Networks in a folder that stand in for installed ones, as ``adapt`` and ``train`` leave them."""

from __future__ import annotations

from pathlib import Path

import torch
from DeepReg2D3DLib.engine.weights import load_network, read_manifest, save_network

FLOW = "deep-iterative-flow"


def write_adapted_flow(folder: Path) -> Path:
    """Write a flow network of deep-iterative that answers otherwise than the installed one; returns the folder."""
    network = load_network(FLOW)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.5)
    folder.mkdir(parents=True, exist_ok=True)
    save_network(FLOW, network, read_manifest()[FLOW]["architecture"], {}, folder)
    return folder
