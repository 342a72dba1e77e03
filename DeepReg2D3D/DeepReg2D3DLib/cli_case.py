"""``deepreg2d3d case``: a case folder to be handed on, without the patient's identity."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli_options
from .exit_status import DONE
from .progress import Progress, collected_warnings

DESCRIPTION = """\
Writes a case folder: the CT and the X-rays from their voxels and pixels alone, the geometry with the source of each
number, and what else is given: a pose that counts as the truth, a first pose, landmarks. No tag, file name or comment
of the originals goes along. What is in the pictures stays: a face, letters burned into an X-ray; look at them first.

`batch --list` reads the folder, and `evaluate --cases` does where a --reference was given (with --starts N, which draws
the starts). `register` takes its files: --ct case/ct.nrrd --geometry case/geometry.json."""
EPILOG = """\
examples:
  deepreg2d3d case --ct dicom/ --xray a.dcm b.dcm --reference result/pose.json --out case
  deepreg2d3d case --ct ct.nrrd --geometry geometry.json --init start.tfm --out case
  deepreg2d3d batch --list case --out result
  deepreg2d3d evaluate --cases case --starts 60 --out evaluation"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``case``."""
    add_files(parser)
    parser.add_argument("--init", metavar="FILE", help="a first pose, to be listed as a start")
    parser.add_argument("--name", default="case", metavar="TEXT", help="name of the case (default: case)")
    cli_options.add_out_folder(parser)


def add_files(parser: argparse.ArgumentParser) -> None:
    """--ct, --xray, --geometry, --frame, --reference and --landmarks, as ``study`` has them, too."""
    cli_options.add_ct(parser)
    parser.add_argument(
        "--xray", type=Path, nargs="+", metavar="FILE", help="X-ray images, one a view, in the geometry's order"
    )
    cli_options.add_geometry(parser, required=False)
    cli_options.add_frame(parser)
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="the pose that counts as the truth: a registration accepted by eye, or a calibrated acquisition",
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE",
        help="landmarks.json: markers or points of the CT and their clicks in the X-rays",
    )


def run(options: argparse.Namespace) -> int:
    """Write the folder and print what is in it."""
    from .case_export import CaseContent, write_case
    from .engine.pose_file import load_pose
    from .study_inputs import load_study_inputs

    with Progress() as progress, collected_warnings(progress):
        start = None if options.init is None else load_pose(options.init)
        inputs = load_study_inputs(
            options.ct, options.geometry, options.xray, options.frame, options.reference, options.landmarks
        )
        content = CaseContent(options.name, inputs.volume, inputs.views, inputs.reference, start, inputs.landmarks)
        write_case(content, options.out, progress.note)
    for path in sorted(options.out.iterdir()):
        print(path)
    return DONE
