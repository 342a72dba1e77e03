"""What a confidence is calibrated and tested on: ordinary registrations, some of which fail, and hopeless inputs."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from DeepReg2D3DLib.engine.case_file import Case, load_case
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.metrics import mrpd
from DeepReg2D3DLib.engine.patch_steps import Look, steps_from
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose, motion_about, transform_points
from DeepReg2D3DLib.engine.presets import Preset, get_preset
from DeepReg2D3DLib.engine.random_starts import draw_starts
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.volume_io import load_volume
from DeepReg2D3DLib.engine.xray import XRay
from DeepReg2D3DLib.engine.xray_io import load_xray
from torch import Tensor

SETTLING = (
    (Look(112, 40.0, 300, 12.0), 3, 1e-2),
    (Look(160, 25.0, 300, 8.0), 3, 1e-4),
    (Look(224, 20.0, 400, 6.0), 2, 1e-5),
)
"""(look, steps, damping) of the few steps after which a pose has settled near its start, right or wrong."""
SEARCHED = ("far", "listed", "patient", "geometry")
"""What is registered with a search; the others only settle, which is cheaper."""
ORDINARY = ("near", "middle", "vertebra", "far")
HOPELESS = ("patient", "side", "mirrored", "no overlap", "photograph", "noise", "geometry")


@dataclass(frozen=True)
class Loaded:
    """A case with its files read."""

    case: Case
    volume: Volume
    xrays: list[XRay]

    @cached_property
    def setup(self) -> RegistrationSetup:
        return RegistrationSetup.prepare(self.volume, "cpu")


@dataclass(frozen=True)
class Problem:
    """What is registered. preset: None where the start only settles. hopeless: no pose would be right."""

    setup: RegistrationSetup
    xrays: list[XRay]
    start: Tensor
    preset: Preset | None
    hopeless: bool


@lru_cache(maxsize=2)
def loaded(folder: Path) -> Loaded:
    """A case folder, kept for the next problem."""
    case = load_case(folder)
    volume = load_volume(case.ct)
    xrays = [load_xray(view.image, view.camera, view.image_kind) for view in load_geometry(case.geometry)]
    return Loaded(case, volume, xrays)


def make_problem(folder: Path, views: Sequence[str], kind: str, seed: int, other: Path | None = None) -> Problem | None:
    """The problem of a kind, the same for the same arguments; None where the case does not lend itself to it.

    other: a case of another patient, whose X-rays serve as the wrong ones.
    """
    mine = loaded(folder)
    truth, targets = mine.case.ground_truth, mine.case.targets
    xrays = [xray for xray in mine.xrays if xray.name in views]
    generator = torch.Generator().manual_seed(zlib.crc32(f"{folder.name} {kind} {seed}".encode()))

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    def off(low: float, high: float) -> Tensor:
        drawn = draw_starts(truth, targets, 12, high, int(between(0, 1e6)))
        return next((start.pose for start in drawn if start.initial_mtre >= low), drawn[0].pose)

    hopeless, setup = kind in HOPELESS, None
    preset = get_preset("fast") if kind in SEARCHED else None
    if kind == "near":
        start = off(1.0, 12.0)
    elif kind == "middle":
        start = off(10.0, 45.0)
    elif kind == "listed":  # as `evaluate` does it
        start, preset = mine.case.starts[seed % len(mine.case.starts)][1], get_preset("accurate")
    elif kind == "vertebra":
        step = between(20, 36) * (1 if between(0, 1) < 0.5 else -1)
        start = one_vertebra_off(truth, targets, step, generator)
    elif kind == "far":
        start = off(45.0, 110.0)
    elif kind == "patient":
        wrong = loaded(other)
        xrays = [xray for xray in wrong.xrays if xray.name in views] or wrong.xrays[: len(views)]
        start = _centred(off(1.0, 25.0), targets, wrong.case.ground_truth, wrong.case.targets)
    elif kind == "side":
        half = make_pose(exp_rotation(torch.tensor([0.0, 0.0, math.pi], dtype=torch.float64)), torch.zeros(3).double())
        xrays = [_with_camera(x, replace(x.camera, world_to_camera=x.camera.world_to_camera @ half)) for x in xrays]
        start = off(1.0, 20.0)
    elif kind == "mirrored":
        xrays = [
            XRay(x.line_integral.flip(-1).contiguous(), x.mask.flip(-1).contiguous(), x.camera, x.name) for x in xrays
        ]
        start = off(1.0, 20.0)
    elif kind == "no overlap":
        part = _elsewhere(mine.volume, targets)
        if part is None:
            return None
        setup = RegistrationSetup.prepare(part, "cpu")
        start = _centred(off(1.0, 20.0), part.centre[None], truth, targets)
    elif kind in ("photograph", "noise"):
        xrays = [_with_image(x, _picture(kind, x.camera.size, generator)) for x in xrays]
        start = off(1.0, 20.0)
    elif kind == "geometry":
        zoom = 1.1 if between(0, 1) < 0.5 else 1 / 1.1
        change = torch.tensor([zoom, zoom, 1.0], dtype=torch.float64)
        xrays = [_with_camera(x, replace(x.camera, intrinsics=_zoomed(x.camera.intrinsics, change[:2]))) for x in xrays]
        start = off(1.0, 15.0)
    else:
        raise ValueError(f"unknown kind of problem '{kind}'")
    return Problem(setup or mine.setup, xrays, start, preset, hopeless)


def settled(problem: Problem) -> Tensor:
    """Where the start of a problem settles: a pose (4, 4)."""
    pose = problem.start
    for look, steps, damping in SETTLING:
        moved = steps_from(problem.setup, problem.xrays, pose, look, steps, damping)
        pose = pose if moved is None else moved
    return pose


def mean_mrpd(folder: Path, views: Sequence[str], pose: Tensor) -> float:
    """mRPD in mm of a pose (4, 4), the mean over the views, seen with the true cameras."""
    mine = loaded(folder)
    cameras = [xray.camera for xray in mine.xrays if xray.name in views]
    truth, targets = mine.case.ground_truth, mine.case.targets
    return sum(mrpd(pose, truth, targets, camera) for camera in cameras) / len(cameras)


def one_vertebra_off(truth: Tensor, targets: Tensor, distance: float, generator: torch.Generator) -> Tensor:
    """The true pose (4, 4) with the CT moved along its own z axis by ``distance`` mm, and off by a little more."""
    turn = torch.randn(3, generator=generator, dtype=torch.float64) * math.radians(2.0)
    shift = truth[:3, :3] @ torch.tensor([0.0, 0.0, distance], dtype=torch.float64)
    shift += torch.randn(3, generator=generator, dtype=torch.float64) * 2.0
    return motion_about(turn, shift, transform_points(truth, targets).mean(0)) @ truth


def _centred(pose: Tensor, points: Tensor, truth: Tensor, targets: Tensor) -> Tensor:
    """The pose moved so that the middle of ``points`` lies where the middle of another case's targets truly is."""
    goal = transform_points(truth, targets.to(torch.float64)).mean(0)
    moved = pose.clone()
    moved[:3, 3] += goal - transform_points(pose, points.to(torch.float64)).mean(0)
    return moved


def _elsewhere(volume: Volume, targets: Tensor) -> Volume | None:
    """A part of a long CT that ends 100 mm or more from the targets, which the views show."""
    origin, step = float(volume.ijk_to_ct[2, 3]), float(volume.ijk_to_ct[2, 2])
    low, high = (float(x) for x in (targets[:, 2].amin(), targets[:, 2].amax()))
    middle, (slices, rows, columns) = 0.5 * (low + high), volume.shape
    below, above = int((middle - 150 - origin) / step), int((middle + 150 - origin) / step)
    if below * step >= 100:
        return volume.cropped((0, 0, 0), (columns, rows, below))
    if (slices - above) * step >= 100:
        return volume.cropped((0, 0, above), (columns, rows, slices))
    return None


def _picture(kind: str, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(rows, columns) between 0 and 1: a photograph, cut and turned at random, or noise."""
    if kind == "noise":
        return torch.rand(size, generator=generator)
    import matplotlib.cbook
    from PIL import Image

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        grey = Image.open(file).convert("L")
        turn = int(torch.randint(0, 4, (), generator=generator))
        cut = [int(torch.randint(0, 120, (), generator=generator)) for _ in range(2)]
        grey = grey.rotate(90 * turn, expand=True)
        grey = grey.crop((*cut, grey.width - 10, grey.height - 10)).resize((size[1], size[0]))
    return torch.from_numpy(np.asarray(grey).copy()).float() / 255


def _with_image(xray: XRay, image: Tensor) -> XRay:
    line = -(image.clamp_min(1e-3)).log()
    return XRay(line[None, None], torch.ones_like(xray.mask), xray.camera, xray.name)


def _with_camera(xray: XRay, camera) -> XRay:
    return XRay(xray.line_integral, xray.mask, camera, xray.name)


def _zoomed(intrinsics: Tensor, zoom: Tensor) -> Tensor:
    changed = intrinsics.clone()
    changed[0, 0] *= zoom[0]
    changed[1, 1] *= zoom[1]
    return changed
