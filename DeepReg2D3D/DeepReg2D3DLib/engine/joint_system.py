"""The PPC system of matched contours, in world: one view's rows, and those of all views stacked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .camera import backproject
from .correspondences import Matches, Scene
from .errors import DegenerateError
from .poses import invert_pose, transform_points, transform_vectors
from .ppc import PpcSystem, build_system, stack_views


def view_system(scene: Scene, matches: Matches, ct_to_world: Tensor, centre: Tensor) -> PpcSystem:
    """The PPC system of one view in world about ``centre`` (3,), on the CPU."""
    points = transform_points(ct_to_world, scene.contour.points.to("cpu", torch.float64))
    gradients = transform_vectors(ct_to_world, scene.contour.gradients.to("cpu", torch.float64))
    world = invert_pose(scene.camera.world_to_camera)
    rays = backproject(matches.pixels.to("cpu", torch.float64), scene.camera.intrinsics) @ world[:3, :3].T
    return build_system(points, gradients, rays, matches.weights.to("cpu", torch.float64), world[:3, 3], centre)


def contour_centre(scenes: Sequence[Scene], ct_to_world: Tensor) -> Tensor:
    """The centroid (3,) in world of the contour points of all views. Raises DegenerateError where there are none."""
    points = torch.cat([scene.contour.points for scene in scenes]).to("cpu", torch.float64)
    if len(points) == 0:
        raise DegenerateError("No contour of the CT is seen in the X-ray's field at this pose.")
    return transform_points(ct_to_world, points).mean(0)


def joint_system(scenes: Sequence[Scene], matches: Sequence[Matches], ct_to_world: Tensor) -> PpcSystem:
    """The PPC system of all views in world, about the centroid of their contour points."""
    centre = contour_centre(scenes, ct_to_world)
    systems = [view_system(scene, found, ct_to_world, centre) for scene, found in zip(scenes, matches, strict=True)]
    return systems[0] if len(systems) == 1 else stack_views(systems)
