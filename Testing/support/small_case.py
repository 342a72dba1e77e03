"""A test case small enough to register in a second or two: some vertebrae with ribs in a torso, seen AP and lateral.

The X-rays are the program's own DRRs, so that the truth is exact; they are for tests of the command line and of the
evaluation, not of accuracy.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.case_file import Case, save_case
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.geometry_file import View, save_geometry
from DeepReg2D3DLib.engine.pose_file import save_pose
from DeepReg2D3DLib.engine.poses import motion_about
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.volume_io import save_volume
from DeepReg2D3DLib.engine.xray_io import save_image

AP = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 700], [0, 0, 0, 1]]
LATERAL = [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 700], [0, 0, 0, 1]]
CENTRE = torch.tensor([5.0, -8.0, 40.0], dtype=torch.float64)
TRUTH = motion_about(
    torch.tensor([0.05, -0.03, 0.04], dtype=torch.float64), -CENTRE + torch.tensor([4.0, -3.0, 6.0]), CENTRE
)


def small_volume(spacing: float = 2.5) -> Volume:
    """(64, 52, 60) voxels of 2.5 mm: a torso of water, four vertebrae with spinous processes, three pairs of ribs."""
    columns, rows, slices = 60, 52, 64
    k, j, i = np.mgrid[0:slices, 0:rows, 0:columns].astype(np.float32)
    x, y, z = ((index - (n - 1) / 2) * spacing for index, n in ((i, columns), (j, rows), (k, slices)))
    hu = np.where((x / 68) ** 2 + (y / 58) ** 2 < 1, 30.0, -1000.0)
    for centre in (-57, -19, 19, 57):
        body = ((x / 21) ** 2 + ((y - 8) / 17) ** 2 < 1) & (abs(z - centre) < 14)
        spine = (abs(x) < 4) & (y > 20) & (y < 46) & (abs(z - centre + 0.4 * (y - 20)) < 6)
        wings = (abs(x) < 34) & (abs(y - 24) < 5) & (abs(z - centre) < 5)
        hu[body] = 420
        hu[spine | wings] = 650
    for centre in (-40, 0, 40):
        radius = np.hypot(x / 60, y / 50)
        hu[(abs(radius - 0.95) < 0.06) & (abs(z - centre - 0.35 * y) < 5)] = 700
    matrix = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
    corner = torch.tensor([(n - 1) / 2 * spacing for n in (columns, rows, slices)], dtype=torch.float64)
    matrix[:3, 3] = CENTRE - corner
    return Volume(torch.from_numpy(hu.astype(np.int16)), matrix, "small")


def camera(name: str, world_to_camera: list) -> Camera:
    """128 x 112 pixels of 2 mm, 1000 mm from source to detector."""
    return Camera.from_parameters(
        source_to_detector=1000,
        pixel_spacing=(2.0, 2.0),
        principal_point=(63.5, 55.5),
        world_to_camera=torch.tensor(world_to_camera, dtype=torch.float64),
        columns=128,
        rows=112,
        name=name,
    )


def start_pose(distance: float) -> torch.Tensor:
    """A pose with its centre ``distance`` mm from the truth, turned by a degree for each 4 mm."""
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64) * math.radians(distance / 4)
    shift = torch.tensor([0.8, 0.36, -0.48], dtype=torch.float64) * distance
    return motion_about(axis, shift, TRUTH[:3, :3] @ CENTRE + TRUTH[:3, 3]) @ TRUTH


def write_small_case(folder: Path, distances: tuple[float, ...] = (2.0, 4.0, 6.0)) -> Path:
    """Write the case, with start.json and start.tfm of the last distance; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = small_volume()
    save_volume(volume, folder / "ct.nrrd")
    renderer = DrrRenderer.from_volume(volume)
    views = []
    for name, matrix in (("AP", AP), ("LAT", LATERAL)):
        view = camera(name, matrix)
        drr = renderer(view.ct_to_camera(TRUTH)[None], view.intrinsics, view.size)[0, 0]
        save_image(drr, folder / f"{name}.nrrd")
        views.append(View(view, folder / f"{name}.nrrd", "line_integral"))
    save_geometry(views, folder / "geometry.json")
    grid = torch.tensor([-30.0, 0.0, 30.0], dtype=torch.float64)
    targets = torch.cartesian_prod(grid * 0.5, grid * 0.5, grid) + CENTRE
    starts = [(f"{index:03d}", start_pose(distance)) for index, distance in enumerate(distances)]
    save_case(Case("small", folder / "ct.nrrd", folder / "geometry.json", TRUTH, targets, starts), folder)
    save_pose(starts[-1][1], folder / "start.json")
    save_pose(starts[-1][1], folder / "start.tfm")
    return folder
