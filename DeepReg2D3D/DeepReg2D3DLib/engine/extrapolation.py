"""Anderson acceleration of the last steps: where a pose creeps in one direction, the limit of the steps is foreseen.

Turns out of the image plane move structures in front and behind the centre in opposite directions; a patch shows both,
so its match moves by less than either, and PPC steps towards the right pose by a small share of the way each time. From
two or more such steps the rest of the way can be told: the next pose is the combination of the latest ones whose
combined step is smallest (D. G. Anderson, Iterative procedures for nonlinear integral equations, J. ACM 12, 1965).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .poses import invert_pose, log_rotation, motion_about

REMEMBERED = 3
"""Steps that are combined, besides the latest."""
LENGTH_MM = 50.0
"""A turn of a radian counts as this many mm."""
DEPTH_WEIGHT = 0.1
"""A shift along the beam counts this much: it is hardly seen."""
REGULARISATION = 1e-2
FARTHEST = 12.0
"""The extrapolated motion is at most this many times the step's own."""


class Extrapolation:
    """Remembers the steps of one level from one pose on. Turns are about ``centre`` (3,), world mm; shifts are weighed
    in the camera whose ``axes`` (3, 3) are given as columns, the beam last."""

    def __init__(self, centre: Tensor, axes: Tensor, beam_weight: float = DEPTH_WEIGHT) -> None:
        self.centre, self.axes = centre, axes
        self.scale = torch.tensor([LENGTH_MM] * 3 + [1.0, 1.0, beam_weight], dtype=torch.float64)
        self.reference: Tensor | None = None
        self.places: list[Tensor] = []
        self.steps: list[Tensor] = []

    def next(self, before: Tensor, after: Tensor) -> Tensor:
        """The pose (4, 4) to go on from, given that a step leads from ``before`` to ``after``."""
        if self.reference is None:
            self.reference = before
        place = self._coordinates(before)
        step = self._coordinates(after) - place
        self.places, self.steps = [*self.places, place][-REMEMBERED - 1 :], [*self.steps, step][-REMEMBERED - 1 :]
        if len(self.steps) < 2:
            return after
        differences = torch.stack([step - other for other in self.steps[:-1]], dim=1)
        normal = differences.T @ differences
        ridge = REGULARISATION * normal.diagonal().mean().clamp_min(1e-12) * torch.eye(len(normal)).to(normal)
        shares = torch.linalg.solve(normal + ridge, differences.T @ step)
        moves = torch.stack([place - other for other in self.places[:-1]], dim=1) + differences
        jump = step - moves @ shares
        jump = jump * (FARTHEST * step.norm() / jump.norm().clamp_min(1e-12)).clamp_max(1.0)
        return self._pose(place + jump)

    def _coordinates(self, pose: Tensor) -> Tensor:
        """(6,) of the motion from the reference: turns, then shifts, in camera axes, weighed."""
        motion = pose @ invert_pose(self.reference)
        shift = motion[:3, :3] @ self.centre + motion[:3, 3] - self.centre
        return torch.cat([self.axes.T @ log_rotation(motion[:3, :3]), self.axes.T @ shift]) * self.scale

    def _pose(self, coordinates: Tensor) -> Tensor:
        turn, shift = (coordinates / self.scale).split(3)
        return motion_about(self.axes @ turn, self.axes @ shift, self.centre) @ self.reference
