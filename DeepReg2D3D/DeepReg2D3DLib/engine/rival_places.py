"""Where else in the X-ray the CT would look nearly as right: one vertebra further, on the other side of the chest.

A spine repeats itself, so a result that sits one vertebra off looks good. It betrays itself when the CT, moved over the
image, fits better or hardly worse at another place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .edge_correlation import correlation_over_shifts
from .picture_shifts import separate_peaks, shifted_pose
from .poses import invert_pose, motion_about, transform_points
from .region import depth_of, level_xray, pixel_at_depth, region_of_interest
from .setup import RegistrationSetup
from .truncation import away_from_box_edges
from .xray import XRay

LONG_SIDE = 96
MARGIN_MM = 45.0
LARGEST_SHIFT_MM = 60.0
TURNS_DEG = (0.0, -6.0, 6.0)
"""Turns in the image plane that are tried with every shift: the spine is bent."""
HERE_MM, ELSEWHERE_MM = 4.0, 10.0
"""Shifts up to the one count as the pose itself, shifts from the other as another place."""
PLACES = 2


@dataclass(frozen=True)
class Places:
    """here: the correlation at the pose itself; poses: ct_to_world (4, 4) of other places, and their correlations."""

    here: float
    poses: list[Tensor]
    scores: list[float]


def rival_places(setup: RegistrationSetup, xray: XRay, ct_to_world: Tensor) -> Places:
    """The places of the CT in one X-ray that rival the pose (4, 4), best first.

    Raises DegenerateError where the CT is not in the picture.
    """
    whole = xray.camera.ct_to_camera(ct_to_world)
    part = level_xray(xray, region_of_interest(setup.surface, whole, xray, MARGIN_MM), LONG_SIDE)
    camera = part.camera
    depth = depth_of(setup.surface, whole)
    pixel = pixel_at_depth(part, depth)
    axes = invert_pose(camera.world_to_camera)[:3, :3]
    centre = transform_points(ct_to_world, setup.surface.middle[None])[0]
    still = torch.zeros(3, dtype=torch.float64)
    poses = torch.stack(
        [motion_about(math.radians(angle) * axes[:, 2], still, centre) @ ct_to_world for angle in TURNS_DEG]
    )
    largest = max(2, min(round(LARGEST_SHIFT_MM / pixel), max(camera.size) - 1))
    with torch.no_grad():
        seen = camera.ct_to_camera(poses)
        renderer = setup.renderer(pixel)
        drr = renderer(seen, camera.intrinsics, camera.size).to(torch.float32)
        inside = away_from_box_edges(setup.volume.corners, seen, camera.intrinsics, camera.size).to(drr.device)
        scores = correlation_over_shifts(drr, part.line_integral, part.mask, largest, inside).cpu()
    near, far = max(1, round(HERE_MM / pixel)), max(2, round(ELSEWHERE_MM / pixel))
    around = slice(largest - near, largest + near + 1)
    here = float(scores[:, around, around].max())
    best, turn = scores.max(dim=0)
    best[largest - far : largest + far + 1, largest - far : largest + far + 1] = -1.0
    peaks = separate_peaks(best, PLACES, far)
    found = [
        shifted_pose(poses[int(turn[row, column])], camera, column - largest, row - largest, depth)
        for row, column, _ in peaks
    ]
    return Places(here, found, [score for *_, score in peaks])
