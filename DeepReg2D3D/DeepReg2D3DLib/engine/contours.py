"""Apparent contour points: the surface points that draw a contour in the image at a given pose.

A surface point draws a contour where its gradient is perpendicular to its viewing ray, |g.w| / (|g||w|) < tolerance
(3 to 6 degrees; Jaganathan et al., MICCAI 2021, and the PPC papers before it). X-rays see through the body, so nothing
is hidden by anything else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .camera import project
from .poses import transform_points, transform_vectors
from .surface import SurfacePoints

ORIENTATIONS = 4
"""Directions of a contour (of 180 degrees) that may share one cell of the image when points are thinned."""


@dataclass(frozen=True)
class ContourPoints:
    """points (M, 3) and gradients (M, 3) in CT LPS mm, pixels (M, 2) as (u, v) of the image they were selected for."""

    points: Tensor
    gradients: Tensor
    pixels: Tensor

    def __len__(self) -> int:
        return self.points.shape[0]


@dataclass(frozen=True)
class ContourBatch:
    """A fixed number N of contour points for each of B poses, padded: only those with ``valid`` (B, N) count.

    points (B, N, 3) and gradients (B, N, 3) in CT LPS mm, pixels (B, N, 2). Padding repeats real, finite numbers.
    """

    points: Tensor
    gradients: Tensor
    pixels: Tensor
    valid: Tensor


def apparent_contour_points(
    surface: SurfacePoints,
    ct_to_camera: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    mask: Tensor | None = None,
    max_points: int = 1500,
    *,
    tolerance: float = 0.07,
    cell: float = 4.0,
    strength_image: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> ContourPoints:
    """Contour points of one pose (4, 4), at most ``max_points``; possibly none.

    intrinsics (3, 3) and size (rows, columns) are those of the image; ``mask`` (rows, columns) bool says where the
    X-ray is valid. ``cell`` in pixels: within it the strongest point of each direction stays. ``strength_image``
    (2, rows, columns), the gradient (d/du, d/dv) of the DRR, ranks points by the contour they really draw; without it
    their own 3D gradient ranks them. See ``apparent_contour_batch``.
    """
    grazing = _grazing(surface, ct_to_camera, tolerance)
    points, gradients = surface.points[grazing], surface.gradients[grazing]
    if len(points) == 0:
        return ContourPoints(points, gradients, points[:, :2])
    batch = apparent_contour_batch(
        points[None],
        gradients[None],
        ct_to_camera[None],
        intrinsics[None],
        size,
        max_points,
        masks=None if mask is None else mask[None],
        tolerance=tolerance,
        cell=cell,
        strength_images=None if strength_image is None else strength_image[None],
        generator=generator,
    )
    valid = batch.valid[0]
    return ContourPoints(batch.points[0][valid], batch.gradients[0][valid], batch.pixels[0][valid])


def _grazing(surface: SurfacePoints, ct_to_camera: Tensor, tolerance: float) -> Tensor:
    """Indices of the surface points whose rays graze the surface, and a few more: a cheap look at all of them.

    In the CT's frame the ray of a point is the point less the source, so nothing has to be transformed.
    """
    pose = ct_to_camera.to(torch.float64)
    source = -pose[:3, :3].T @ pose[:3, 3]
    points, gradients = surface.columns
    rays = points - source.to(points)[:, None]
    across = (gradients * rays).sum(0).square()
    limit = (1.01 * tolerance) ** 2 * surface.squared_gradients * rays.square().sum(0)
    return (across <= limit).nonzero()[:, 0]


def apparent_contour_batch(
    points: Tensor,
    gradients: Tensor,
    ct_to_camera: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    count: int,
    *,
    masks: Tensor | None = None,
    tolerance: float = 0.07,
    cell: float = 4.0,
    strength_images: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> ContourBatch:
    """``count`` contour points for each pose of a batch, on any device, without a loop over the batch.

    points, gradients (B, S, 3) in CT LPS, ct_to_camera (B, 4, 4), intrinsics (B, 3, 3) or (3, 3), size (rows, columns);
    masks (B, rows, columns) bool; strength_images (B, 2, rows, columns). Cells with several points keep the strongest
    of each of four directions; of what remains, ``count`` are drawn at random with ``generator`` (evenly over the
    image: strength decided within the cells already), or the strongest are taken without one.
    """
    rows, columns = size
    batch, total = points.shape[:2]
    pose = ct_to_camera.to(points.dtype)
    w = transform_points(pose, points)
    g = transform_vectors(pose, gradients)
    intrinsics = intrinsics.to(points.dtype).expand(batch, 3, 3)
    in_front = w[..., 2] > 1.0
    safe = torch.where(in_front[..., None], w, torch.ones_like(w))
    pixels = project(safe, intrinsics)
    g_norm = g.norm(dim=-1)
    cosine = (g * w).sum(-1).abs() / (g_norm * w.norm(dim=-1)).clamp_min(1e-9)
    u, v = pixels.unbind(-1)
    good = in_front & (cosine < tolerance) & (u >= 0) & (u <= columns - 1) & (v >= 0) & (v <= rows - 1)
    # A fixed, small set of candidates keeps what follows cheap; a surface has few points in the contour's band.
    room = min(total, max(count, int(good.sum(1).max())))
    chosen = good.to(torch.uint8).topk(room, dim=1).indices
    good = good.gather(1, chosen)
    pixels = pixels.gather(1, chosen[..., None].expand(-1, -1, 2))
    pixels = torch.where(good[..., None], pixels, torch.zeros_like(pixels))
    nearest = pixels.round().to(torch.int64)
    flat = nearest[..., 1] * columns + nearest[..., 0]
    if masks is not None:
        good = good & masks.reshape(batch, -1).gather(1, flat)

    g = g.gather(1, chosen[..., None].expand(-1, -1, 3))
    w = w.gather(1, chosen[..., None].expand(-1, -1, 3))
    normal = image_normals(w, g, intrinsics)
    if strength_images is None:
        strength = g.norm(dim=-1)
    else:
        drawn = strength_images.reshape(batch, 2, -1).gather(2, flat[:, None].expand(-1, 2, -1))
        strength = (drawn * normal.transpose(1, 2)).sum(1).abs()

    angle = torch.atan2(normal[..., 1], normal[..., 0])
    direction = ((angle / torch.pi) * ORIENTATIONS).floor().to(torch.int64).remainder(ORIENTATIONS)
    cells_u, cells_v = int(columns // cell) + 1, int(rows // cell) + 1
    cell_index = (pixels[..., 1] / cell).to(torch.int64) * cells_u + (pixels[..., 0] / cell).to(torch.int64)
    key = cell_index * ORIENTATIONS + direction
    strength = torch.where(good, strength, torch.full_like(strength, -1.0))
    best = torch.zeros(batch, cells_u * cells_v * ORIENTATIONS, dtype=strength.dtype, device=strength.device)
    best = best.scatter_reduce(1, key, strength, "amax", include_self=True)
    good = good & (strength >= best.gather(1, key)) & (strength > 0)

    if generator is None:
        rank = strength
    else:
        rank = torch.rand(strength.shape, generator=generator, device=generator.device).to(strength.device)
    rank = torch.where(good, rank, torch.full_like(rank, -1.0))
    kept = rank.topk(min(count, room), dim=1).indices
    source = chosen.gather(1, kept)
    valid = good.gather(1, kept)
    missing = count - kept.shape[1]
    if missing > 0:
        source = torch.cat([source, source[:, :1].expand(-1, missing)], dim=1)
        valid = torch.cat([valid, torch.zeros_like(valid[:, :1]).expand(-1, missing)], dim=1)
        kept = torch.cat([kept, kept[:, :1].expand(-1, missing)], dim=1)
    index3 = source[..., None].expand(-1, -1, 3)
    return ContourBatch(
        points.gather(1, index3),
        gradients.gather(1, index3),
        pixels.gather(1, kept[..., None].expand(-1, -1, 2)),
        valid,
    )


def image_normals(points: Tensor, gradients: Tensor, intrinsics: Tensor) -> Tensor:
    """Unit normals (..., N, 2) in the image, (u, v), of contours at points and gradients (..., N, 3) in camera frame.

    The contour's tangent plane holds the ray and the surface's tangent w x g; its normal n cuts the image in the line
    {p : n . K^-1 p = 0}, so the normal in the image is the first two components of K^-T n. It points along the
    projected gradient, towards the denser side. intrinsics (..., 3, 3). Zero where the gradient lies along the ray.
    """
    tangent = torch.linalg.cross(points, gradients)
    normal = torch.linalg.cross(tangent, points)  # = g |w|^2 - w (g.w): the gradient, perpendicular to the ray
    # The first two components of n K^-1, written out: K is upper triangular.
    across = normal[..., 0] / intrinsics[..., :1, 0]
    down = (normal[..., 1] - across * intrinsics[..., :1, 1]) / intrinsics[..., 1:2, 1]
    direction = torch.stack([across, down], dim=-1)
    return direction / direction.norm(dim=-1, keepdim=True).clamp_min(1e-12)
