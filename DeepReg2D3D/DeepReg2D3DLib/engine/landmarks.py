"""A pose from landmarks: points of the CT and where they are seen in one or more X-rays (the PnP problem).

The reprojection distance of all clicks is minimised over the six numbers of a rigid pose by Levenberg-Marquardt, with
Huber weights, so that one wrong click bends little (Hartley and Zisserman, Multiple View Geometry, 2nd edition,
sections 7.2 and A6.8). The descent begins at orientations spread over all rotations, each with the translation that
solves the projection equations in least squares, and the best end counts: no first pose is needed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .camera import Camera
from .errors import DegenerateError, InputError
from .poses import exp_rotation, make_pose, skew, transform_points

FEWEST_ONE_VIEW = 4
FEWEST_MORE_VIEWS = 3
FLATTEST = 0.03
"""Points whose spread across a line or plane is smaller than this share of their length count as lying in it."""
LEAST_SPREAD_MM = 10.0
HUBER_MM = 1.5
"""Clicks farther off than this, measured at the depth of the CT, count with less than their square."""
CLICK_PX = 1.0
"""How well a person clicks, at best, in pixels: the least error that uncertainties are computed for."""
ROUGH_STEPS, STEPS = 20, 60
PROMISING = 8
"""Of all first orientations, so many go all the way after a few steps."""


@dataclass(frozen=True)
class Landmark:
    """A point of the CT and its clicks. point: (3,) LPS mm. clicks: pixel (u, v) by the index of the view."""

    name: str
    point: tuple[float, float, float]
    clicks: dict[int, tuple[float, float]]


@dataclass(frozen=True)
class LandmarkClick:
    """What is left at one click. pixels: distance in the image; mm: the same at the depth of the point."""

    landmark: str
    view: int
    pixels: float
    mm: float
    doubtful: bool


@dataclass(frozen=True)
class LandmarkPose:
    """A pose from landmarks: ct_to_world (4, 4) float64 and how far to trust it.

    rms_mm: of all residuals at the depth of the points. in_plane_mm, depth_mm: standard deviation of the landmarks'
    centre across and along the first view's ray to it; rotation_deg: of the worst axis.
    """

    ct_to_world: Tensor
    clicks: tuple[LandmarkClick, ...]
    rms_mm: float
    in_plane_mm: float
    depth_mm: float
    rotation_deg: float


def solve_landmarks(landmarks: Sequence[Landmark], cameras: Sequence[Camera]) -> LandmarkPose:
    """The pose under which the landmarks project nearest to their clicks.

    One view needs four landmarks that are not in one plane (six are advised), several need three not on one line.
    Raises InputError for too few, for unknown views and for what is not finite; DegenerateError, naming the layout, for
    landmarks from which no pose follows, and where no pose puts all of them in front of the sources.
    """
    used = [mark for mark in landmarks if mark.clicks]
    views = sorted({view for mark in used for view in mark.clicks})
    _check(used, views, cameras)
    _refuse_degenerate(torch.tensor([mark.point for mark in used], dtype=torch.float64), len(views))
    problem = _problem(used, cameras)
    poses, costs = problem.descend(problem.first_poses(_rotations()), ROUGH_STEPS)
    poses, costs = problem.descend(poses[costs.argsort()[:PROMISING]], STEPS)
    costs = torch.where(problem.in_front(poses), costs, torch.inf)
    best = int(costs.argmin())
    if not bool(torch.isfinite(costs[best])):
        raise DegenerateError(
            "No pose puts the landmarks in front of the X-ray source where they were clicked: check that each click "
            "belongs to its landmark, and the geometry."
        )
    return problem.result(poses[best], [mark.name for mark in used for _ in mark.clicks])


def clicks_at_pose(landmarks: Sequence[Landmark], cameras: Sequence[Camera], ct_to_world: Tensor) -> LandmarkPose:
    """How far every landmark is seen from its click at a pose (4, 4) from elsewhere: a registration, say.

    At least one landmark must have a click. The clicks stand landmark by landmark, their views in the file's order.
    """
    used = [mark for mark in landmarks if mark.clicks]
    pose = ct_to_world.to("cpu", torch.float64)
    return _problem(used, cameras).result(pose, [mark.name for mark in used for _ in mark.clicks])


def _problem(used: Sequence[Landmark], cameras: Sequence[Camera]) -> _Problem:
    points = torch.tensor([mark.point for mark in used for _ in mark.clicks], dtype=torch.float64)
    clicks = torch.tensor([pixel for mark in used for pixel in mark.clicks.values()], dtype=torch.float64)
    index = torch.tensor([view for mark in used for view in mark.clicks])
    return _Problem(points, clicks, index, cameras)


def _check(used: Sequence[Landmark], views: Sequence[int], cameras: Sequence[Camera]) -> None:
    for view in views:
        if not 0 <= view < len(cameras):
            raise InputError(f"A landmark is clicked in view number {view + 1}, but there are {len(cameras)} views.")
    for mark in used:
        numbers = [*mark.point, *itertools.chain.from_iterable(mark.clicks.values())]
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(f"Landmark '{mark.name}' has a coordinate that is not a finite number.")
    fewest = FEWEST_ONE_VIEW if len(views) < 2 else FEWEST_MORE_VIEWS
    if len(used) < fewest:
        where = "one view" if len(views) < 2 else f"{len(views)} views"
        advice = " (six are better)" if len(views) < 2 else ""
        raise InputError(f"{len(used)} landmarks with clicks are too few: {where} needs at least {fewest}{advice}.")


def _refuse_degenerate(points: Tensor, views: int) -> None:
    """points: (N, 3) of the landmarks, mm."""
    lengths = torch.linalg.svdvals(points - points.mean(0)) / math.sqrt(len(points))
    along, across, thick = (float(x) for x in lengths[:3])
    if along < LEAST_SPREAD_MM:
        raise DegenerateError(
            f"The landmarks lie within about {2 * along:.0f} mm of each other in the CT: choose some farther apart."
        )
    if across < FLATTEST * along:
        raise DegenerateError(
            "The landmarks lie on one line in the CT, about which the pose could turn freely: add one away from it."
        )
    if views < 2 and thick < FLATTEST * along:
        raise DegenerateError(
            "The landmarks lie in one plane in the CT, and one view can't tell its two sides apart: add a landmark "
            f"well in front of it or behind it (they are within {thick:.1f} mm of the plane), or click a second view."
        )


def _rotations() -> Tensor:
    """72 rotations (72, 3, 3) over all orientations, no two nearest ones more than about 50 degrees apart."""
    axes = [torch.tensor(a, dtype=torch.float64) for a in itertools.product((-1, 0, 1), repeat=3) if any(a)]
    cube = [torch.eye(3, dtype=torch.float64)]
    for permutation in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3, dtype=torch.float64)
            for row, column in enumerate(permutation):
                matrix[row, column] = signs[row]
            if torch.det(matrix) > 0 and not torch.equal(matrix, cube[0]):
                cube.append(matrix)
    tilted = [exp_rotation(math.radians(angle) * axes[-1] / axes[-1].norm()) for angle in (0.0, 40.0, 80.0)]
    return torch.stack([turn @ matrix for turn in tilted for matrix in cube])


class _Problem:
    """All clicks of all views: points (N, 3), clicks (N, 2), and for each its camera's K (N, 3, 3) and pose."""

    def __init__(self, points: Tensor, clicks: Tensor, index: Tensor, cameras: Sequence[Camera]) -> None:
        self.points, self.clicks, self.index, self.cameras = points, clicks, index, cameras
        self.k = torch.stack([camera.intrinsics for camera in cameras])[index]
        self.world_to_camera = torch.stack([camera.world_to_camera for camera in cameras])[index]
        self.centre = points.mean(0)

    def first_poses(self, rotations: Tensor) -> Tensor:
        """Poses (R, 4, 4) with the translation that solves x z_c - K-projected rays = 0 in least squares."""
        ray = torch.linalg.solve(self.k, torch.cat([self.clicks, torch.ones_like(self.clicks[:, :1])], 1)[..., None])
        across = skew(ray[..., 0] / ray.norm(dim=1))
        turn, shift = self.world_to_camera[:, :3, :3], self.world_to_camera[:, :3, 3]
        system = across @ turn  # (N, 3, 3): across @ (turn @ (R x + t) + shift) = 0
        normal = (system.transpose(1, 2) @ system).sum(0)
        turned = torch.einsum("rij,nj->rni", rotations, self.points - self.centre)
        right = -(across @ (torch.einsum("nij,rnj->rni", turn, turned) + shift)[..., None])
        gathered = (system.transpose(1, 2) @ right).sum(1)[..., 0]
        place = torch.linalg.solve(normal + 1e-9 * normal.trace() * torch.eye(3, dtype=normal.dtype), gathered.T).T
        return make_pose(rotations, place - rotations @ self.centre)

    def seen(self, poses: Tensor) -> Tensor:
        """The points in their cameras' frames, (R, N, 3)."""
        world = transform_points(poses, self.points)
        return torch.einsum("nij,rnj->rni", self.world_to_camera[:, :3, :3], world) + self.world_to_camera[:, :3, 3]

    def in_front(self, poses: Tensor) -> Tensor:
        """(R,) bool: every point between the source and infinity."""
        return (self.seen(poses)[..., 2] > 1.0).all(-1)

    def residuals(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals (R, N, 2) in mm at the depth of the points and mm per pixel (R, N)."""
        seen = self.seen(poses)
        depth = seen[..., 2].clamp_min(1.0)
        pixels = torch.einsum("nij,rnj->rni", self.k, seen / depth[..., None])[..., :2]
        scale = depth / self.k[:, 1, 1]
        return (pixels - self.clicks) * scale[..., None], scale

    def descend(self, poses: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Poses (R, 4, 4) at their local minima, and the Huber costs (R,) there."""
        damping = torch.full((len(poses),), 1e-3, dtype=poses.dtype)
        cost = self._cost(poses)
        for _ in range(steps):
            normal, gradient = self._normal_equations(poses)
            diagonal = torch.diag_embed(normal.diagonal(dim1=-2, dim2=-1).clamp_min(1e-9))
            step = torch.linalg.solve(normal + damping[:, None, None] * diagonal, -gradient[..., None])[..., 0]
            moved = self._moved(poses, step)
            after = self._cost(moved)
            better = after < cost
            poses = torch.where(better[:, None, None], moved, poses)
            cost = torch.where(better, after, cost)
            damping = torch.where(better, damping / 4, damping * 5).clamp(1e-9, 1e9)
        return poses, cost

    def _moved(self, poses: Tensor, step: Tensor) -> Tensor:
        """Turned by step[:, :3] about the landmarks' centre, in world, and moved by step[:, 3:] mm."""
        middle = transform_points(poses, self.centre[None])[:, 0]
        turn = exp_rotation(step[:, :3])
        rotation = turn @ poses[:, :3, :3]
        place = (turn @ (poses[:, :3, 3] - middle)[..., None])[..., 0] + middle + step[:, 3:]
        return make_pose(rotation, place)

    def _cost(self, poses: Tensor) -> Tensor:
        length = self.residuals(poses)[0].norm(dim=-1)
        huber = torch.where(length < HUBER_MM, 0.5 * length**2, HUBER_MM * (length - 0.5 * HUBER_MM))
        return torch.where(self.in_front(poses), huber.sum(-1), huber.sum(-1) + 1e6)

    def _normal_equations(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """J^T W J (R, 6, 6) and J^T W r (R, 6) of the residuals in mm."""
        residual, scale = self.residuals(poses)
        jacobian = self._jacobian(poses, scale)
        weight = (HUBER_MM / residual.norm(dim=-1).clamp_min(1e-9)).clamp_max(1.0)
        weighted = jacobian * weight[..., None, None]
        normal = (weighted.transpose(-1, -2) @ jacobian).sum(1)
        gradient = (weighted.transpose(-1, -2) @ residual[..., None]).sum(1)[..., 0]
        return normal, gradient

    def _jacobian(self, poses: Tensor, scale: Tensor) -> Tensor:
        """(R, N, 2, 6) of the residuals in mm, by a turn about the landmarks' centre and a shift, both in world."""
        seen = self.seen(poses)
        depth = seen[..., 2].clamp_min(1.0)
        ray = seen / depth[..., None]
        k = self.k[None, :, :2, :]
        # d pixel / d camera point = (K[:2] - (K[:2] ray) e3^T) / depth, times the mm that a pixel covers.
        image = torch.einsum("rnij,rnj->rni", k.expand(len(poses), -1, -1, -1), ray)
        third = torch.zeros_like(image[..., None, :1].expand(*image.shape, 3)).clone()
        third[..., 2] = image
        by_point = (k - third) / depth[..., None, None] * scale[..., None, None]
        by_world = by_point @ self.world_to_camera[:, :3, :3]
        world = transform_points(poses, self.points)
        middle = transform_points(poses, self.centre[None])
        return torch.cat([by_world @ -skew(world - middle), by_world], dim=-1)

    def result(self, pose: Tensor, names: Sequence[str]) -> LandmarkPose:
        """The residuals and uncertainties at a pose (4, 4)."""
        residual, scale = self.residuals(pose[None])
        length, scale = residual[0].norm(dim=-1), scale[0]
        rms = float(length.square().mean().sqrt())
        usual = max(float(length.median()), CLICK_PX * float(scale.mean()))
        clicks = tuple(
            LandmarkClick(name, int(view), float(mm / per_pixel), float(mm), float(mm) > 3 * usual)
            for name, view, mm, per_pixel in zip(names, self.index, length, scale, strict=True)
        )
        freedom = max(1, 2 * len(length) - 6)
        deviation = max(math.sqrt(float(length.square().sum()) / freedom), CLICK_PX * float(scale.mean()))
        jacobian = self._jacobian(pose[None], scale[None])[0].flatten(0, 1)
        covariance = torch.linalg.pinv(jacobian.T @ jacobian, hermitian=True) * deviation**2
        camera = self.cameras[int(self.index[0])]
        ray = transform_points(pose, self.centre[None])[0] - camera.source
        ray = ray / ray.norm()
        shift = covariance[3:, 3:]
        depth = float((ray @ shift @ ray).clamp_min(0))
        in_plane = max(0.0, (float(shift.trace()) - depth) / 2)
        turn = float(torch.linalg.eigvalsh(covariance[:3, :3])[-1].clamp_min(0))
        return LandmarkPose(pose, clicks, rms, math.sqrt(in_plane), math.sqrt(depth), math.degrees(math.sqrt(turn)))


def describe_pose(solved: LandmarkPose, views: Sequence[str]) -> list[str]:
    """Lines for people: each click's residual, and how far the pose is to be trusted."""
    width = max(len(click.landmark) for click in solved.clicks)
    lines = [
        f"{click.landmark:<{width}}  {views[click.view]}: off by {click.pixels:.1f} px, {click.mm:.2f} mm"
        + ("  <- doubtful: is this the right place?" if click.doubtful else "")
        for click in solved.clicks
    ]
    lines.append(
        f"rms {solved.rms_mm:.2f} mm; uncertainty (one standard deviation) {solved.in_plane_mm:.1f} mm across the "
        f"view, {solved.depth_mm:.1f} mm in depth, {solved.rotation_deg:.1f} degrees"
    )
    return lines
