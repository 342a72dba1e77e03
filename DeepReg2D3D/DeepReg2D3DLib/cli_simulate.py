"""``deepreg2d3d simulate``: realistic X-ray images of a CT, as a test case."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli_options
from .exit_status import DONE
from .progress import Progress, collected_warnings

DESCRIPTION = """\
Simulates X-ray images of a CT for every view of a geometry: several energies, scatter, blur, photon noise, collimator
and, by chance, metal. The patient behind the X-ray differs a little from the CT, as after a week.

Writes a case folder into --out: ct.nrrd, the X-rays, geometry.json, pose.json (the truth) and case.json with targets
and 60 starts, which `batch` and `evaluate` read."""
EPILOG = """\
example:
  deepreg2d3d simulate --ct ct.nrrd --geometry geometry.json --pose pose.json --out case
  deepreg2d3d evaluate --cases case --method dppc --starts 10 --out evaluation"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``simulate``."""
    cli_options.add_ct(parser)
    cli_options.add_geometry(parser)
    parser.add_argument(
        "--pose",
        type=Path,
        metavar="FILE",
        help="where the CT lies: pose.json or a rigid ITK transform; without it the CT's frame is the world's",
    )
    cli_options.add_seed(parser, "the same seed gives the same images")
    cli_options.add_device(parser)
    cli_options.add_out_folder(parser)


def run(options: argparse.Namespace) -> int:
    """Simulate and print the paths of the images."""
    from .engine.device import resolve_device
    from .training.simulate_case import run_simulate

    with Progress() as progress, collected_warnings(progress):
        device = resolve_device(options.device)
        images = run_simulate(
            options.ct, options.geometry, options.pose, options.out, options.seed, device=device, progress=progress.note
        )
    for image in images:
        print(image)
    return DONE
