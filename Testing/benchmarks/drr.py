"""Time our DRR beside RTK's C++ Joseph projector and nanodrr's torch backend, on the CPU, in one run.

    python Testing/benchmarks/drr.py --ct CT.nrrd [--size 256 512] [--threads 2] [--json FILE]

The peers are optional (pip install itk-rtk nanodrr); one that is missing is skipped and said so. Projectors take
turns, and the best of the repeats counts: other work on the machine can only add. Prints a table with the ratios and
writes it as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "DeepReg2D3D")]

import torch  # noqa: E402
from DeepReg2D3DLib.engine.drr import DrrRenderer  # noqa: E402
from DeepReg2D3DLib.engine.volume_io import load_volume  # noqa: E402
from drr_peers import NanoDrr, RtkJoseph  # noqa: E402

OURS, RTK, NANODRR = "ours", "RTK", "nanodrr"
DEFAULT_CT = HERE.parents[2] / "shared" / "data" / "ct" / "thorax_a.nrrd"
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=Path, default=DEFAULT_CT, help="CT file (NRRD, NIfTI, MHA or a DICOM folder)")
    parser.add_argument("--size", type=int, nargs="+", default=[256, 512], help="image sizes in pixels")
    parser.add_argument("--field-mm", type=float, default=307.2, help="side of the detector")
    parser.add_argument("--native", action="store_true", help="the CT's own voxels, not cubes, about 256^3 in number")
    parser.add_argument("--samples", type=int, default=500, help="nanodrr's samples a ray (500 is its default)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("drr_benchmark.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.ct.exists():
        parser.error(f"there is no CT at {options.ct}; name one with --ct")

    volume = load_volume(options.ct)
    if not options.native:
        extent = math.prod(n * s for n, s in zip(reversed(volume.shape), volume.spacing, strict=True))
        volume = volume.resampled((extent / VOXELS) ** (1 / 3))
    attenuation = volume.attenuation()
    projectors = {OURS: DrrRenderer(attenuation, volume.ijk_to_ct)}
    peers = {
        RTK: lambda: RtkJoseph(attenuation, volume.ijk_to_ct, options.threads),
        NANODRR: lambda: NanoDrr(attenuation, volume.ijk_to_ct, options.samples),
    }
    for name, make in peers.items():
        try:
            projectors[name] = make()
        except ImportError as error:
            print(f"{name} is not installed here and is skipped ({error})")

    shape = " x ".join(str(n) for n in reversed(volume.shape))
    print(f"{options.ct.name}: {shape} voxels; {options.threads} threads; torch {torch.__version__}; seconds an image")
    print(f"{'size':>5} {'view':8}" + "".join(f"{name:>10}" for name in projectors), end="")
    print("".join(f"{f'ours/{n}' if n == RTK else f'{n}/ours':>14}" for n in projectors if n != OURS))
    rows = []
    for size in options.size:
        focal = SDD_MM * size / options.field_mm
        k = torch.tensor([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]], dtype=torch.float64)
        for view, rotation in views().items():
            pose = pose_of(rotation, volume.centre)
            run = {name: p.prepare(pose, k, (size, size)) for name, p in projectors.items() if name != OURS}
            run[OURS] = lambda pose=pose, k=k, size=size: projectors[OURS](pose[None], k, (size, size))[0, 0]
            rows.append({"size": size, "view": view, **measure(run, options.repeats)})
            print_row(rows[-1], list(projectors))
        mine = [row for row in rows if row["size"] == size]
        mean = {f"{name}_s": statistics.fmean(row[f"{name}_s"] for row in mine) for name in projectors}
        rows.append({"size": size, "view": "mean", **mean})
        print_row(rows[-1], list(projectors))
    report = {
        "format": "deepreg2d3d-benchmark-drr",
        "version": 1,
        "ct": options.ct.name,
        "voxels": list(reversed(volume.shape)),
        "threads": options.threads,
        "field_mm": options.field_mm,
        "nanodrr_samples": options.samples,
        "machine": f"{platform.machine()} {platform.system()}, {os.cpu_count()} CPUs",
        "torch": torch.__version__,
        "rows": rows,
    }
    options.json.write_text(json.dumps(report, indent=1))
    print(f"written to {options.json}")
    return 0


def measure(run: dict, repeats: int) -> dict[str, float]:
    """Best seconds of each renderer, and its RMS difference from ours relative to the RMS of our image."""
    with torch.no_grad():
        images = {name: render() for name, render in run.items()}
        times: dict[str, list[float]] = {name: [] for name in run}
        for _ in range(repeats):
            for name, render in run.items():
                start = time.perf_counter()
                render()
                times[name].append(time.perf_counter() - start)
    result = {f"{name}_s": min(each) for name, each in times.items()}
    scale = images[OURS].square().mean().sqrt()
    for name in run:
        if name != OURS:
            result[f"{name}_rms"] = float((images[name] - images[OURS]).square().mean().sqrt() / scale)
    return result


def print_row(row: dict, names: list[str]) -> None:
    """One line of the table: seconds, ratios, and how far the images differ."""
    line = f"{row['size']:>5} {row['view']:8}" + "".join(f"{row[f'{name}_s']:10.4f}" for name in names)
    for name in names:
        if name != OURS:
            ratio = row[f"{OURS}_s"] / row[f"{name}_s"]
            row[f"ours_over_{name}"] = ratio
            line += f"{ratio if name == RTK else 1 / ratio:14.2f}"
    differences = [f"{name} {100 * row[f'{name}_rms']:.2f} %" for name in names if f"{name}_rms" in row]
    print(line + ("   RMS difference: " + ", ".join(differences) if differences else ""))


if __name__ == "__main__":
    sys.exit(main())
