"""The flow networks alone, beside torchvision's RAFT-small, at several image sizes, in one run.

    python Testing/benchmarks/flow.py [--size 160 320 512] [--device cuda] [--json FILE]

Networks with random weights (time does not depend on them), one pair of images, as many updates for all as a
registration asks for. ``pointflow`` answers at 1,000 contour points alone; the others at every pixel. The peer is
optional (pip install torchvision): where it is missing, ours run alone and say so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch
from bench_tools import best_seconds, machine, parsed, parser_of, run, told, write_report
from DeepReg2D3DLib.engine.flow_matching import ITERATIONS
from DeepReg2D3DLib.engine.networks import FLOW_ARCHITECTURES, POINT_ARCHITECTURES, build_network
from DeepReg2D3DLib.engine.networks.point_flow import ContourScene
from DeepReg2D3DLib.engine.normalisation import NETWORK_CHANNELS
from torch import Tensor, nn

PEER = "torchvision raft_small"
POINTS = 1000


def main() -> None:
    """Time every architecture at every size, print a line each, write the report."""
    parser = parser_of(__doc__, "flow_benchmark.json")
    parser.add_argument("--size", type=int, nargs="+", default=[160, 320, 512], help="pixels along each side")
    parser.add_argument("--networks", nargs="+", default=[*FLOW_ARCHITECTURES, *POINT_ARCHITECTURES])
    parser.add_argument("--repeats", type=int, default=5)
    options = parsed(parser)
    facts = machine(options.device)
    print(told(facts))
    networks = {name: build_network(name).to(options.device).eval() for name in options.networks}
    try:
        networks[PEER] = _peer().to(options.device).eval()
    except ImportError as error:
        print(f"{PEER} is not to be had here and is left out ({error})")
    numbers = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    rows = []
    for size in options.size:
        calls = {name: _call(name, network, size, options.device) for name, network in networks.items()}
        with torch.inference_mode():
            seconds = best_seconds(calls, options.device, options.repeats)
        for name, each in seconds.items():
            row: dict[str, Any] = {"size": size, "network": name, "parameters": numbers[name], "s": each}
            if PEER in seconds:
                row["peer_over_ours"] = seconds[PEER] / each
            rows.append(row)
            ratio = (
                f"  {row['peer_over_ours']:6.2f} times as fast as {PEER}" if name != PEER and PEER in seconds else ""
            )
            print(f"{size:5} {name:24} {numbers[name]:>9} parameters {1000 * each:9.1f} ms{ratio}", flush=True)
    write_report(options.json, "flow", machine=facts, updates=ITERATIONS, points=POINTS, rows=rows)
    print(f"written to {options.json}")


def _call(name: str, network: nn.Module, size: int, device: torch.device) -> Callable[[], Any]:
    """One inference of a network at size x size pixels; the X-ray is encoded with it, as it is for a first pose."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, NETWORK_CHANNELS, size, size, generator=draw).to(device)
    drr, xray = images[:1], images[1:]
    if name == PEER:
        drr, xray = (torch.cat([image, image[:, :1]], 1) for image in (drr, xray))
        return lambda: network(drr, xray, num_flow_updates=ITERATIONS)
    if name in POINT_ARCHITECTURES:
        scene = _scene(size, draw, device)
        return lambda: network(drr, xray, scene, ITERATIONS)
    return lambda: network(drr, xray, ITERATIONS)


def _scene(size: int, draw: torch.Generator, device: torch.device) -> ContourScene:
    pixels = torch.rand(1, POINTS, 2, generator=draw) * (size - 1)
    angles = torch.rand(1, POINTS, generator=draw) * 2 * torch.pi
    normals = torch.stack([angles.cos(), angles.sin()], -1)
    depth = 800 + 60 * torch.randn(1, POINTS, generator=draw)
    focal, middle = 4.0 * size, 0.5 * (size - 1)
    across: Tensor = (pixels - middle) / focal * depth[..., None]
    intrinsics = torch.tensor([[[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]]])
    parts = (pixels, normals, torch.cat([across, depth[..., None]], -1), intrinsics)
    return ContourScene(*(part.to(device) for part in parts), torch.ones(1, POINTS, dtype=torch.bool, device=device))


def _peer() -> nn.Module:
    """RAFT-small with random weights. Raises ImportError where torchvision is missing or does not fit torch."""
    try:
        return _raft_small()
    except RuntimeError:
        # torchvision's wheels are built for torch with CUDA: beside a torch for the CPU alone its detection operators,
        # which RAFT has no use for, can't be loaded. Naming them is enough.
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [each for each in sys.modules if each.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        try:
            return _raft_small()
        except RuntimeError as error:
            raise ImportError(str(error)) from error


def _raft_small() -> nn.Module:
    from torchvision.models.optical_flow import raft_small

    return raft_small(weights=None)


if __name__ == "__main__":
    run(main)
