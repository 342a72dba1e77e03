"""Simulated cases to calibrate the confidence on: CTs whole, cut to cubes and reduced to one bone, three views each.

The X-rays always show the whole patient; what is registered to them may be a part of the CT.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.case_file import Case, load_case, save_case
from DeepReg2D3DLib.engine.geometry_file import View, load_geometry, save_geometry
from DeepReg2D3DLib.engine.phantom import make_phantom
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose, transform_points
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.volume_io import load_volume, save_volume
from DeepReg2D3DLib.training.simulate_case import draw_targets, run_simulate
from DeepReg2D3DLib.training.volumes import spine_points
from torch import Tensor

PHANTOM = "phantom"
SIDE = 420
"""Pixels of an X-ray's longer side."""


@dataclass(frozen=True)
class Subject:
    """ct: a file's stem, or 'phantom'. part: whole, cube, or bone (right femur and hip alone). height: where along
    the CT the views look, from 0 (foot end) to 1."""

    ct: str
    part: str
    height: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.ct}_{self.part}_{self.seed}"


# The CTs that no network was trained on come first and most often.
SUBJECTS = (
    Subject("thoracolumbar_a", "cube", 0.35, 3),
    Subject("lumbar_c", "cube", 0.75, 4),
    Subject("lumbar_c", "bone", 0.3, 6),
    Subject("lumbar_a", "cube", 0.6, 7),
    Subject("thorax_a", "whole", 0.5, 5),
    Subject("thorax_c", "cube", 0.4, 8),
    Subject("thoracolumbar_a", "whole", 0.5, 1),
    Subject("lumbar_c", "whole", 0.75, 2),
    Subject(PHANTOM, "cube", 0.4, 11),
    Subject("lumbar_b", "bone", 0.25, 12),
    Subject("thoracolumbar_a", "cube", 0.65, 10),
    Subject("thorax_metal", "whole", 0.5, 13),
    Subject("lumbar_c", "cube", 0.4, 14),
)


def make_case(subject: Subject, cts: Path, folder: Path) -> Path:
    """The case folder of a subject, made unless it is there; three views: AP, LAT and OBL."""
    out = folder / subject.name
    if (out / "case.json").exists():
        return out
    part = folder / f"{subject.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    generator = torch.Generator().manual_seed(1000 + subject.seed)
    if subject.ct == PHANTOM:
        volume = make_phantom(40 + subject.seed, 1.5)
        save_volume(volume, part / "whole.nrrd")
        source = part / "whole.nrrd"
    else:
        source = cts / f"{subject.ct}.nrrd"
        volume = load_volume(source)
    centre = _looked_at(volume, subject)
    turn = exp_rotation((torch.rand(3, generator=generator, dtype=torch.float64) - 0.5) * math.radians(24))
    truth = make_pose(turn, -(turn @ centre))
    views = _views(generator)
    save_geometry(views, part / "views.json")
    run_simulate(source, part / "views.json", truth, part, seed=subject.seed)
    (part / "views.json").unlink()
    (part / "whole.nrrd").unlink(missing_ok=True)
    if subject.part != "whole":
        _reduce(part, volume, centre, subject)
    case = load_case(part)
    save_case(replace(case, name=subject.name), part)
    part.rename(out)
    return out


def _looked_at(volume: Volume, subject: Subject) -> Tensor:
    """The point (3,) of the CT that lies at the isocentre."""
    low, high = volume.corners[:, 2].min(), volume.corners[:, 2].max()
    height = float(low + subject.height * (high - low))
    spine = spine_points(volume)
    centre = spine[(spine[:, 2] - height).abs().argmin()].clone()
    centre[2] = height
    if subject.part == "bone":
        centre += torch.tensor([-95.0, -20.0, 0.0], dtype=torch.float64)  # the patient's right hip
    return centre


def _views(generator: torch.Generator) -> list[View]:
    """AP, lateral and oblique cameras about world's origin, of one C-arm."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    sdd, distance = between(1000, 1250), between(620, 800)
    spacing = between(0.75, 0.9)
    columns, rows = SIDE, round(SIDE * between(0.75, 1.0))
    side = 1 if between(0, 1) < 0.5 else -1
    frontal = torch.tensor([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, distance], [0, 0, 0, 1]], dtype=torch.float64)
    views = []
    for name, angle in (("AP", between(-8, 8)), ("LAT", side * between(80, 100)), ("OBL", -side * between(25, 55))):
        turn = torch.tensor([0.0, 0.0, math.radians(angle)], dtype=torch.float64)
        camera = Camera.from_parameters(
            source_to_detector=sdd,
            pixel_spacing=(spacing, spacing),
            principal_point=(columns / 2 + between(-6, 6), rows / 2 + between(-6, 6)),
            world_to_camera=frontal @ make_pose(exp_rotation(turn), torch.zeros(3, dtype=torch.float64)),
            columns=columns,
            rows=rows,
            mirrored=between(0, 1) < 0.3,
            name=name,
        )
        views.append(View(camera))
    return views


def _reduce(folder: Path, volume: Volume, centre: Tensor, subject: Subject) -> None:
    """Replace the case's CT by a part of it, and its targets by points of that part."""
    half = {"cube": 0.5 * (190.0 + 10 * (subject.seed % 5)), "bone": 85.0}[subject.part]
    to_ijk = torch.linalg.inv(volume.ijk_to_ct)
    corners = transform_points(to_ijk, torch.stack([centre - half, centre + half]))
    low, high = corners.amin(0).floor().int().tolist(), corners.amax(0).ceil().int().tolist()
    part = volume.cropped(low, high)
    if subject.part == "bone":
        bone = (part.hu > 160).float()[None, None]
        near = torch.nn.functional.max_pool3d(bone, (1, 5, 5), 1, (0, 2, 2))[0, 0] > 0
        part = replace(part, hu=torch.where(near, part.hu, torch.full_like(part.hu, -1000)))
    # Whoever reads the part from a file sees a grid of its own.
    part = replace(part, grid_centre=None, name=subject.name)
    case = load_case(folder)
    cameras = [view.camera for view in load_geometry(case.geometry)]
    generator = torch.Generator().manual_seed(subject.seed)
    targets = draw_targets(part, cameras, case.ground_truth, generator)
    save_volume(part, folder / "ct.nrrd")
    save_case(Case(subject.name, folder / "ct.nrrd", case.geometry, case.ground_truth, targets, []), folder)
