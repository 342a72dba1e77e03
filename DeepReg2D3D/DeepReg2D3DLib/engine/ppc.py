"""The Point-to-Plane Correspondence (PPC) solver: from 2D correspondences along contours to one 3D rigid motion.

A contour point X (seen from the source s along w = X - s, with gradient g) that is matched to the detector point q must
move into the plane that holds the source, q and the contour's tangent w x g. With that plane's unit normal
n = normalise((q - s) x (w x g)), a small rotation dw about the centre c and a translation dv, the constraint is

    (n x (X - c)) . dw - n . dv = n . w                       (Jaganathan et al., MICCAI 2021, PPC constraint)

so only motion along the image gradient counts and the aperture problem does no harm. Everything may be written in the
frame of one camera (s = 0) or, for several views, in world. Rotation is solved for as length * dw about the centroid of
the points, which lowers the condition number of the system from tens of thousands to tens.

``ppc_rows``, ``solve_ppc`` and ``motion_from_solution`` are batched, have fixed shapes and are differentiable;
``solve_motion`` is what a registration calls: it refuses data that don't determine a motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import DegenerateError
from .poses import motion_about

ROTATION_LENGTH = 50.0
"""mm that a radian counts for, about the size of a vertebra: it balances the columns of the system."""
MINIMUM_POINTS = 6
"""Six unknowns need six constraints."""
LEAST_WEIGHT = 1e-8
LEAST_QUALITY = 0.2
"""A poor view keeps this share of a good one's weight: it may be the only one that sees the depth."""


@dataclass(frozen=True)
class PpcSystem:
    """Weighted rows A (..., N, 6), right side b (..., N) in mm and weights (..., N) for y = [length dw; dv].

    More unknowns may follow, a column each: ``solve_ppc`` finds them, too.

    centre (..., 3) is what the rotation turns about. All float64.
    """

    rows: Tensor
    right: Tensor
    weights: Tensor
    centre: Tensor
    length: float = ROTATION_LENGTH


@dataclass(frozen=True)
class PpcSolution:
    """The motion and what is known about it.

    unknowns (..., 6) = [length dw (mm); dv (mm)]; residuals (..., N) in mm, A y - b; weights (..., N) after the robust
    iterations; covariance (..., 6, 6) in mm^2 of the unknowns; scale (...) the robust standard deviation of a residual.
    """

    unknowns: Tensor
    residuals: Tensor
    weights: Tensor
    covariance: Tensor
    scale: Tensor


@dataclass(frozen=True)
class SolverSettings:
    """robust_iterations of IRLS (0: plain weighted least squares); damping in units of the mean of the diagonal."""

    robust_iterations: int = 5
    damping: float = 1e-6
    residual_floor: float = 0.05
    """Smallest standard deviation in mm that the robust weights may assume."""
    cutoff: float = 1.0
    """Multiplies the residuals' standard deviation in the Gaussian weights: larger trusts more."""


def ppc_rows(
    points: Tensor, gradients: Tensor, rays: Tensor, source: Tensor, centre: Tensor, length: float = ROTATION_LENGTH
) -> tuple[Tensor, Tensor]:
    """Rows (..., N, 6) and right sides (..., N) in mm of the PPC constraint.

    points (..., N, 3) contour points and gradients (..., N, 3) in one frame (camera or world), rays (..., N, 3) from
    the source towards the matched detector points (any length), source (..., 3), centre (..., 3). A point whose plane
    is undefined (gradient along the ray, or non-finite input) gets a row of zeros. Differentiable in ``rays``.
    """
    w = points - source[..., None, :]
    tangent = torch.linalg.cross(w, gradients)
    tangent = tangent / tangent.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    # tangent is made perpendicular to w; rays stay near w, so the product's length is near that of the ray.
    direction = rays / w.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    normal = torch.linalg.cross(direction, tangent)
    squared = (normal * normal).sum(-1, keepdim=True)
    usable = torch.isfinite(squared) & (squared > 1e-24)
    # ``where`` before the division, so that gradients of unusable points are zero and not NaN.
    normal = torch.where(usable, normal, torch.zeros_like(normal))
    normal = normal / torch.where(usable, squared, torch.ones_like(squared)).sqrt()
    arm = points - centre[..., None, :]
    rows = torch.cat([torch.linalg.cross(normal, arm) / length, -normal], dim=-1)
    return rows, (normal * w).sum(-1)


def build_system(
    points: Tensor,
    gradients: Tensor,
    rays: Tensor,
    weights: Tensor,
    source: Tensor | None = None,
    centre: Tensor | None = None,
    length: float = ROTATION_LENGTH,
) -> PpcSystem:
    """The system of one view in float64, about the weighted centroid of its points unless ``centre`` is given.

    Shapes as in ``ppc_rows``; weights (..., N) of zero or more. Entries with a non-finite ray, point or weight get
    weight zero.
    """
    points, gradients, rays, weights = (x.to(torch.float64) for x in (points, gradients, rays, weights))
    finite = torch.isfinite(points).all(-1) & torch.isfinite(gradients).all(-1) & torch.isfinite(rays).all(-1)
    finite = finite & torch.isfinite(weights)
    weights = torch.where(finite, weights, torch.zeros_like(weights)).clamp_min(0.0)
    points, gradients, rays = (torch.where(finite[..., None], x, torch.ones_like(x)) for x in (points, gradients, rays))
    source = torch.zeros_like(points[..., 0, :]) if source is None else source.to(points)
    if centre is None:
        used = (weights.detach() > LEAST_WEIGHT).to(points)[..., None]
        centre = (points * used).sum(-2) / used.sum(-2).clamp_min(1.0)
    rows, right = ppc_rows(points, gradients, rays, source, centre.to(points), length)
    return PpcSystem(rows, right, weights, centre.to(points), length)


def stack_views(systems: Sequence[PpcSystem]) -> PpcSystem:
    """One system from several views in world, all about one centre, weighted by their quality.

    However many points a view has, its total weight is that of every other view times its quality: the mean weight of
    its correspondences over that of the best view, ``LEAST_QUALITY`` at least.
    """
    first = systems[0]
    totals = [s.weights.sum(-1, keepdim=True) for s in systems]
    mean = sum(totals) / len(totals)
    used = [(s.rows.abs().amax(-1) > 0).to(s.weights).sum(-1, keepdim=True) for s in systems]
    means = [total / count.clamp_min(1) for total, count in zip(totals, used, strict=True)]
    best = torch.stack(means).amax(0).clamp_min(LEAST_WEIGHT)
    qualities = [(m / best).clamp_min(LEAST_QUALITY) for m in means]
    weights = [
        s.weights * (quality * mean / total.clamp_min(LEAST_WEIGHT))
        for s, total, quality in zip(systems, totals, qualities, strict=True)
    ]
    return PpcSystem(
        torch.cat([s.rows for s in systems], dim=-2),
        torch.cat([s.right for s in systems], dim=-1),
        torch.cat(weights, dim=-1),
        first.centre,
        first.length,
    )


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Median (...) of values (..., N) with weights (..., N); the lowest value where all weights are zero."""
    ordered, index = values.sort(dim=-1)
    cumulative = weights.gather(-1, index).cumsum(-1)
    half = 0.5 * cumulative[..., -1:]
    position = (cumulative < half).sum(-1, keepdim=True).clamp_max(values.shape[-1] - 1)
    return ordered.gather(-1, position).squeeze(-1)


def solve_ppc(system: PpcSystem, settings: SolverSettings | None = None) -> PpcSolution:
    """Solve the weighted, damped, robust system, batched; never raises, and returns no motion where nothing pulls.

    The weights act once: sum w r^2 is minimised. IRLS multiplies them by exp(-r^2 / (2 s^2)) with s from the weighted
    median of |r| (times 1.4826) and a floor. Gradients flow to the rows, right side and weights; the robust factors
    are treated as constants.
    """
    settings = settings or SolverSettings()
    rows, right, prior = system.rows, system.right, system.weights
    unknowns, hessian, total = _least_squares(rows, right, prior, settings.damping)
    weights, residuals = prior, (rows @ unknowns[..., None]).squeeze(-1) - right
    scale = _scale(residuals, prior, settings)
    for iteration in range(settings.robust_iterations):
        if iteration > 0:
            residuals = (rows @ unknowns[..., None]).squeeze(-1) - right
            scale = _scale(residuals, prior, settings)
        spread = (settings.cutoff * scale)[..., None]
        weights = prior * torch.exp(-0.5 * (residuals.detach() / spread) ** 2)
        unknowns, hessian, total = _least_squares(rows, right, weights, settings.damping)
    residuals = (rows @ unknowns[..., None]).squeeze(-1) - right
    variance = (weights * residuals**2).sum(-1) / total.clamp_min(LEAST_WEIGHT)
    count = weights.sum(-1) ** 2 / (weights**2).sum(-1).clamp_min(LEAST_WEIGHT)
    # (A^T W A)^-1 for weights of mean 1 over the effective number of points.
    identity = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
    information = hessian / total.clamp_min(LEAST_WEIGHT)[..., None, None] * count.clamp_min(1.0)[..., None, None]
    trace = information.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    covariance = torch.linalg.inv(information + (1e-12 * trace + 1e-12) * identity) * variance[..., None, None]
    return PpcSolution(unknowns, residuals, weights, covariance, scale)


def _scale(residuals: Tensor, weights: Tensor, settings: SolverSettings) -> Tensor:
    """Robust standard deviation (...) of the residuals (..., N) in mm, constant for autograd."""
    typical = weighted_median(residuals.detach().abs(), weights.detach())
    return (1.4826 * typical).clamp_min(settings.residual_floor)


def _least_squares(rows: Tensor, right: Tensor, weights: Tensor, damping: float) -> tuple[Tensor, Tensor, Tensor]:
    """Unknowns (..., U), undamped normal matrix (..., U, U) and total weight (...)."""
    weighted = rows * weights[..., None]
    normal = weighted.transpose(-1, -2) @ rows
    vector = (weighted.transpose(-1, -2) @ right[..., None]).squeeze(-1)
    trace = normal.diagonal(dim1=-2, dim2=-1).sum(-1)
    identity = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
    # The smallest term keeps an empty system solvable: its right side is zero, and so is the motion.
    damped = normal + ((damping + 1e-12) * trace / rows.shape[-1] + 1e-12)[..., None, None] * identity
    return torch.linalg.solve(damped, vector), normal, weights.sum(-1)


def motion_from_solution(solution: PpcSolution, system: PpcSystem) -> Tensor:
    """The rigid motion (..., 4, 4), in the frame of the system, to put before the pose: new = motion @ old."""
    y = solution.unknowns
    return motion_about(y[..., :3] / system.length, y[..., 3:], system.centre)


def solve_motion(system: PpcSystem, settings: SolverSettings | None = None) -> tuple[Tensor, PpcSolution]:
    """The motion (4, 4) of one system, checked.

    Raises DegenerateError when fewer than six correspondences have weight, when they are not finite, or when they leave
    a direction of motion undetermined (all on one line, or a shape that looks the same when turned).
    """
    check_determined(system)
    solution = solve_ppc(system, settings)
    motion = motion_from_solution(solution, system)
    if not bool(torch.isfinite(motion).all()):
        raise DegenerateError("The correspondences gave a motion that is not finite.")
    return motion, solution


def check_determined(system: PpcSystem) -> None:
    """Raise DegenerateError unless the system of one pose (no batch dimension) determines all six unknowns."""
    if not bool(torch.isfinite(system.rows).all() and torch.isfinite(system.right).all()):
        raise DegenerateError("The correspondences have values that are not finite numbers.")
    used = (system.weights > LEAST_WEIGHT) & (system.rows.abs().amax(-1) > 0)
    count = int(used.sum())
    if count < MINIMUM_POINTS:
        raise DegenerateError(
            f"Only {count} correspondences have any weight, and a pose needs at least {MINIMUM_POINTS}: does the CT "
            "lie in the X-ray's field at this pose?"
        )
    scaled = system.rows[used] * system.weights[used].sqrt()[:, None]
    singular = torch.linalg.svdvals(scaled)
    if float(singular[-1]) < 1e-7 * float(singular[0]):
        raise DegenerateError(
            f"The {count} correspondences leave a motion undetermined (condition number above 1e7): they lie on one "
            "line, or show a shape that looks the same when it turns."
        )
