"""One PPC step on a batch of training samples, and how far it leaves the points from where they belong."""

from __future__ import annotations

from torch import Tensor, nn

from ..engine.camera import backproject
from ..engine.poses import transform_points, transform_vectors
from ..engine.ppc import SolverSettings, build_system, motion_from_solution, solve_ppc
from .samples import SampleBatch

ROBUST = SolverSettings(robust_iterations=5, damping=1e-2)


def ppc_step(
    batch: SampleBatch, pose: Tensor, pixels: Tensor, weights: Tensor, settings: SolverSettings = ROBUST
) -> Tensor:
    """Poses (B, 4, 4) after one PPC step from ``pose`` (B, 4, 4) with found places ``pixels`` (B, N, 2) of the points.

    weights: (B, N). Differentiable in pixels and weights.
    """
    points = transform_points(pose, batch.points.to(pose.dtype))
    gradients = transform_vectors(pose, batch.gradients.to(pose.dtype))
    rays = backproject(pixels.to(pose.dtype), batch.intrinsics)
    system = build_system(points, gradients, rays, weights)
    return motion_from_solution(solve_ppc(system, settings), system) @ pose


def projection_distance(pose: Tensor, batch: SampleBatch) -> Tensor:
    """mRPD (B,) in mm of the contour points under ``pose`` (B, 4, 4)."""
    seen = transform_points(pose, batch.points.to(pose.dtype))
    ray = nn.functional.normalize(seen, dim=-1)
    aim = transform_points(batch.truth, batch.points.to(pose.dtype))
    distance = (aim - (aim * ray).sum(-1, keepdim=True) * ray).norm(dim=-1)
    valid = batch.valid.to(distance)
    return (distance * valid).sum(-1) / valid.sum(-1).clamp_min(1)


def point_distance(pose: Tensor, other: Tensor, batch: SampleBatch) -> Tensor:
    """Mean distance (B,) in mm of the contour points under two poses (B, 4, 4)."""
    points = batch.points.to(pose.dtype)
    distance = (transform_points(pose, points) - transform_points(other, points)).norm(dim=-1)
    valid = batch.valid.to(distance)
    return (distance * valid).sum(-1) / valid.sum(-1).clamp_min(1)
