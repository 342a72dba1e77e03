"""``deepreg2d3d landmarks``: a pose from points of the CT and their clicks in the X-rays, without the images."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli_options
from .exit_status import DONE, UNRELIABLE
from .progress import Progress, collected_warnings

DESCRIPTION = """\
Finds the pose under which landmarks of the CT are seen where they were clicked, and tells how well each click fits and
how far to trust the pose. The images are not looked at; `register --landmarks` goes on from here with them.

One view needs 4 landmarks that are not in one plane (6 are better), several views 3 that are not on one line."""
EPILOG = """\
landmarks.json:
  {"format": "deepreg2d3d-landmarks", "version": 1, "coordinate_system": "LPS", "landmarks": [
    {"name": "L3 left pedicle", "ct_mm": [12.5, -40.0, 310.0], "clicks": [{"view": "AP", "pixel": [301.5, 220.0]}]}]}

  ct_mm: mm in LPS; 3D Slicer shows RAS, so R and A change their sign. pixel: column, row, with whole numbers at the
  centres of pixels and (0, 0) at the top left. view: a name of the geometry's.

example:
  deepreg2d3d landmarks --geometry geometry.json --landmarks landmarks.json --out start.json"""

FARTHEST_OFF_MM = 10.0
"""rms of the clicks, at the depth of the CT, above which the pose is not believed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``landmarks``."""
    cli_options.add_geometry(parser)
    cli_options.add_landmarks(parser, required=True)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the pose: .json, or .tfm for 3D Slicer"
    )


def run(options: argparse.Namespace) -> int:
    """Solve, print the table, write the pose."""
    from .engine.geometry_file import load_geometry
    from .engine.landmark_file import load_landmarks
    from .engine.landmarks import describe_pose, solve_landmarks
    from .engine.pose_file import save_pose

    with Progress() as progress, collected_warnings(progress):
        cameras = [view.camera for view in load_geometry(options.geometry)]
        names = [camera.name for camera in cameras]
        solved = solve_landmarks(load_landmarks(options.landmarks, names), cameras)
    for line in describe_pose(solved, names):
        print(line)
    save_pose(solved.ct_to_world, options.out)
    print(options.out)
    if solved.rms_mm > FARTHEST_OFF_MM:
        progress.note("the clicks contradict each other: no pose explains them. Is each click that of its landmark?")
        return UNRELIABLE
    return DONE
