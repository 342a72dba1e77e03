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
    v = torch.arange(rows, dtype=torch.float32, device=pixels.device)[:, None]
    u = torch.arange(columns, dtype=torch.float32, device=pixels.device)
    first, second = (list(ends) for ends in zip(*BOX_EDGES, strict=True))
    begins, lines = pixels[:, first], pixels[:, second] - pixels[:, first]  # (B, 12, 2)
    units = lines / lines.square().sum(-1, keepdim=True).clamp_min(1e-6)
    drawn = before[:, first] & before[:, second]
    mask = torch.ones(len(pixels), rows, columns, dtype=torch.bool, device=pixels.device)
    together = len(BOX_EDGES) if pixels.device.type != "cpu" else 1  # a GPU has room, a CPU's cache has not
    for edges in range(0, len(BOX_EDGES), together):
        start, along, unit = (each[:, edges : edges + together, :, None, None] for each in (begins, lines, units))
        # (B, E, 1, W) and (B, E, H, 1): whole images only where they meet
        from_u, from_v = u - start[:, :, 0], v - start[:, :, 1]
        share = (from_u * unit[:, :, 0] + from_v * unit[:, :, 1]).clamp_(0, 1)
        gap_u, gap_v = from_u - share * along[:, :, 0], from_v - share * along[:, :, 1]
        near = gap_u.square_().add_(gap_v.square_()) < distance * distance
        mask &= ~(near & drawn[:, edges : edges + together, None, None]).any(1)
    return mask[:, None]
