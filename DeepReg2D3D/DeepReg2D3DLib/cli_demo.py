"""``deepreg2d3d demo``: a registration that needs no files."""

from __future__ import annotations

import argparse
import time

from . import cli_options
from .exit_status import DONE, UNRELIABLE
from .progress import Progress

DESCRIPTION = """\
Makes a patient by formula (a phantom CT), simulates X-rays of it from the front and the side, moves the CT off by about
2 cm and registers it again. Look at overview.png in --out: the outlines of the CT's bones lie beside those in the X-ray
before, and on them after. The files of the case are left in the folder `case`, to try the other commands on."""
EPILOG = """\
example:
  deepreg2d3d demo --out demo-out"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``demo``."""
    cli_options.add_out_folder(parser, default="demo-out")


def run(options: argparse.Namespace) -> int:
    """Make the case, register, print where the pictures are and how far off the CT was before and after."""
    from .demo_case import write_demo_case
    from .engine.errors import InputError
    from .engine.methods import get_method
    from .engine.metrics import mrpd, mtre
    from .engine.pose_file import load_pose
    from .first_pose import StartRequest
    from .registration_run import RunOptions, load_inputs, run_registration

    folder = options.out / "case"
    with Progress() as progress:
        progress.note("making a patient and taking X-rays ...")
        case, start = write_demo_case(folder)
        try:
            get_method("deep-iterative")
            method = "deep-iterative"
        except InputError:
            method = "dppc"
        began = time.perf_counter()
        inputs = load_inputs(case.ct, case.geometry, None, StartRequest(str(start)))
        loaded = time.perf_counter() - began
        status = run_registration(inputs, RunOptions(method, "accurate"), options.out, progress, load_seconds=loaded)
    if status in (DONE, UNRELIABLE):
        result = load_pose(options.out / "pose.json")
        cameras = [xray.camera for xray in inputs.xrays]
        for moment, pose in (("before", inputs.start), ("after", result)):
            distance = mtre(pose, case.ground_truth, case.targets)
            seen = sum(mrpd(pose, case.ground_truth, case.targets, camera) for camera in cameras) / len(cameras)
            print(f"{moment:<11} mTRE {distance:.2f} mm, mRPD {seen:.2f} mm")
        files = f"--ct {case.ct} --geometry {case.geometry} --init {start}"
        print(f"by hand     deepreg2d3d register {files} --method {method} --out {options.out / 'again'}")
    return status
