"""A few plain steps from any pose: patch matching and PPC, the same whatever method found the pose.

What judges a result must not share the blind spots of the networks that made it, and must mean the same for all of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .contours import apparent_contour_points
from .correspondences import Progress, Scene
from .errors import DegenerateError, InputError
from .image_gradient import image_gradient
from .joint_system import joint_system
from .patch_matching import PatchMatching
from .poses import check_rigid
from .ppc import SolverSettings, solve_motion
from .region import depth_of, level_xray, pixel_at_depth, region_of_interest
from .setup import RegistrationSetup
from .xray import XRay

PATCHES = PatchMatching()
CONTOUR_TOLERANCE = 0.1
"""|cos| between gradient and viewing ray: 6 degrees."""


@dataclass(frozen=True)
class Look:
    """How closely to look: pixels along the region's longer side, mm around the CT, contour points a view, and how far
    to search, in pixels."""

    long_side: int
    margin_mm: float
    points: int
    search_px: float


def part_at(setup: RegistrationSetup, xray: XRay, ct_to_world: Tensor, look: Look) -> XRay:
    """The part of an X-ray that shows the CT at a pose (4, 4). Raises DegenerateError where it shows nothing of it."""
    seen = xray.camera.ct_to_camera(ct_to_world)
    return level_xray(xray, region_of_interest(setup.surface, seen, xray, look.margin_mm), look.long_side)


def scene_at(setup: RegistrationSetup, part: XRay, ct_to_world: Tensor, look: Look) -> Scene:
    """A part of an X-ray, and the CT in it at a pose (4, 4)."""
    camera = part.camera
    seen = camera.ct_to_camera(ct_to_world)
    renderer = setup.renderer(pixel_at_depth(part, depth_of(setup.surface, seen)))
    with torch.no_grad():
        drr = renderer(seen[None], camera.intrinsics, camera.size).to(torch.float32)
    contour = apparent_contour_points(
        setup.surface,
        seen.to(setup.surface.points),
        camera.intrinsics.to(setup.surface.points),
        camera.size,
        None,
        look.points,
        tolerance=CONTOUR_TOLERANCE,
        strength_image=image_gradient(drr, 1.0)[0],
    )
    # The second of two levels: patches show the whole DRR.
    return Scene(drr, part, seen, contour, setup.surface, renderer, Progress(1, 2, 0, 1, look.search_px))


def steps_from(
    setup: RegistrationSetup, xrays: Sequence[XRay], ct_to_world: Tensor, look: Look, steps: int, damping: float
) -> Tensor | None:
    """Where ``steps`` steps lead from a pose (4, 4); None where they lead out of the picture or nothing matches."""
    pose = ct_to_world
    try:
        parts = [part_at(setup, xray, pose, look) for xray in xrays]
        for _ in range(steps):
            scenes = [scene_at(setup, part, pose, look) for part in parts]
            matches = [PATCHES.find(scene) for scene in scenes]
            motion, _ = solve_motion(joint_system(scenes, matches, pose), SolverSettings(damping=damping))
            pose = check_rigid(motion @ pose, "The pose after a step")
    except (DegenerateError, InputError):  # InputError: a step to where no pose can be
        return None
    return pose
