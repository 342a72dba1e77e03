"""The demo's patient: a phantom, and X-rays of it from the front and the side, as a case folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from .engine.atomic import make_folder
from .engine.camera import Camera
from .engine.case_file import Case, load_case
from .engine.geometry_file import View, save_geometry
from .engine.metrics import mtre
from .engine.phantom import make_phantom
from .engine.pose_file import save_pose
from .engine.poses import motion_about
from .engine.volume_io import save_volume
from .training.simulate_case import run_simulate
from .training.simulator import REALISTIC

SEED = 4
START_MTRE = 22.0
"""mm: how far the demo's start lies from the truth, about."""
_SPACING_MM = 2.0
# Sources in front of the patient and at the patient's left, 800 mm from the isocentre, the detector 1200 mm from them.
_VIEWS = {
    "AP": [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 800], [0, 0, 0, 1]],
    "LAT": [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 800], [0, 0, 0, 1]],
}
_PIXELS, _PIXEL_MM = 512, 0.75
# A still image rather than fluoroscopy: ten times the photons, so that a lateral of the lumbar spine shows vertebrae.
_XRAYS = replace(REALISTIC, detector=replace(REALISTIC.detector, photons=(2e4, 5e4)))


def write_demo_case(folder: Path, seed: int = SEED) -> tuple[Case, Path]:
    """Write the case into ``folder``; returns it with the path of start.json, the start to register from."""
    make_folder(folder)
    volume = make_phantom(seed, _SPACING_MM)
    save_volume(volume, folder / "ct.nrrd")
    middle = 0.5 * (_PIXELS - 1)
    cameras = [
        Camera.from_parameters(
            source_to_detector=1200,
            pixel_spacing=(_PIXEL_MM, _PIXEL_MM),
            principal_point=(middle, middle),
            world_to_camera=torch.tensor(matrix, dtype=torch.float64),
            columns=_PIXELS,
            rows=_PIXELS,
            name=name,
        )
        for name, matrix in _VIEWS.items()
    ]
    save_geometry([View(camera) for camera in cameras], folder / "geometry.json")
    # A patient never lies as in the CT: a few degrees and centimetres.
    turn = torch.tensor([0.06, -0.04, 0.08], dtype=torch.float64)
    shift = torch.tensor([8.0, -12.0, 10.0], dtype=torch.float64) - volume.centre
    truth = motion_about(turn, shift, volume.centre)
    run_simulate(folder / "ct.nrrd", folder / "geometry.json", truth, folder, seed, _XRAYS)
    case = load_case(folder)
    distances = [abs(mtre(pose, truth, case.targets) - START_MTRE) for _, pose in case.starts]
    start = folder / "start.json"
    save_pose(case.starts[distances.index(min(distances))][1], start)
    return case, start
