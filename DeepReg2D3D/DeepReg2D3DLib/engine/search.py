"""The search before the first step: a coarse look for a better start, by correlating whole images.

Contour matching needs a start from which most patches lie within its window. Where the pose is off by more, a DRR
looks much like the X-ray but elsewhere: so the edges of DRRs at a few turned poses are correlated with the X-ray's over
all shifts at once, by FFT. The best places become candidates, which the first steps of the registration then tell
apart: neighbouring vertebrae look alike until a pose is nearly right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .drr_paired import Renderer
from .level import Level
from .picture_shifts import separate_peaks, separate_places, shifted_pose
from .poses import invert_pose, motion_about, transform_points
from .surface import SurfacePoints
from .turned_pictures import turned_correlations
from .xray import XRay


@dataclass(frozen=True)
class SearchSettings:
    """Turns tried about the camera's axes (degrees), shifts allowed (mm), resolution (pixels along the longer side)."""

    long_side: int = 96
    margin_mm: float = 70.0
    out_of_plane_deg: tuple[float, ...] = (-8.0, 0.0, 8.0)
    in_plane_deg: tuple[float, ...] = (-12.0, -6.0, 0.0, 6.0, 12.0)
    largest_shift_mm: float = 75.0
    least_gain: float = 0.02
    """A new start must correlate this much better than the given one: where that is good already, it stays."""
    candidates: int = 5
    bases: int = 3
    """Each further view searches around this many of the best candidates of the views before it."""
    rival: float = 0.7
    """Candidates that correlate less than this share of the best one are not tried."""
    apart_mm: float = 10.0
    """Candidates differ in place by at least this much."""
    turns_apart_deg: float = 0.0
    """From this much on, those at the same place are two when they are turned; 0: the best turn hides all others."""
    trial: Level = field(default_factory=lambda: Level(112, 4, 40.0, (12.0, 8.0), (1e-3, 1e-4)))
    """Every candidate goes these steps; the one whose DRR then is most like the X-rays is kept. With 400 contour points
    instead of 1000 they lead laterals astray."""
    judged_side: int = 160
    """Resolution at which candidates are compared, after their steps: pixels along the longer side of a region that
    holds them all."""
    judged_margin_mm: float = 15.0


@dataclass(frozen=True)
class Candidate:
    """A possible start: ct_to_world (4, 4) and its correlation with the X-ray."""

    ct_to_world: Tensor
    score: float


def search_candidates(
    surface: SurfacePoints,
    xray: XRay,
    renderer: Renderer,
    ct_to_world: Tensor,
    settings: SearchSettings,
    corners: Tensor | None = None,
) -> list[Candidate]:
    """The given pose (4, 4) first, then those near it under which the CT looks most like one X-ray, best first.

    xray: already cropped and resized to the resolution of the search. corners (8, 3): of the CT's box, whose silhouette
    in the DRRs then doesn't count. Turns are about the middle of the surface. Poses that correlate much worse than the
    best one are left out, the given one never.
    """
    camera = xray.camera
    to_world = invert_pose(camera.world_to_camera)
    middle = surface.middle
    centre = transform_points(ct_to_world, middle[None])[0]
    depth = float(transform_points(camera.world_to_camera, centre[None])[0, 2])
    rendered = torch.stack(list(_turned(ct_to_world, to_world[:3, :3], centre, settings)))
    pixel = depth / float(camera.intrinsics[1, 1])
    largest = max(2, min(round(settings.largest_shift_mm / pixel), max(camera.size) - 1))
    angles = (0.0, *(angle for angle in settings.in_plane_deg if angle != 0.0))
    scores, poses = turned_correlations(xray, renderer, rendered, middle, corners, angles, largest, batch=16)
    given = float(scores[0, largest, largest])
    start = Candidate(ct_to_world, given)
    candidates = []
    for turn, row, column, score in _places(scores, poses, settings, max(2, round(settings.apart_mm / pixel))):
        if score < given + settings.least_gain or (candidates and score < settings.rival * candidates[0].score):
            break
        found = shifted_pose(poses[turn], camera, column - largest, row - largest, depth)
        candidates.append(Candidate(found, score))
    return [start, *candidates]


def _places(scores: Tensor, poses: Tensor, settings: SearchSettings, apart: int) -> list[tuple[int, int, int, float]]:
    """The best peaks (pose, row, column, score) of the correlations (M, R, C) of poses (M, 4, 4), best first."""
    if settings.turns_apart_deg > 0:
        return separate_places(scores, poses, settings.candidates, apart, settings.turns_apart_deg)
    best, turn = scores.max(dim=0)
    peaks = separate_peaks(best, settings.candidates, apart)
    return [(int(turn[row, column]), row, column, score) for row, column, score in peaks]


def _turned(pose: Tensor, axes: Tensor, centre: Tensor, settings: SearchSettings) -> Iterator[Tensor]:
    """The pose itself, then it turned out of the image plane: about the camera's x and y, columns of ``axes`` (3, 3),
    through ``centre``."""
    yield pose
    still = torch.zeros(3, dtype=torch.float64)
    for x in settings.out_of_plane_deg:
        for y in settings.out_of_plane_deg:
            if (x, y) != (0.0, 0.0):
                turn = axes @ torch.tensor([math.radians(x), math.radians(y), 0.0], dtype=torch.float64)
                yield motion_about(turn, still, centre) @ pose
