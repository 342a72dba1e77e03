"""DRRs of a CT turned in the image plane, without rendering each: their pictures are turned."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .camera import backproject, project
from .poses import motion_about


def turned_in_plane(poses: Tensor, axes: Tensor, middles: Tensor, angle: float) -> Tensor:
    """The poses (N, 4, 4) ct_to_world turned by an angle (rad) about the viewing axis, the last column of ``axes``
    (3, 3), through ``middles`` (N, 3) in world."""
    still = torch.zeros(3, dtype=torch.float64)
    return torch.stack(
        [motion_about(angle * axes[:, 2], still, middle) @ pose for middle, pose in zip(middles, poses, strict=True)]
    )


def turned_pictures(pictures: Tensor, centres: Tensor, intrinsics: Tensor, angle: float) -> Tensor:
    """Pictures (B, C, H, W) as they are, but for a little parallax, when what they show is turned by ``angle`` about
    the camera's z axis through ``centres`` (B, 3) in the camera frame; 0 where nothing was rendered."""
    if angle == 0.0:
        return pictures
    rows, columns = pictures.shape[-2:]
    v, u = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
    rays = backproject(torch.stack([u, v], -1), intrinsics)[..., :2]
    middle = (centres[:, :2] / centres[:, 2:]).cpu()[:, None, None]
    cos, sin = math.cos(angle), math.sin(angle)
    back = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)  # row vectors: turned by -angle
    before = (rays - middle) @ back + middle
    pixels = project(torch.cat([before, torch.ones_like(before[..., :1])], -1), intrinsics)
    size = torch.tensor([columns, rows], dtype=torch.float64)
    grid = ((2 * pixels + 1) / size - 1).to(pictures)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
