"""What a registration can find out about its own result, without the truth: measurements, not yet a judgement.

Every measurement compares the CT rendered at the pose with the X-rays, in the same way for all methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .correspondences import Matches, Scene
from .errors import DegenerateError
from .focal_error import focal_errors
from .joint_system import contour_centre, joint_system
from .patch_steps import PATCHES, Look, part_at, scene_at, steps_from
from .poses import invert_pose, motion_about, transform_points
from .ppc import SolverSettings, solve_ppc
from .region import depth_of
from .rival_places import rival_places
from .rivals import judged_poses
from .setup import RegistrationSetup
from .uncertainty import Uncertainty, pose_uncertainty
from .xray import XRay

JUDGED_SIDE, JUDGED_MARGIN_MM = 112, 15.0
FINE = Look(176, 10.0, 300, 5.0)
"""How the correspondences at the result itself are measured."""
TRIAL = Look(100, 25.0, 180, 9.0)
"""How rivals and restarts go their steps."""
TRIAL_STEPS = 2
TRIAL_DAMPING = 1e-4
RESTARTS = (((1.5, -1.5, 2.0), (3.0, -2.0, 0.0)),)
"""Turns in degrees about the first camera's axes, and shifts in mm along them, from which the result is found again."""
SAME_MM, ELSEWHERE_MM = 3.0, 8.0
"""Poses that show the CT's surface nearer than the one to the result are the result; from the other on they are another
place, one vertebra further for instance. What lies between is close by: often still on its way back."""
CLOSE_MM = 1.0
"""A correspondence this near to where the contour is drawn is found."""
FEWEST = 30


@dataclass(frozen=True)
class SelfCheck:
    """The measurements. Shares, similarities and offsets are means over the views.

    similarity: edge similarity at the pose (-1 to 1); elsewhere: of the best pose that rivals and restarts come to
    at another place; nearby: close by (0: they come to none there); found: share of the contour points that are
    found in the X-ray within 1 mm; offset_mm: median distance of contour points from their matches; scatter_mm:
    standard deviation of the residuals of the PPC solution; depth_moved: away from the start (negative: towards the
    source), along the beams of all views, as a share of the distance from the source; focal_error: by what share
    the focal length of one of several views seems too long (negative: too short; 0: one view alone can't tell);
    contour_points: contour points in the fields of all views; other_place, place_nearby: the poses (4, 4)
    ct_to_world whose similarities are ``elsewhere`` and ``nearby``.
    """

    similarity: float
    elsewhere: float
    nearby: float
    found: float
    offset_mm: float
    scatter_mm: float
    depth_moved: float
    focal_error: float
    contour_points: int
    uncertainty: Uncertainty
    other_place: Tensor | None = None
    place_nearby: Tensor | None = None

    def numbers(self) -> dict[str, float]:
        """The measurements by name, without the uncertainty and the other places."""
        named = [each.name for each in fields(self)]
        return {
            name: getattr(self, name) for name in named if name not in ("uncertainty", "other_place", "place_nearby")
        }


def check_result(
    setup: RegistrationSetup, xrays: Sequence[XRay], ct_to_world: Tensor, start: Tensor | None = None
) -> SelfCheck | None:
    """Measure a pose (4, 4) ct_to_world; None where there is too little to measure (the CT hardly in the picture).

    start: the pose (4, 4) that the user gave, where it means more than an orientation.
    """
    try:
        places = [rival_places(setup, xray, ct_to_world) for xray in xrays]
        fine = _Fine.at(setup, xrays, ct_to_world)
    except DegenerateError:
        return None
    if fine is None:
        return None
    ranked = sorted(
        (score / max(place.here, 0.05), index, pose)
        for index, place in enumerate(places)
        for score, pose in zip(place.scores, place.poses, strict=True)
    )
    rivals = [pose for _, _, pose in ranked[::-1][:2]]
    axes = invert_pose(xrays[0].camera.world_to_camera)[:3, :3]
    restarts = [
        motion_about(axes @ torch.deg2rad(_vector(turn)), axes @ _vector(shift), fine.centre) @ ct_to_world
        for turn, shift in RESTARTS
    ]
    ended = [steps_from(setup, xrays, pose, TRIAL, TRIAL_STEPS, TRIAL_DAMPING) for pose in (*rivals, *restarts)]
    apart = [math.inf if pose is None else seen_distance(setup, xrays, pose, ct_to_world) for pose in ended]
    others = [number for number, mm in enumerate(apart) if ended[number] is not None and mm > SAME_MM]
    similarity, *scores = judged_poses(
        setup, xrays, [ct_to_world, *(ended[number] for number in others)], JUDGED_SIDE, JUDGED_MARGIN_MM
    )
    best: dict[str, tuple[float, Tensor | None]] = {"nearby": (0.0, None), "elsewhere": (0.0, None)}
    for score, number in zip(scores, others, strict=True):
        where = "elsewhere" if apart[number] > ELSEWHERE_MM else "nearby"
        if score > best[where][0]:
            best[where] = score, ended[number]
    return SelfCheck(
        similarity=similarity,
        nearby=best["nearby"][0],
        elsewhere=best["elsewhere"][0],
        depth_moved=_depth_moved(setup, xrays, ct_to_world, start),
        **fine.numbers,
        other_place=best["elsewhere"][1],
        place_nearby=best["nearby"][1],
    )


def _depth_moved(setup: RegistrationSetup, xrays: Sequence[XRay], pose: Tensor, start: Tensor | None) -> float:
    """How far the CT went away along the beam (negative: came nearer), as a share of its distance; of the views the
    least."""
    if start is None:
        return 0.0
    shares = []
    for xray in xrays:
        now, before = (depth_of(setup.surface, xray.camera.ct_to_camera(each)) for each in (pose, start))
        shares.append((now - before) / max(now, 1.0))
    return min(shares, key=abs)


def seen_distance(setup: RegistrationSetup, xrays: Sequence[XRay], pose: Tensor, reference: Tensor) -> float:
    """Mean distance in mm of the CT's surface at a pose from the rays through it at another, over the worst view."""
    points = setup.surface.points[:: max(1, len(setup.surface.points) // 500)].to("cpu", torch.float64)
    largest = 0.0
    for xray in xrays:
        a = transform_points(xray.camera.ct_to_camera(pose), points)
        b = transform_points(xray.camera.ct_to_camera(reference), points)
        ray = b / b.norm(dim=-1, keepdim=True)
        across = a - (a * ray).sum(-1, keepdim=True) * ray
        largest = max(largest, float(across.norm(dim=-1).mean()))
    return largest


@dataclass(frozen=True)
class _Fine:
    """What the correspondences at the pose itself say."""

    centre: Tensor
    numbers: dict

    @classmethod
    def at(cls, setup: RegistrationSetup, xrays: Sequence[XRay], pose: Tensor) -> _Fine | None:
        scenes = [scene_at(setup, part_at(setup, xray, pose, FINE), pose, FINE) for xray in xrays]
        matches = [PATCHES.find(scene) for scene in scenes]
        centre = contour_centre(scenes, pose)
        if min(int((found.weights > 0.01).sum()) for found in matches) < 6:
            return None
        shares = [_shares(scene, found) for scene, found in zip(scenes, matches, strict=True)]
        counts = [count for *_, count in shares]
        if min(counts) < FEWEST:
            return None
        system = joint_system(scenes, matches, pose)
        solution = solve_ppc(system, SolverSettings(damping=1e-6))
        numbers = {
            "found": _mean([share for share, *_ in shares]),
            "offset_mm": _mean([offset for _, offset, _ in shares]),
            "scatter_mm": float(solution.scale),
            "focal_error": max(focal_errors(scenes, system), key=abs, default=0.0),
            "contour_points": sum(counts),
            "uncertainty": pose_uncertainty(system, solution, xrays[0].camera.world_to_camera),
        }
        return cls(centre, numbers)


def _shares(scene: Scene, matches: Matches) -> tuple[float, float, int]:
    """Of the contour points in the valid field: the share found near, the median offset in mm of those matched at all,
    and their number."""
    pixel_mm = float(scene.points_in_camera[:, 2].median()) / float(scene.camera.intrinsics[1, 1])
    u, v = scene.contour.pixels.round().to(torch.int64).unbind(-1)
    rows, columns = scene.size
    inside = scene.xray.mask[0, 0][v.clamp(0, rows - 1), u.clamp(0, columns - 1)]
    count = int(inside.sum())
    if count == 0:
        return 0.0, 10.0, 0
    along = (matches.flow * scene.normals).sum(-1).abs()
    matched = (matches.weights > 0.01) & inside
    near = matched & (along * pixel_mm < CLOSE_MM)
    offset = float((along[matched] * pixel_mm).median()) if bool(matched.any()) else 10.0
    return float(near.sum()) / count, offset, count


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _vector(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
