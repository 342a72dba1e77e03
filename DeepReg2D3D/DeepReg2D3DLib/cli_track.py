"""``deepreg2d3d track``: a CT followed through the frames of a fluoroscopy run."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli_options
from .progress import Progress, collected_warnings

DESCRIPTION = """\
Follows a CT through a fluoroscopy run: the first frame is registered as `register` does, every further one from where
the last one ended. A run is a DICOM file with frames, a 3D image file (frames last), or a folder of images; several
runs are views in step, frame by frame.

Writes into --out: poses.json, frames/pose_<number>.tfm, track.csv (status, edges in common, seconds of each frame) and
track.gif. Frames in doubt are marked, and the exit status is 3 then. An earlier run in --out goes when the new one is
there."""
EPILOG = """\
examples:
  deepreg2d3d track --ct ct.nrrd --xray run.dcm --init start.tfm --out tracked
  deepreg2d3d track --ct ct.nrrd --geometry geometry.json --xray frames/ --init auto --frames 10-80:2 --out tracked"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``track``."""
    cli_options.add_ct(parser)
    parser.add_argument(
        "--xray",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="the runs, one a view, in the geometry's order; without it, the images that the geometry names",
    )
    cli_options.add_geometry(parser, required=False)
    parser.add_argument("--frames", metavar="A-B[:S]", help="only these, by numbers from 1 (default: all)")
    parser.add_argument(
        "--init",
        metavar="FILE",
        help="pose of the first frame, roughly: pose.json, a rigid ITK transform, or 'auto' (as for register)",
    )
    cli_options.add_landmarks(parser)
    cli_options.add_method(parser)
    cli_options.add_weights(parser)
    cli_options.add_preset(parser)
    cli_options.add_device(parser)
    parser.add_argument(
        "--keep-images",
        action="store_true",
        help="also write images_<view>.nrrd: the tracked frames as the engine sees them (line integrals)",
    )
    cli_options.add_out_folder(parser)


def run(options: argparse.Namespace) -> int:
    """Track and write; returns the exit status."""
    from .first_pose import StartRequest
    from .registration_run import RunOptions
    from .tracking_run import load_track_inputs, run_tracking

    with Progress() as progress, collected_warnings(progress):
        how = RunOptions(options.method, options.preset, options.device, options.weights)
        start = StartRequest(options.init, options.landmarks)
        inputs = load_track_inputs(options.ct, options.geometry, options.xray, start, options.frames, progress)
        return run_tracking(inputs, how, options.out, progress, options.keep_images)
