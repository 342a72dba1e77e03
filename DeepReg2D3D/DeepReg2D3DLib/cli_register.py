"""``deepreg2d3d register``: a CT and X-rays in, a pose, a report and pictures out."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from . import cli_options
from .progress import Progress, collected_warnings

DESCRIPTION = """\
Finds where a CT lies in one or more X-ray images of the same patient, beginning with a rough pose.

Writes into --out: pose.json and pose.tfm (load the latter in 3D Slicer and put the CT under it), report.html (for
people, with everything in one file) and report.json, overlay_<view>_before.png and overlay_<view>_after.png,
overview.png and iterations.gif. Look at the pictures. An earlier result in --out goes when the new one is there."""
EPILOG = """\
examples:
  deepreg2d3d register --ct ct.nrrd --geometry geometry.json --init pose.json --out result
  deepreg2d3d register --ct dicom/ --geometry geometry.json --xray ap.dcm lat.dcm --init start.tfm \\
                       --method dppc --out result
  deepreg2d3d register --ct ct.nrrd --geometry geometry.json --init auto --out result
  deepreg2d3d register --ct dicom/ --xray a.dcm b.dcm --init pose.json --out result    geometry from the files' tags
  deepreg2d3d register --ct ct.nrrd --weights adapted --geometry geometry.json --init pose.json --out result
  deepreg2d3d register --ct ct.nrrd --geometry geometry.json --init pose.json --roi spine.seg.nrrd --roi-label L3 \\
                       --out result                  one vertebra, wherever the others went"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``register``."""
    cli_options.add_ct(parser)
    parser.add_argument(
        "--xray",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="X-ray images, one for each view in the order of the geometry; without it, the images it names",
    )
    cli_options.add_geometry(parser, required=False)
    cli_options.add_frame(parser)
    parser.add_argument(
        "--init",
        metavar="FILE",
        help="first pose: pose.json or a rigid ITK transform (.tfm, .txt), or 'auto', which looks for one around the "
        "CT's orientation in world, or 'centre' (as without it): the CT's centre, or that of the --roi, is put where "
        "the views' principal rays meet",
    )
    parser.add_argument(
        "--angles",
        metavar="TEXT",
        help="for these starts, how the first view sees the patient, for a geometry that does not know the patient: "
        "AP, PA, LL, RL, or C-arm angles such as 'LAO 30' or 'RAO 20 CRA 15' (default: as the CT lies in world)",
    )
    cli_options.add_landmarks(parser)
    cli_options.add_roi(parser)
    cli_options.add_method(parser)
    cli_options.add_weights(parser)
    cli_options.add_preset(parser)
    cli_options.add_device(parser)
    parser.add_argument(
        "--refine-intrinsics",
        nargs="?",
        const="each",
        choices=("each", "shared"),
        help="with two views or more, estimate source-detector distances and principal points with the pose, tell how "
        "sure they are, and write geometry_refined.json; 'shared': one C-arm took all views",
    )
    parser.add_argument(
        "--resample",
        action="store_true",
        help="also write ct_resampled.nrrd: the registered CT on a grid along the world's axes",
    )
    parser.add_argument(
        "--move",
        action="store_true",
        help="also write ct_moved.nrrd: the registered CT's own voxels, with its origin and direction moved",
    )
    parser.add_argument(
        "--dicom-sro",
        action="store_true",
        help="also write registration.dcm, a DICOM Spatial Registration object that names CT and X-rays (all DICOM); "
        "it carries the patient's name, as the CT's files do",
    )
    cli_options.add_out_folder(parser)


def run(options: argparse.Namespace) -> int:
    """Register and write the results; returns the exit status."""
    from .engine.errors import InputError
    from .first_pose import StartRequest
    from .registration_exports import Exports, dicom_source
    from .registration_run import RunOptions, load_inputs, run_registration

    with Progress() as progress:
        run_options = RunOptions(
            options.method, options.preset, options.device, options.weights, options.refine_intrinsics
        )
        start = StartRequest(options.init, options.landmarks, options.angles)
        if options.roi is None and options.roi_label is not None:
            raise InputError("--roi-label says which label of --roi is meant; give --roi, too.")
        began = time.perf_counter()
        with collected_warnings(progress) as warned:
            inputs = load_inputs(
                options.ct,
                options.geometry,
                options.xray,
                start,
                options.frame,
                None if options.roi is None else (options.roi, options.roi_label),
                progress.note,
            )
            source = dicom_source(options.ct, inputs.views) if options.dicom_sro else None
        seconds = time.perf_counter() - began
        exports = Exports(options.resample, options.move, source)
        return run_registration(
            inputs, run_options, options.out, progress, load_seconds=seconds, warned=warned, exports=exports
        )
