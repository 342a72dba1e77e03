"""DRRs of a CT turned in the image plane, without rendering each: their pictures are turned, and compared with an X-ray
over all shifts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .camera import backproject, project
from .drr_paired import Renderer
from .edge_correlation import correlation_over_shifts
from .poses import invert_pose, motion_about, transform_points
from .truncation import away_from_box_edges
from .watch import LOOKING, working_on
from .xray import XRay

MOSTLY_INSIDE = 0.9
"""Pixels of a turned picture count from this share of valid pixels on that they were made of."""


def turned_correlations(
    xray: XRay,
    renderer: Renderer,
    poses: Tensor,
    middle: Tensor,
    corners: Tensor | None,
    in_plane_deg: Sequence[float],
    largest: int,
    *,
    batch: int,
    wide: bool = False,
) -> tuple[Tensor, Tensor]:
    """Correlations (M, 2 s + 1, 2 s + 1), s = ``largest``, of a CT with an X-ray, and the poses (M, 4, 4) of these.

    The poses are the given ones (N, 4, 4), ``batch`` at a time, each batch at all angles (degrees) about the viewing
    axis through ``middle`` (3,), CT mm. Only the given ones are rendered. corners (8, 3): of the CT's box, whose
    silhouette then doesn't count. wide: see ``correlation_over_shifts``.
    """
    camera = xray.camera
    axes = invert_pose(camera.world_to_camera)[:3, :3]
    scores, turned = [], []
    with torch.no_grad():
        for chunk in poses.split(batch):
            working_on(LOOKING)
            ct_to_camera = camera.ct_to_camera(chunk)
            drr = renderer(ct_to_camera, camera.intrinsics, camera.size).to(torch.float32)
            inside = torch.ones_like(drr)
            if corners is not None:
                inside = away_from_box_edges(corners, ct_to_camera, camera.intrinsics, camera.size).to(drr)
            both = torch.cat([drr, inside], 1)
            seen_middles, middles = (transform_points(p, middle[None])[:, 0] for p in (ct_to_camera, chunk))
            for angle in map(math.radians, in_plane_deg):
                working_on(LOOKING)
                picture, shown = turned_pictures(both, seen_middles, camera.intrinsics, angle).split(1, dim=1)
                scores.append(
                    correlation_over_shifts(
                        picture, xray.line_integral, xray.mask, largest, shown > MOSTLY_INSIDE, wide=wide
                    )
                )
                turned.append(turned_in_plane(chunk, axes, middles, angle))
    return torch.cat(scores), torch.cat(turned)


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
