"""Memory and time of one registration against the size of the CT, the size of the image and the number of views.

    python Testing/benchmarks/memory.py [--ct 128 256 384 512 768] [--image 256 512 1024 2048] [--views 1 2 4 8]

Every figure comes from a process of its own: it reads a CT of N x N x N voxels (a phantom, written once) from a file
and registers it to views of M x M pixels. The peer is a single step of nanodrr's gradient registration for each view of
the same CT: an image of 256 x 256 pixels at most, as its recipe has it, and its gradient; it is optional. Prints the
peak of memory beyond what the imports took, and how the cost grows: the exponent p of cost = size^p, 1 where it grows
in proportion to the voxels or pixels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch
from bench_tools import growth, machine, parsed, parser_of, run, told, wait_for, write_report
from DeepReg2D3DLib.cli_benchmark import peak_mb
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.phantom import make_phantom
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose
from DeepReg2D3DLib.engine.registration import RegistrationSetup, register
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.volume_io import load_volume
from DeepReg2D3DLib.engine.xray import XRay

FIELD_MM, SDD_MM, SOURCE_TO_CENTRE_MM = 400.0, 1200.0, 800.0
PIXEL_OF_XRAYS_MM = 2.0
"""Voxels of the CT that the X-rays are made of: making them is not what is measured."""
BASE_CT, BASE_IMAGE = 256, 512
COLUMNS = ("peak_mb", "load_s", "setup_s", "register_s")


def main() -> None:
    """Measure each size in a child process, print a line each, write the report."""
    parser = parser_of(__doc__, "memory_benchmark.json")
    parser.add_argument("--ct", type=int, nargs="*", default=[128, 256, 384, 512, 768], help="voxels along each axis")
    parser.add_argument("--image", type=int, nargs="*", default=[256, 512, 1024, 2048], help="pixels along each side")
    parser.add_argument("--views", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--method", default="deep-iterative")
    parser.add_argument("--preset", default="accurate")
    parser.add_argument("--no-peer", action="store_true", help="ours alone")
    parser.add_argument("--child", choices=("ours", "nanodrr"), help="internal: measure in this process")
    parser.add_argument("--file", type=Path, help="internal: the CT")
    options = parsed(parser)
    if options.child:
        print(json.dumps(_child(options)))
        return
    facts = machine(options.device)
    print(told(facts))
    report: dict[str, Any] = {"method": options.method, "preset": options.preset, "machine": facts}
    with tempfile.TemporaryDirectory(prefix="deepreg2d3d-memory-") as folder:
        for what, sizes in (("ct", options.ct), ("image", options.image), ("views", options.views)):
            rows = []
            for size in sizes:
                task = {"ct": BASE_CT, "image": BASE_IMAGE, "views": 1} | {what: size}
                ct = _written_ct(Path(folder), task["ct"])
                rows.append(task | {name: _asked(options, name, ct, task) for name in _programs(options)})
                print(_line(what, rows[-1]), flush=True)
            report[what] = {"rows": rows, "growth": _growth(what, rows)}
            print(f"  growth with {what}: {report[what]['growth']}")
            write_report(options.json, "memory", **report)
    print(f"written to {options.json}")


def _programs(options: argparse.Namespace) -> list[str]:
    return ["ours"] if options.no_peer else ["ours", "nanodrr"]


def _written_ct(folder: Path, size: int) -> Path:
    """An uncompressed NRRD of size^3 voxels, kept until another size is asked for."""
    path = folder / f"ct_{size}.nrrd"
    if not path.exists():
        for other in folder.glob("*.nrrd"):
            other.unlink()
        phantom = make_phantom(0, 3.0, "lumbar")
        counts = tuple(reversed(phantom.shape))
        volume = phantom.resampled(tuple(n * s / size for n, s in zip(counts, phantom.spacing, strict=True)))
        axes = " ".join(f"({','.join(map(str, column))})" for column in volume.ijk_to_ct[:3, :3].T.tolist())
        header = (
            f"NRRD0004\ntype: int16\ndimension: 3\nspace: left-posterior-superior\nsizes: {size} {size} {size}\n"
            f"space directions: {axes}\nspace origin: ({','.join(map(str, volume.ijk_to_ct[:3, 3].tolist()))})\n"
            "kinds: domain domain domain\nendian: little\nencoding: raw\n\n"
        )
        with path.open("wb") as file:
            file.write(header.encode("ascii"))
            for plane in volume.hu:
                file.write(plane.numpy().astype("<i2").tobytes())
    return path


def _asked(options: argparse.Namespace, program: str, ct: Path, task: dict[str, int]) -> dict[str, float]:
    """What a child says; a child that fails (out of memory, a missing peer) leaves an error in words."""
    command = [sys.executable, __file__, "--child", program, "--file", str(ct), "--device", str(options.device)]
    command += ["--threads", str(options.threads), "--method", options.method, "--preset", options.preset]
    command += ["--image", str(task["image"]), "--views", str(task["views"])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"ended with {done.returncode} (out of memory?)"}
    return json.loads(done.stdout.splitlines()[-1])


def _child(options: argparse.Namespace) -> dict[str, float]:
    size, views, device = options.image[0], options.views[0], options.device
    before = peak_mb()
    if before is None:
        raise SystemExit("The peak of a process's memory can't be read on this system.")
    clock = [time.perf_counter()]

    def lap() -> float:
        wait_for(device)
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    volume = load_volume(options.file)
    found = {"load_s": lap()}
    cameras, pose = [_camera(number, views, size, volume) for number in range(views)], torch.eye(4, dtype=torch.float64)
    start = pose.clone()
    start[:3, :3] = exp_rotation(torch.tensor([0.03, -0.02, 0.03], dtype=torch.float64))
    centre = volume.centre
    start[:3, 3] = centre - start[:3, :3] @ centre + torch.tensor([4.0, -3.0, 5.0], dtype=torch.float64)
    if options.child == "ours":
        setup = RegistrationSetup.prepare(volume, device)
        found["setup_s"] = lap()
        render = setup.renderer(PIXEL_OF_XRAYS_MM)
        xrays = [_xray(render, camera, pose) for camera in cameras]
        lap()
        for iteration in register(None, xrays, start, method=options.method, preset=options.preset, setup=setup):
            last = iteration.ct_to_world
        found["register_s"] = lap()
        found["error_mm"] = float((last @ _four(centre) - _four(centre))[:3].norm())
    else:
        from registration_peer import NanoDrrRegistration, PeerSettings

        sides = (min(size, max(PeerSettings().sides)),)
        peer = NanoDrrRegistration(volume, device, PeerSettings(sides=sides, iterations=1))
        found["setup_s"] = lap()
        for camera in cameras:
            blank = torch.rand(1, 1, *camera.size)
            peer.register(XRay(blank, torch.ones_like(blank, dtype=torch.bool), camera), start)
        found["register_s"] = lap()
    found["peak_mb"] = peak_mb() - before
    if device.type == "cuda":
        found["gpu_mb"] = torch.cuda.max_memory_allocated(device) / 2**20
    return found


def _four(point: torch.Tensor) -> torch.Tensor:
    return torch.cat([point, point.new_ones(1)])


def _camera(number: int, views: int, size: int, volume: Volume) -> Camera:
    """Views around the patient's axis, half a turn in all, that look at the middle of the CT."""
    front = torch.tensor([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    turn = exp_rotation(torch.tensor([0.0, 0.0, torch.pi * number / views], dtype=torch.float64))
    rotation = front @ turn
    centre = torch.tensor([0.0, 0.0, SOURCE_TO_CENTRE_MM], dtype=torch.float64)
    return Camera.from_parameters(
        source_to_detector=SDD_MM,
        pixel_spacing=(FIELD_MM / size,) * 2,
        principal_point=(0.5 * (size - 1),) * 2,
        world_to_camera=make_pose(rotation, centre - rotation @ volume.centre),
        columns=size,
        rows=size,
        name=f"view {number}",
    )


def _xray(render, camera: Camera, pose: torch.Tensor) -> XRay:
    with torch.no_grad():
        image = render(camera.ct_to_camera(pose)[None], camera.intrinsics, camera.size).to(torch.float32)
    return XRay(image, torch.ones_like(image, dtype=torch.bool), camera, camera.name)


def _growth(what: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Exponents of ours: in voxels, in pixels, in views."""
    power = {"ct": 3, "image": 2, "views": 1}[what]
    known = [row for row in rows if "error" not in row["ours"]]
    if len(known) < 2:
        return {}
    sizes = [float(row[what]) ** power for row in known]
    return {name: round(growth(sizes, [row["ours"][name] for row in known]), 2) for name in COLUMNS}


def _line(what: str, row: dict[str, Any]) -> str:
    text = f"{what} {row[what]:5}:"
    for name in ("ours", "nanodrr"):
        if name in row and "error" in row[name]:
            text += f"  {name}: {row[name]['error']}"
        elif name in row:
            each = row[name]
            steps = "registered" if name == "ours" else "one step"
            text += f"  {name} {each['peak_mb']:6.0f} MB, loaded {each['load_s']:.2f}, set up {each['setup_s']:.2f}, "
            text += f"{steps} {each['register_s']:.2f} s" + (
                f", GPU {each['gpu_mb']:.0f} MB" if "gpu_mb" in each else ""
            )
    if all("peak_mb" in row.get(name, {}) for name in ("ours", "nanodrr")):
        text += f"  memory {row['nanodrr']['peak_mb'] / max(row['ours']['peak_mb'], 1):.2f} of ours"
    return text


if __name__ == "__main__":
    run(main)
