"""Time our DRR beside RTK's C++ Joseph projector and nanodrr, in one run.

    python Testing/benchmarks/drr.py [--ct CT.nrrd] [--size 256 512] [--device cuda] [--threads 2] [--json FILE]

The peers are optional (pip install itk-rtk nanodrr); one that is missing is skipped and said so. RTK runs on the CPU
whatever the device; 'paired' is ours with voxel planes averaged two by two, as registrations render; on a GPU nanodrr
runs with its torch backend and with its Triton kernel. Projectors take turns, and the best of the repeats counts: other
work on the machine can only add. Prints a table with the ratios and writes it as JSON.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch
from bench_tools import DATA, best_seconds, machine, parsed, parser_of, run, told, write_report
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.drr_paired import PairedRenderer, Renderer
from DeepReg2D3DLib.engine.volume_io import load_volume
from drr_peers import NanoDrr, RtkJoseph

OURS, PAIRED, RTK, NANODRR, TRITON = "ours", "paired", "RTK", "nanodrr", "nanodrr-triton"
SDD_MM, SOURCE_TO_CENTRE_MM = 1200.0, 800.0
VOXELS = 256**3


def views() -> dict[str, torch.Tensor]:
    """Rotations CT (LPS) to camera: from the front, from the left, and half-way between, tilted and rolled."""
    front = torch.tensor([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    left = torch.tensor([[0, 1, 0], [0, 0, -1], [-1, 0, 0]], dtype=torch.float64)

    def turn(axis: int, angle_deg: float) -> torch.Tensor:
        c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
        a, b = (axis + 1) % 3, (axis + 2) % 3
        matrix = torch.eye(3, dtype=torch.float64)
        matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
        return matrix

    return {"AP": front, "lateral": left, "oblique": turn(2, 10) @ turn(0, 12) @ front @ turn(2, 40)}


def pose_of(rotation: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """ct_to_camera that puts the CT's centre on the principal ray."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotation
    pose[:3, 3] = torch.tensor([0, 0, SOURCE_TO_CENTRE_MM], dtype=torch.float64) - rotation @ centre
    return pose


class _Ours:
    """One of our renderers, with the interface of the peers."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    def prepare(self, pose: torch.Tensor, k: torch.Tensor, size: tuple[int, int]) -> Callable[[], torch.Tensor]:
        """What renders one image."""
        return lambda: self._renderer(pose[None], k, size)[0, 0]


def main() -> None:
    """Measure, print the table, write the report."""
    parser = parser_of(__doc__, "drr_benchmark.json")
    parser.add_argument(
        "--ct", type=Path, default=DATA / "ct" / "thorax_a.nrrd", help="CT file (NRRD, NIfTI, MHA or a DICOM folder)"
    )
    parser.add_argument("--size", type=int, nargs="+", default=[256, 512], help="image sizes in pixels")
    parser.add_argument("--field-mm", type=float, default=307.2, help="side of the detector")
    parser.add_argument("--native", action="store_true", help="the CT's own voxels, not cubes, about 256^3 in number")
    parser.add_argument("--samples", type=int, default=500, help="nanodrr's samples a ray (500 is its default)")
    parser.add_argument("--repeats", type=int, default=5)
    options = parsed(parser)
    facts = machine(options.device)
    volume = load_volume(options.ct)
    if not options.native:
        extent = math.prod(n * s for n, s in zip(reversed(volume.shape), volume.spacing, strict=True))
        volume = volume.resampled((extent / VOXELS) ** (1 / 3))
    attenuation = volume.attenuation()
    ours = DrrRenderer(attenuation.to(options.device), volume.ijk_to_ct)
    projectors = {OURS: _Ours(ours), PAIRED: _Ours(PairedRenderer(ours))}
    peers = {
        RTK: lambda: RtkJoseph(attenuation, volume.ijk_to_ct, options.threads),
        NANODRR: lambda: NanoDrr(attenuation, volume.ijk_to_ct, options.samples, options.device),
    }
    if options.device.type == "cuda":
        peers[TRITON] = lambda: NanoDrr(attenuation, volume.ijk_to_ct, options.samples, options.device, "triton")
    for name, make in peers.items():
        try:
            projectors[name] = make()
        except ImportError as error:
            print(f"{name} is not installed here and is skipped ({error})")

    shape = " x ".join(str(n) for n in reversed(volume.shape))
    print(f"{told(facts)}\n{options.ct.name}: {shape} voxels; seconds an image")
    print(f"{'size':>5} {'view':8}" + "".join(f"{name:>15}" for name in projectors), end="")
    print("".join(f"{f'ours/{n}' if n == RTK else f'{n}/ours':>14}" for n in projectors if n != OURS))
    rows = []
    for size in options.size:
        focal = SDD_MM * size / options.field_mm
        k = torch.tensor([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]], dtype=torch.float64)
        for view, rotation in views().items():
            pose = pose_of(rotation, volume.centre)
            render = {name: p.prepare(pose, k, (size, size)) for name, p in projectors.items()}
            rows.append({"size": size, "view": view, **measure(render, options.device, options.repeats)})
            print_row(rows[-1], list(projectors))
        mine = [row for row in rows if row["size"] == size]
        mean = {f"{name}_s": statistics.fmean(row[f"{name}_s"] for row in mine) for name in projectors}
        rows.append({"size": size, "view": "mean", **mean})
        print_row(rows[-1], list(projectors))
    write_report(
        options.json,
        "drr",
        ct=options.ct.name,
        voxels=list(reversed(volume.shape)),
        field_mm=options.field_mm,
        nanodrr_samples=options.samples,
        machine=facts,
        rows=rows,
    )
    print(f"written to {options.json}")


def measure(render: dict, device: torch.device, repeats: int) -> dict[str, float]:
    """Best seconds of each renderer, and its RMS difference from ours relative to the RMS of our image."""
    with torch.no_grad():
        images = {name: each().cpu() for name, each in render.items()}
        seconds = best_seconds(render, device, repeats)
    result = {f"{name}_s": each for name, each in seconds.items()}
    scale = images[OURS].square().mean().sqrt()
    for name in render:
        if name != OURS:
            result[f"{name}_rms"] = float((images[name] - images[OURS]).square().mean().sqrt() / scale)
    return result


def print_row(row: dict, names: list[str]) -> None:
    """One line of the table: seconds, ratios, and how far the images differ."""
    line = f"{row['size']:>5} {row['view']:8}" + "".join(f"{row[f'{name}_s']:15.5f}" for name in names)
    for name in names:
        if name != OURS:
            ratio = row[f"{OURS}_s"] / row[f"{name}_s"]
            row[f"ours_over_{name}"] = ratio
            line += f"{ratio if name == RTK else 1 / ratio:14.2f}"
    differences = [f"{name} {100 * row[f'{name}_rms']:.2f} %" for name in names if f"{name}_rms" in row]
    print(line + ("   RMS difference: " + ", ".join(differences) if differences else ""))


if __name__ == "__main__":
    run(main)
