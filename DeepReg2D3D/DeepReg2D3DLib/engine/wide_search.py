"""The automatic start: where is the CT, when the pose is off by a hand's breadth and thirty degrees?

DRRs at turns and depths all around the given orientation are correlated with the X-ray at very low resolution, over all
shifts at once. The picture is rendered beyond the X-ray's border, since the part of the CT that the X-ray shows may lie
there. What it finds is near enough for the usual search.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .edge_correlation import correlation_over_shifts
from .poses import invert_pose, make_pose, motion_about, transform_points
from .region import level_xray, pixel_at_depth
from .search import Candidate
from .setup import RegistrationSetup
from .truncation import away_from_box_edges
from .xray import XRay


@dataclass(frozen=True)
class WideSettings:
    """Turns about the camera's axes (degrees), moves along the viewing ray and across it (mm), resolution (pixels)."""

    long_side: int = 44
    out_of_plane_deg: tuple[float, ...] = (-24.0, -12.0, 0.0, 12.0, 24.0)
    in_plane_deg: tuple[float, ...] = (-24.0, -12.0, 0.0, 12.0, 24.0)
    depths_mm: tuple[float, ...] = (-100.0, 0.0, 100.0)
    beyond_mm: float = 160.0
    """How far beyond the X-ray's border the DRRs reach, and the largest shift."""
    candidates: int = 4
    rival: float = 0.75
    """Candidates that correlate less than this share of the best one are left out."""
    apart_mm: float = 20.0
    batch: int = 25


def wide_candidates(
    setup: RegistrationSetup, xray: XRay, ct_to_world: Tensor, settings: WideSettings
) -> list[Candidate]:
    """Poses (4, 4) around the given one under which the CT looks most like one X-ray, best first.

    The CT's centre is first put on the X-ray's middle ray at its present depth: a pose that is off by more than the
    image is wide is no obstacle.
    """
    image, camera, largest = _canvas(xray, setup, ct_to_world, settings)
    to_world = invert_pose(camera.world_to_camera)
    centred = centred_pose(setup, xray, ct_to_world)
    centre = transform_points(centred, setup.volume.centre[None])[0]
    source = to_world[:3, 3]
    ray = (centre - source) / (centre - source).norm()
    poses = torch.stack(
        [
            motion_about(to_world[:3, :3] @ turn, depth * ray, centre) @ centred
            for depth in settings.depths_mm
            for turn in _turns(settings)
        ]
    )
    renderer = setup.renderer(pixel_at_depth(image, float((centre - source).norm())))
    peaks = []
    with torch.no_grad():
        for chunk in poses.split(settings.batch):
            ct_to_camera = camera.ct_to_camera(chunk)
            drr = renderer(ct_to_camera, camera.intrinsics, camera.size).to(torch.float32)
            inside = away_from_box_edges(setup.volume.corners, ct_to_camera, camera.intrinsics, camera.size)
            peaks.append(
                correlation_over_shifts(drr, image.line_integral, image.mask, largest, inside.to(drr.device), wide=True)
            )
    best, turn = torch.cat(peaks).max(dim=0)
    depths = camera.ct_to_camera(poses)[:, 2, :3] @ setup.volume.centre + camera.ct_to_camera(poses)[:, 2, 3]
    apart = max(2, round(settings.apart_mm / pixel_at_depth(image, float(depths.median()))))
    found = []
    for _ in range(settings.candidates):
        row, column = divmod(int(best.argmax()), best.shape[1])
        if found and float(best[row, column]) < settings.rival * found[0].score:
            break
        index = int(turn[row, column])
        shift = torch.tensor([column - largest, row - largest, 0.0], dtype=torch.float64)
        shift[:2] *= depths[index] / camera.intrinsics.diagonal()[:2]
        pose = poses[index].clone()
        pose[:3, 3] += to_world[:3, :3] @ shift
        found.append(Candidate(pose, float(best[row, column])))
        best[max(0, row - apart) : row + apart + 1, max(0, column - apart) : column + apart + 1] = -1.0
    return found


def _turns(settings: WideSettings) -> list[Tensor]:
    """Rotation vectors (3,) in radians about the camera's axes."""
    angles = itertools.product(settings.out_of_plane_deg, settings.out_of_plane_deg, settings.in_plane_deg)
    return [torch.tensor([math.radians(a) for a in each], dtype=torch.float64) for each in angles]


def centred_pose(setup: RegistrationSetup, xray: XRay, ct_to_world: Tensor) -> Tensor:
    """The pose with the CT's centre on the ray through the middle of the X-ray's valid field, at its own depth."""
    camera = xray.camera
    seen = camera.ct_to_camera(ct_to_world)
    centre = transform_points(seen, setup.volume.centre[None])[0]
    depth = float(centre[2].clamp_min(0.3 * camera.source_to_detector).clamp_max(camera.source_to_detector))
    valid = xray.mask[0, 0].nonzero().double()
    v, u = (0.5 * (valid.amin(0) + valid.amax(0))).tolist()
    goal = depth * torch.linalg.solve(camera.intrinsics, torch.tensor([u, v, 1.0], dtype=torch.float64))
    moved = make_pose(seen[:3, :3], seen[:3, 3] + goal - centre)
    return invert_pose(camera.world_to_camera) @ moved


def _canvas(xray: XRay, setup: RegistrationSetup, ct_to_world: Tensor, settings: WideSettings):
    """The X-ray at low resolution on a larger, elsewhere invalid canvas; its camera; the largest shift in pixels."""
    camera = xray.camera
    small = level_xray(xray, (0, 0, camera.columns, camera.rows), settings.long_side)
    depth = 0.7 * camera.source_to_detector
    border = max(2, round(settings.beyond_mm / pixel_at_depth(small, depth)))
    columns, rows = small.camera.columns + 2 * border, small.camera.rows + 2 * border
    padding = (border,) * 4
    padded = XRay(
        F.pad(small.line_integral, padding),
        F.pad(small.mask, padding),
        small.camera.cropped(-border, -border, columns, rows),
        xray.name,
    )
    return padded, padded.camera, border
