"""The automatic start: where is the CT, when the pose is off by a hand's breadth and thirty degrees?

DRRs at turns and depths all around the given orientation are correlated with the X-ray at very low resolution, over all
shifts at once. The picture is rendered beyond the X-ray's border, since the part of the CT that the X-ray shows may lie
there. What it finds is near enough for the usual search.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .picture_shifts import separate_peaks, shifted_pose
from .poses import invert_pose, make_pose, motion_about, transform_points
from .region import level_xray, pixel_at_depth
from .search import Candidate
from .setup import RegistrationSetup
from .turned_pictures import turned_correlations
from .xray import XRay


@dataclass(frozen=True)
class WideSettings:
    """Turns about the camera's axes (degrees), moves along the viewing ray and across it (mm), resolution (pixels)."""

    long_side: int = 44
    out_of_plane_deg: tuple[float, ...] = (-24.0, -12.0, 0.0, 12.0, 24.0)
    in_plane_deg: tuple[float, ...] = (-24.0, -12.0, 0.0, 12.0, 24.0)
    depths_mm: tuple[float, ...] = (-100.0, 0.0, 100.0)
    restarts_deg: tuple[float, ...] = (-14.0, 0.0, 14.0)
    """Turns about each axis around the three half-turns of a flipped input; empty: none is tried."""
    restart_gain: float = 1.05
    """A flipped pose must correlate this many times as well as the best one that is not."""
    beyond_mm: float = 160.0
    """How far beyond the X-ray's border the DRRs reach, and the largest shift."""
    candidates: int = 6
    rival: float = 0.75
    """Candidates that correlate less than this share of the best one are left out."""
    apart_mm: float = 20.0
    batch: int = 25


def wide_candidates(
    setup: RegistrationSetup, xray: XRay, ct_to_world: Tensor, settings: WideSettings
) -> list[Candidate]:
    """Poses (4, 4) around the given one under which the CT looks most like one X-ray, best first.

    The CT's centre is first put on the X-ray's middle ray at its present depth: a pose that is off by more than the
    image is wide is no obstacle. Where the CT fits clearly better upside down, back to front or both, as images and
    patients come flipped, the best such pose is among them, too.
    """
    search = _Search(setup, xray, ct_to_world, settings)
    around = search.best(search.turned(settings.out_of_plane_deg, settings.depths_mm), settings.in_plane_deg)
    found = search.peaks(around, settings.candidates)
    if settings.restarts_deg and found:
        near = settings.restarts_deg
        upside = [180.0 + angle for angle in near]
        front, back = search.turned(near, (0.0,)), search.turned(near, (0.0,), half_turn=True)
        flipped = [
            *search.peaks(search.best(front, upside), 1),
            *search.peaks(search.best(back, near), 1),
            *search.peaks(search.best(back, upside), 1),
        ]
        best = max(flipped, key=lambda candidate: candidate.score)
        if best.score > settings.restart_gain * found[0].score:
            found = [best, *found[: settings.candidates - 1]]
    return found


class _Search:
    """One X-ray at very low resolution, and the CT in the middle of it."""

    def __init__(self, setup: RegistrationSetup, xray: XRay, ct_to_world: Tensor, settings: WideSettings) -> None:
        self.setup, self.settings = setup, settings
        self.image, self.camera, self.largest = _canvas(xray, setup, ct_to_world, settings)
        self.axes = invert_pose(self.camera.world_to_camera)[:3, :3]
        self.centred = centred_pose(setup, xray, ct_to_world)
        self.centre = transform_points(self.centred, setup.volume.centre[None])[0]
        source = self.camera.source
        self.ray = (self.centre - source) / (self.centre - source).norm()
        self.renderer = setup.renderer(pixel_at_depth(self.image, float((self.centre - source).norm())))

    def turned(self, out_of_plane_deg: Sequence[float], depths_mm: Sequence[float], half_turn: bool = False) -> Tensor:
        """Poses (N, 4, 4) turned about the camera's x and y through the CT's centre, and moved along the ray."""
        still = torch.zeros(3, dtype=torch.float64)
        base = self.centred
        if half_turn:
            base = motion_about(self.axes @ _radians(0.0, 180.0, 0.0), still, self.centre) @ base
        return torch.stack(
            [
                motion_about(self.axes @ _radians(x, y, 0.0), depth * self.ray, self.centre) @ base
                for depth, x, y in itertools.product(depths_mm, out_of_plane_deg, out_of_plane_deg)
            ]
        )

    def best(self, poses: Tensor, in_plane_deg: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
        """Over all shifts (rows, columns) the best correlation, which pose had it, and all poses (M, 4, 4), which are
        the given ones turned about the viewing axis. Only the given ones are rendered; their pictures are turned."""
        volume = self.setup.volume
        scores, turned = turned_correlations(
            self.image,
            self.renderer,
            poses,
            volume.centre,
            volume.corners,
            in_plane_deg,
            self.largest,
            batch=self.settings.batch,
            wide=True,
        )
        best, index = scores.max(dim=0)
        return best, index, turned

    def peaks(self, found: tuple[Tensor, Tensor, Tensor], count: int) -> list[Candidate]:
        """The best places, ``apart_mm`` from each other, as poses."""
        best, turn, poses = found
        ct_to_camera = self.camera.ct_to_camera(poses)
        depths = ct_to_camera[:, 2, :3] @ self.setup.volume.centre + ct_to_camera[:, 2, 3]
        apart = max(2, round(self.settings.apart_mm / pixel_at_depth(self.image, float(depths.median()))))
        peaks: list[Candidate] = []
        for row, column, score in separate_peaks(best, count, apart):
            if peaks and score < self.settings.rival * peaks[0].score:
                break
            index = int(turn[row, column])
            columns, rows = column - self.largest, row - self.largest
            pose = shifted_pose(poses[index], self.camera, columns, rows, float(depths[index]))
            peaks.append(Candidate(pose, score))
        return peaks


def _radians(x: float, y: float, z: float) -> Tensor:
    """A rotation vector (3,) from degrees about the camera's axes."""
    return torch.tensor([math.radians(angle) for angle in (x, y, z)], dtype=torch.float64)


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
