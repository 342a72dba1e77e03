"""Nearer or farther? What one X-ray hardly shows of a motion: the CT's distance from the source, looked for directly.

Steps creep along the beam, and where the distance is wrong by a twelfth, the outline is off by more than patches at a
finer resolution agree with. So DRRs at several distances are compared with the X-ray, after a level that is coarse
enough for all of them to be near.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .poses import transform_points
from .rivals import judged_poses
from .setup import RegistrationSetup
from .xray import XRay

DISTANCES = (-0.09, -0.045, 0.045, 0.09)
"""Moves along the beam that are tried, as shares of the distance from the source."""
LEAST_GAIN = 0.01
"""Another distance must fit better by this much in similarity."""


def moved_in_depth(setup: RegistrationSetup, xray: XRay, ct_to_world: Tensor, share: float) -> Tensor:
    """The pose (4, 4) moved away from the source, along the ray through the middle of the CT's surface, by a share of
    its distance."""
    middle = transform_points(ct_to_world, setup.surface.middle[None])[0]
    moved = ct_to_world.clone()
    moved[:3, 3] += share * (middle - xray.camera.source)
    return moved


def best_in_depth(
    setup: RegistrationSetup,
    xrays: Sequence[XRay],
    ct_to_world: Tensor,
    long_side: int,
    margin_mm: float,
    shares: Sequence[float] = DISTANCES,
) -> tuple[Tensor, float]:
    """The pose (4, 4) at the distance from the source that fits best, and its edge similarity (-1 to 1).

    Between equally spaced ``shares`` the best is told by a parabola. Several views show the distance themselves: there
    the pose is only judged. long_side, margin_mm: see ``judged_poses``.
    """
    tried = (0.0,) if len(xrays) > 1 else (0.0, *shares)
    poses = [ct_to_world, *(moved_in_depth(setup, xrays[0], ct_to_world, share) for share in tried[1:])]
    scores = judged_poses(setup, xrays, poses, long_side, margin_mm)
    best = max(range(len(scores)), key=scores.__getitem__)
    if scores[best] < scores[0] + LEAST_GAIN:
        return ct_to_world, scores[0]
    ordered = sorted(zip(tried, scores, strict=True))
    place = ordered.index((tried[best], scores[best]))
    share = _peak(ordered[place - 1 : place + 2]) if 0 < place < len(ordered) - 1 else tried[best]
    return moved_in_depth(setup, xrays[0], ct_to_world, share), scores[best]


def _peak(three: Sequence[tuple[float, float]]) -> float:
    """Where the parabola through three equally spaced places, the middle one highest, has its top."""
    (before, left), (middle, high), (_, right) = three
    bend = left - 2 * high + right
    return middle if bend >= 0 else middle + 0.5 * (middle - before) * (left - right) / bend
