"""``deepreg2d3d drr``: digitally reconstructed radiographs of a CT."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli_options
from .exit_status import DONE
from .progress import Progress, collected_warnings

DESCRIPTION = """\
Renders a CT as each view of the geometry sees it: line integrals (attenuation times length, no unit), float32.

A PNG is scaled to 8 bit, for looking only. With several views, _<view> is put before the suffix of --out."""
EPILOG = """\
examples:
  deepreg2d3d drr --ct ct.nrrd --geometry geometry.json --pose result/pose.json --out drr.nrrd
  deepreg2d3d drr --ct ct.nrrd --geometry geometry.json --out look.png"""
_SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha", ".png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``drr``."""
    cli_options.add_ct(parser)
    cli_options.add_geometry(parser, required=False)
    parser.add_argument(
        "--xray", type=Path, nargs="+", metavar="FILE", help="DICOM X-rays in place of --geometry: render what they saw"
    )
    cli_options.add_frame(parser)
    parser.add_argument(
        "--pose",
        type=Path,
        metavar="FILE",
        help="where the CT lies: pose.json or a rigid ITK transform; without it the CT's frame is the world's",
    )
    cli_options.add_device(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=f"image to write: {', '.join(_SUFFIXES)}"
    )


def run(options: argparse.Namespace) -> int:
    """Render and write; prints the paths."""
    import torch

    from .engine.device import resolve_device
    from .engine.drr import DrrRenderer
    from .engine.errors import InputError
    from .engine.pose_file import load_pose
    from .engine.view_files import load_views
    from .engine.volume_io import load_volume
    from .engine.xray_io import save_image
    from .evaluation.result_pictures import file_labels

    suffix = next((suffix for suffix in _SUFFIXES if options.out.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise InputError(f"--out {options.out}: an image is written as {', '.join(_SUFFIXES)}.")
    device = resolve_device(options.device)
    with Progress() as progress, collected_warnings(progress):
        images = None if options.geometry is not None else options.xray
        cameras = [view.camera for view in load_views(options.geometry, images, options.frame)]
        pose = torch.eye(4, dtype=torch.float64) if options.pose is None else load_pose(options.pose)
        renderer = DrrRenderer.from_volume(load_volume(options.ct), device=device)
    stem = options.out.name[: -len(suffix)]
    for camera, label in zip(cameras, file_labels([camera.name for camera in cameras]), strict=True):
        with torch.inference_mode():
            drr = renderer(camera.ct_to_camera(pose)[None], camera.intrinsics, camera.size)[0, 0].cpu()
        path = options.out.with_name(f"{stem}_{label}{suffix}") if len(cameras) > 1 else options.out
        save_image(drr, path)
        if not bool((drr > 0).any()):
            print(f"warning: view '{camera.name}' does not see the CT at this pose")
        print(path)
    return DONE
