"""Intrinsics in doubt: the source-detector distance and the principal point of each view, refined with the pose.

One view can't tell a wrong source-detector distance (SDD) from a wrong depth, nor a wrong principal point from a shift:
the image stays the same but for a little perspective. Two views from different sides can, in part, because the depth of
one is across the other. The unknowns are therefore estimated together from the contour correspondences of all views,
with a Gaussian prior around what the geometry says, and every number comes with its standard deviation; where that is
hardly smaller than the prior's, the images say nothing about it.

The distance w2c stays as given: with the source where it is, a longer SDD magnifies the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .camera import Camera
from .correspondences import Matches, Scene
from .device import resolve_device
from .errors import DegenerateError, InputError
from .methods import Method, get_method
from .poses import check_rigid, motion_about, skew, transform_points
from .ppc import ROTATION_LENGTH, weighted_median
from .presets import Preset, get_preset
from .registration import scenes_at
from .setup import RegistrationSetup
from .xray import XRay

SDD_SHARE = 0.02
"""Standard deviation of the prior: of the SDD as a share of it, and ..."""
PRINCIPAL_MM = 3.0
"""... of the principal point along each axis, mm at the detector."""
ROUNDS = 8
ROBUST_STEPS = 3
CORRELATED = 12.0
"""Neighbouring contour points err together: so many count as one measurement."""
LEAST_NOISE_PX = 0.25
SAID_LITTLE = 0.7
"""A number whose standard deviation is more than this share of the prior's is not determined by the images."""
FEWEST_POINTS = 50


@dataclass(frozen=True)
class RefinedView:
    """Refined intrinsics of one view, with standard deviations.

    camera: with the refined intrinsics; sdd, sdd_deviation in mm; principal_point and its deviation (u, v) in pixels;
    determined: whether the images decided the SDD, and the principal point along u and v.
    """

    camera: Camera
    sdd: float
    sdd_deviation: float
    principal_point: tuple[float, float]
    principal_deviation: tuple[float, float]
    determined: tuple[bool, bool, bool]


@dataclass(frozen=True)
class RefinedIntrinsics:
    """The pose ct_to_world (4, 4) and the views. noise_px: of the contour matches, at the level's resolution."""

    ct_to_world: Tensor
    views: tuple[RefinedView, ...]
    noise_px: float

    def xrays(self, xrays: Sequence[XRay]) -> list[XRay]:
        """The X-rays with the refined cameras."""
        return [replace(xray, camera=view.camera) for xray, view in zip(xrays, self.views, strict=True)]


def refine_intrinsics(
    setup: RegistrationSetup,
    xrays: Sequence[XRay],
    ct_to_world: Tensor,
    *,
    method: str | Method = "deep-iterative",
    preset: str | Preset = "accurate",
    shared: bool = False,
) -> RefinedIntrinsics:
    """SDD and principal point of two or more views, and the pose, from a pose (4, 4) that is registered already.

    shared: all views have the same SDD and principal point, as those of one C-arm that was moved between shots. Raises
    InputError for a single view; DegenerateError where too few contours match.
    """
    if len(xrays) < 2:
        raise InputError(
            "With one view, depth and source-detector distance can't be told apart: the intrinsics stay as they are. "
            "Give a second view from another side."
        )
    distances = [xray.camera.source_to_detector for xray in xrays]
    if shared and max(distances) > 1.001 * min(distances):
        raise InputError(
            f"Shared intrinsics need one source-detector distance, and the views are given from {min(distances):.1f} "
            f"to {max(distances):.1f} mm: refine each view on its own, or correct the geometry."
        )
    method = get_method(method, resolve_device(setup.device)) if isinstance(method, str) else method
    preset = get_preset(preset) if isinstance(preset, str) else preset
    current = [xray.to(setup.device) for xray in xrays]
    problem = _Problem([xray.camera for xray in xrays], [0] * len(xrays) if shared else list(range(len(xrays))))
    pose = check_rigid(ct_to_world, "The pose")
    unknowns = torch.zeros(3 * problem.groups, dtype=torch.float64)
    covariance, noise = torch.diag(problem.prior), 0.0
    for _ in range(ROUNDS):
        scenes = scenes_at(setup, current, pose, preset)
        prepared = [(scene, method.find(scene)) for scene in scenes]
        pose, unknowns, covariance, noise = problem.step(prepared, pose, unknowns)
        cameras = problem.cameras_at(unknowns)
        current = [replace(xray, camera=camera) for xray, camera in zip(current, cameras, strict=True)]
    return RefinedIntrinsics(pose, problem.described(unknowns, covariance), noise)


class _Problem:
    """Unknowns (3 a group of views): ln(SDD / given SDD), shift of the principal point in mm at the detector."""

    def __init__(self, given: list[Camera], group: list[int]) -> None:
        self.given, self.group = given, group
        self.groups = max(group) + 1
        self.prior = torch.tensor([SDD_SHARE, PRINCIPAL_MM, PRINCIPAL_MM], dtype=torch.float64).square()
        self.prior = self.prior.repeat(self.groups)

    def cameras_at(self, unknowns: Tensor) -> list[Camera]:
        """The given cameras with intrinsics changed by the unknowns."""
        cameras = []
        for camera, group in zip(self.given, self.group, strict=True):
            longer, across, down = unknowns[3 * group : 3 * group + 3].tolist()
            k = camera.intrinsics.clone()
            k[:2, :2] *= math.exp(longer)
            k[0, 2] += across / camera.pixel_spacing[0]
            k[1, 2] += down / camera.pixel_spacing[1]
            cameras.append(replace(camera, intrinsics=k))
        return cameras

    def step(
        self, prepared: Sequence[tuple[Scene, Matches]], pose: Tensor, unknowns: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, float]:
        """One Gauss-Newton step with robust weights: pose, unknowns, their covariance, noise in pixels."""
        world = [transform_points(pose, scene.contour.points.to("cpu", torch.float64)) for scene, _ in prepared]
        if min(len(points) for points in world) < FEWEST_POINTS:
            raise DegenerateError("Too few contours of the CT are seen in one of the views to refine its intrinsics.")
        centre = torch.cat(world).mean(0)
        rows, right, prior_weights = [], [], []
        for (scene, matches), points, group in zip(prepared, world, self.group, strict=True):
            row, residual = self._rows(scene, matches, points, centre, group)
            rows.append(row)
            right.append(residual)
            weights = matches.weights.to("cpu", torch.float64)
            prior_weights.append(weights / weights.mean().clamp_min(1e-9))
        a, r, w = torch.cat(rows), torch.cat(right), torch.cat(prior_weights)
        finite = torch.isfinite(a).all(-1) & torch.isfinite(r) & torch.isfinite(w)
        a, r, w = a[finite], r[finite], w[finite]
        motion = torch.zeros(a.shape[1], dtype=torch.float64)
        before = torch.cat([torch.zeros(6, dtype=torch.float64), unknowns])
        for _ in range(ROBUST_STEPS):
            left = r + a @ motion
            noise = max(LEAST_NOISE_PX, 1.4826 * float(weighted_median(left.abs(), w)))
            robust = w * torch.exp(-0.5 * (left / (2.0 * noise)) ** 2) / (CORRELATED * noise**2)
            precision = torch.cat([torch.full((6,), 1e-8, dtype=torch.float64), 1.0 / self.prior])
            normal = a.T @ (robust[:, None] * a) + torch.diag(precision)
            gradient = a.T @ (robust * r) + precision * before
            motion = -torch.linalg.solve(normal, gradient)
        covariance = torch.linalg.inv(normal)[6:, 6:]
        moved = motion_about(motion[:3] / ROTATION_LENGTH, motion[3:6], centre) @ pose
        return check_rigid(moved, "The refined pose"), unknowns + motion[6:], covariance, noise

    def _rows(self, scene: Scene, matches: Matches, world: Tensor, centre: Tensor, group: int) -> tuple[Tensor, Tensor]:
        """Derivatives (N, 6 + unknowns) of the distances along the normals, and these (N,), in pixels of the level."""
        camera = scene.camera
        turn = camera.world_to_camera[:3, :3]
        seen = transform_points(camera.world_to_camera, world)
        depth = seen[:, 2:].clamp_min(1.0)
        pixels = (seen / depth) @ camera.intrinsics[:2].T
        normals = scene.normals.to("cpu", torch.float64)
        residual = ((pixels - matches.pixels.to("cpu", torch.float64)) * normals).sum(-1)
        by_point = (normals @ camera.intrinsics[:2] - _outer_last((normals * pixels).sum(-1))) / depth
        by_world = by_point @ turn
        arms = -skew(world - centre)
        rows = torch.zeros(len(world), 6 + 3 * self.groups, dtype=torch.float64)
        rows[:, :3] = (by_world[:, None] @ arms)[:, 0] / ROTATION_LENGTH
        rows[:, 3:6] = by_world
        first = 6 + 3 * group
        middle = camera.intrinsics[:2, 2]
        rows[:, first] = ((pixels - middle) * normals).sum(-1)
        rows[:, first + 1] = normals[:, 0] / camera.pixel_spacing[0]
        rows[:, first + 2] = normals[:, 1] / camera.pixel_spacing[1]
        return rows, residual

    def described(self, unknowns: Tensor, covariance: Tensor) -> tuple[RefinedView, ...]:
        """The views as they are told to people."""
        deviations = covariance.diagonal().clamp_min(0).sqrt()
        told = deviations < SAID_LITTLE * self.prior.sqrt()
        views = []
        for camera, group in zip(self.cameras_at(unknowns), self.group, strict=True):
            longer, across, down = deviations[3 * group : 3 * group + 3].tolist()
            su, sv = camera.pixel_spacing
            decided = told[3 * group : 3 * group + 3].tolist()
            views.append(
                RefinedView(
                    camera,
                    camera.source_to_detector,
                    longer * camera.source_to_detector,
                    camera.principal_point,
                    (across / su, down / sv),
                    (decided[0], decided[1], decided[2]),
                )
            )
        return tuple(views)


def _outer_last(values: Tensor) -> Tensor:
    """(N, 3) with ``values`` (N,) in the last column: the derivative of a projection by the depth."""
    return torch.nn.functional.pad(values[:, None], (2, 0))


def describe_intrinsics(refined: RefinedIntrinsics, given: Sequence[Camera]) -> list[str]:
    """Lines for people: each view's numbers before and after, how sure they are, and which the images leave open."""
    lines = []
    for view, before in zip(refined.views, given, strict=True):
        (u, v), (du, dv) = view.principal_point, view.principal_deviation
        u0, v0 = before.principal_point
        names = ("source-detector distance", "principal point along u", "principal point along v")
        open_ones = [name for name, sure in zip(names, view.determined, strict=True) if not sure]
        line = (
            f"view '{before.name}': source-detector distance {before.source_to_detector:.1f} -> {view.sdd:.1f} +- "
            f"{view.sdd_deviation:.1f} mm, principal point ({u0:.1f}, {v0:.1f}) -> ({u:.1f}, {v:.1f}) +- ({du:.1f}, "
            f"{dv:.1f}) px"
        )
        if open_ones:
            line += f"; the images say little about the {' and the '.join(open_ones)}"
        lines.append(line)
    return lines
