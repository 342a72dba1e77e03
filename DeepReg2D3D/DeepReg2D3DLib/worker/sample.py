"""The sample that needs no download: a phantom CT with X-rays of it from the front and from the left.

Made for a first look in a few seconds, so the X-rays are the phantom's own DRRs with photon noise. Realistic ones come
from the simulator (``deepreg2d3d simulate``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..engine.camera import Camera
from ..engine.drr import DrrRenderer
from ..engine.phantom import make_phantom
from ..engine.poses import motion_about
from .session_files import camera_to_json

_SPACING_MM = 2.5
_REGION = "lumbar"
_SIDE, _PIXEL_MM = 384, 1.0
_PHOTONS = 2.0e4  # a pixel, in the open beam
# Sources in front of the patient and at the patient's left, 800 mm from the isocentre.
_VIEWS = {
    "AP": [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 800], [0, 0, 0, 1]],
    "Lateral": [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 800], [0, 0, 0, 1]],
}
# How the patient lies, and how far the start is off: radians about x, y, z and mm, LPS.
_TRUTH = (0.06, -0.04, 0.08), (8.0, -12.0, 10.0)
_START = (0.05, 0.04, -0.06), (10.0, 6.0, -12.0)


def make_sample(seed: int, progress: Callable[[str, float | None], None]) -> dict[str, Any]:
    """CT, views, true pose and start, as the answer to ``make_sample``; the same for the same seed."""
    progress("Making a phantom CT...", 0.0)
    volume = make_phantom(seed, _SPACING_MM, _REGION)
    centre = volume.centre
    # The CT's centre comes to the isocentre, a little off it.
    truth = motion_about(_vector(_TRUTH[0]), _vector(_TRUTH[1]) - centre, centre)
    start = motion_about(_vector(_START[0]), _vector(_START[1]), _vector(_TRUTH[1])) @ truth
    renderer = DrrRenderer.from_volume(volume)
    generator = torch.Generator().manual_seed(seed)
    views = []
    for index, (name, matrix) in enumerate(_VIEWS.items()):
        progress(f"Taking the X-ray {name}...", (index + 1) / (len(_VIEWS) + 1))
        camera = _camera(name, matrix)
        image = _xray(renderer, camera, truth, generator)
        views.append({"name": name, "camera": camera_to_json(camera), "image": image.numpy()})
    return {
        "ct": {"name": "Phantom CT", "array": volume.hu.numpy(), "ijk_to_ct": volume.ijk_to_ct.tolist()},
        "views": views,
        "truth": truth.tolist(),
        "start": start.tolist(),
    }


def _vector(values: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _xray(renderer: DrrRenderer, camera: Camera, pose: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Line integrals (rows, columns) float32 as photon counting sees them."""
    with torch.inference_mode():
        exact = renderer(camera.ct_to_camera(pose)[None], camera.intrinsics, camera.size)[0].sum(0).cpu()
    photons = torch.poisson(_PHOTONS * torch.exp(-exact), generator=generator).clamp(min=1.0)
    return -torch.log(photons / _PHOTONS)


def _camera(name: str, matrix: list[list[float]]) -> Camera:
    middle = 0.5 * (_SIDE - 1)
    return Camera.from_parameters(
        source_to_detector=1200.0,
        pixel_spacing=(_PIXEL_MM, _PIXEL_MM),
        principal_point=(middle, middle),
        world_to_camera=torch.tensor(matrix, dtype=torch.float64),
        columns=_SIDE,
        rows=_SIDE,
        name=name,
    )
