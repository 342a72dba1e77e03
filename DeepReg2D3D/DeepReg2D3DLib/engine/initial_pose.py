"""The pose to begin with where nobody gave one: the CT's centre put in the middle of what the cameras see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .camera import Camera
from .errors import InputError
from .poses import make_pose


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


def default_pose(cameras: Sequence[Camera], ct_centre: Tensor) -> Tensor:
    """ct_to_world (4, 4) float64, unrotated, with the CT's centre at the point nearest to all principal rays.

    ct_centre: (3,) CT mm, the centre of the full voxel grid. With one camera (or parallel ones) the centre goes on the
    principal ray at the camera's distance to the world's origin, which is where a C-arm's isocentre lies.
    """
    if not cameras:
        raise InputError("A first pose needs at least one view.")
    sources = torch.stack([camera.source for camera in cameras]).to(torch.float64)
    axes = torch.stack([camera.axis for camera in cameras]).to(torch.float64)
    middle = (sources + axes * sources.norm(dim=-1, keepdim=True)).mean(0)
    target = nearest_point_to_rays(sources, axes, middle) if len(cameras) > 1 else middle
    identity = torch.eye(3, dtype=torch.float64)
    return make_pose(identity, target - ct_centre.to(torch.float64))
