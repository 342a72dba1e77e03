"""The sample of the Slicer module: a phantom CT with a frontal and a lateral X-ray, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..engine.camera import Camera
from ..engine.drr import DrrRenderer
from ..engine.phantom import make_phantom
from ..engine.poses import make_pose, motion_about
from .session_files import camera_to_json

SPACING_MM = 2.0
SIDE_PX = 512
PIXEL_MM = 0.6
SDD_MM = 1200.0
SOD_MM = 800.0
# Photons a pixel without the patient; the darkest pixels then keep some hundred.
PHOTONS = 2e5
# World to camera, LPS: source in front of the patient, and at the left.
ROTATIONS = {
    "AP": [[1.0, 0, 0], [0, 0, -1], [0, 1, 0]],
    "LAT": [[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]],
}
# The true pose turns the CT and puts its centre near the isocentre; the start is this far from it.
TRUE_TURN_DEG, TRUE_CENTRE_MM = (4.0, -3.0, 6.0), (8.0, -5.0, 4.0)
START_TURN_DEG, START_SHIFT_MM = (3.0, -4.0, 5.0), (7.0, -6.0, 8.0)


def make_sample(seed: int, progress: Callable[[str, float | None], None]) -> dict[str, Any]:
    """CT, X-rays (line integrals with photon noise), true pose and a start some 12 mm and 7 degrees off it.

    The answer of the request ``make_sample``; ``seed`` draws the phantom and the noise.
    """
    progress("Making the phantom", 0.0)
    volume = make_phantom(seed, SPACING_MM, "lumbar")
    centre = volume.centre
    truth = motion_about(_turn(TRUE_TURN_DEG), torch.tensor(TRUE_CENTRE_MM, dtype=torch.float64) - centre, centre)
    world_centre = truth[:3, :3] @ centre + truth[:3, 3]
    offset = motion_about(_turn(START_TURN_DEG), torch.tensor(START_SHIFT_MM, dtype=torch.float64), world_centre)
    renderer = DrrRenderer.from_volume(volume)
    generator = torch.Generator().manual_seed(seed)
    views = []
    for number, (name, rotation) in enumerate(ROTATIONS.items(), start=1):
        progress(f"Taking the X-ray {name}", number / (len(ROTATIONS) + 1))
        camera = _camera(name, rotation)
        image = renderer(camera.ct_to_camera(truth)[None], camera.intrinsics, camera.size)[0, 0]
        views.append(
            {"name": name, "camera": camera_to_json(camera), "image": _with_noise(image, generator).numpy()}
        )
    progress("", 1.0)
    return {
        "ct": {"array": volume.hu.short().numpy(), "ijk_to_ct": volume.ijk_to_ct.tolist(), "name": "Phantom CT"},
        "views": views,
        "truth": truth.tolist(),
        "start": (offset @ truth).tolist(),
    }


def _turn(angles_deg: tuple[float, float, float]) -> Tensor:
    return torch.deg2rad(torch.tensor(angles_deg, dtype=torch.float64))


def _camera(name: str, rotation: list[list[float]]) -> Camera:
    middle = (SIDE_PX - 1) / 2
    return Camera.from_parameters(
        source_to_detector=SDD_MM,
        pixel_spacing=(PIXEL_MM, PIXEL_MM),
        principal_point=(middle, middle),
        world_to_camera=make_pose(
            torch.tensor(rotation, dtype=torch.float64), torch.tensor([0.0, 0.0, SOD_MM], dtype=torch.float64)
        ),
        columns=SIDE_PX,
        rows=SIDE_PX,
        name=name,
    )


def _with_noise(line_integral: Tensor, generator: torch.Generator) -> Tensor:
    """Line integrals (H, W) as a detector counts them: Poisson noise of PHOTONS, at least one photon a pixel."""
    counts = torch.poisson(PHOTONS * torch.exp(-line_integral), generator=generator)
    return -torch.log(counts.clamp(min=1.0) / PHOTONS)
