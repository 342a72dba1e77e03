"""Where a DRR shows the end of the CT instead of the patient: along the projected edges of the CT's box.

A CT that covers only part of the body ends in faces full of tissue, and their silhouettes draw strong lines in the DRR
that no X-ray of the whole patient has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .camera import project
from .poses import transform_points

BOX_EDGES = tuple((a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit)
"""Pairs of corners, as ``Volume.corners`` numbers them, that an edge of the box joins."""


def away_from_box_edges(
    corners: Tensor, ct_to_camera: Tensor, intrinsics: Tensor, size: tuple[int, int], distance: float = 1.0
) -> Tensor:
    """Mask (B, 1, H, W) bool, False within ``distance`` pixels of a projected edge of the box.

    corners: (8, 3) in the CT, mm, numbered as ``Volume.corners`` does. ct_to_camera: (B, 4, 4). intrinsics: (3, 3).
    Edges that reach behind the source are left out.
    """
    rows, columns = size
    seen = transform_points(ct_to_camera, corners.to(ct_to_camera))
    pixels = project(seen, intrinsics.to(seen)).to(torch.float32)
    before = seen[..., 2] > 1.0
    v, u = torch.meshgrid(
        torch.arange(rows, dtype=torch.float32, device=pixels.device),
        torch.arange(columns, dtype=torch.float32, device=pixels.device),
        indexing="ij",
    )
    grid = torch.stack([u, v], dim=-1)
    mask = torch.ones(len(pixels), rows, columns, dtype=torch.bool, device=pixels.device)
    for first, second in BOX_EDGES:
        start, end = pixels[:, first, None, None], pixels[:, second, None, None]
        along = end - start
        length = (along * along).sum(-1).clamp_min(1e-6)
        share = (((grid - start) * along).sum(-1) / length).clamp(0, 1)
        gap = grid - start - share[..., None] * along
        near = (gap * gap).sum(-1) < distance * distance
        mask &= ~(near & (before[:, first] & before[:, second])[:, None, None])
    return mask[:, None]
