"""How sure a pose is, direction by direction: along the viewing ray (depth) a view knows far less than across it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .ppc import PpcSolution, PpcSystem


@dataclass(frozen=True)
class Uncertainty:
    """Standard deviations of a pose in the axes of one view's camera.

    in_plane_mm: across the viewing direction, the larger of two; depth_mm: along it; turn_in_plane_deg: about the
    viewing direction; turn_out_of_plane_deg: about the axes across it, the larger of two.
    """

    in_plane_mm: float
    depth_mm: float
    turn_in_plane_deg: float
    turn_out_of_plane_deg: float


def pose_uncertainty(system: PpcSystem, solution: PpcSolution, world_to_camera: Tensor) -> Uncertainty:
    """From the covariance of a PPC solution in world, in the axes of a camera (4, 4), at the centre of the contour
    points. Too small where neighbouring correspondences err together: to be scaled by what is seen in practice."""
    turn = world_to_camera[:3, :3].to(torch.float64)
    covariance = solution.covariance.to(torch.float64)
    about = (turn @ covariance[:3, :3] @ turn.T).diagonal().clamp_min(0).sqrt() / system.length
    along = (turn @ covariance[3:, 3:] @ turn.T).diagonal().clamp_min(0).sqrt()
    return Uncertainty(
        float(along[:2].max()), float(along[2]), math.degrees(float(about[2])), math.degrees(float(about[:2].max()))
    )


def pose_errors(ct_to_world: Tensor, truth: Tensor, centre: Tensor, world_to_camera: Tensor) -> Uncertainty:
    """The errors of a pose (4, 4) against the true one, in the directions of ``Uncertainty``; centre (3,) in world."""
    from .poses import invert_pose, log_rotation

    turn = world_to_camera[:3, :3].to(torch.float64)
    motion = truth @ invert_pose(ct_to_world)
    about = (turn @ log_rotation(motion[:3, :3])).abs()
    along = (turn @ (motion[:3, :3] @ centre + motion[:3, 3] - centre)).abs()
    return Uncertainty(
        float(along[:2].max()), float(along[2]), math.degrees(float(about[2])), math.degrees(float(about[:2].max()))
    )
