"""The pose to begin with where nobody gave one: the CT's centre put in the middle of what the cameras see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .camera import Camera
from .errors import InputError
from .poses import make_pose

USUAL_DEPTH = 0.7
"""Where patients lie between source and detector, as a share of the distance."""


def nearest_point_to_rays(sources: Tensor, axes: Tensor, fallback: Tensor) -> Tensor:
    """The point (3,) with the least sum of squared distances to N lines.

    sources, axes: (N, 3) a point and a unit direction of each line. Where all lines are parallel the place along them
    is open: it is then the one of ``fallback`` (3,).
    """
    across = torch.eye(3, dtype=axes.dtype) - axes[:, :, None] * axes[:, None, :]
    normal = across.sum(0)
    residual = (across @ (sources - fallback)[..., None]).sum(0).squeeze(-1)
    # Lines within about a degree of each other say nothing sound about the depth: drop that direction.
    return fallback + torch.linalg.pinv(normal, rtol=1e-4, hermitian=True) @ residual


def middle_of_beams(cameras: Sequence[Camera]) -> Tensor:
    """The point (3,) float64 of world nearest to all principal rays.

    With one camera (or parallel ones): on the principal ray at the camera's distance to the world's origin, which is
    where a C-arm's isocentre lies; where the origin is not between source and detector (it may be the source itself),
    at ``USUAL_DEPTH`` of the source-detector distance. Raises InputError without a camera.
    """
    if not cameras:
        raise InputError("A first pose needs at least one view.")
    sources = torch.stack([camera.source for camera in cameras]).to(torch.float64)
    axes = torch.stack([camera.axis for camera in cameras]).to(torch.float64)
    whole = torch.tensor([camera.source_to_detector for camera in cameras], dtype=torch.float64)
    depths = sources.norm(dim=-1)
    between = (depths > 0.2 * whole) & (depths < whole)
    depths = torch.where(between, depths, USUAL_DEPTH * whole)
    middle = (sources + axes * depths[:, None]).mean(0)
    return nearest_point_to_rays(sources, axes, middle) if len(cameras) > 1 else middle


def default_pose(cameras: Sequence[Camera], ct_centre: Tensor) -> Tensor:
    """ct_to_world (4, 4) float64, unrotated, with the CT's centre (3,), CT mm, in the middle of the beams."""
    identity = torch.eye(3, dtype=torch.float64)
    return make_pose(identity, middle_of_beams(cameras) - ct_centre.to(torch.float64))
