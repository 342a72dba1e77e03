"""Operations on point sets that are padded to one length: centring, sampling, neighbourhoods, interpolation.

After PointNet++ (Qi et al., NeurIPS 2017). Everywhere points are (B, N, 3) and ``valid`` (B, N) is true for real
points; padding never enters a result. Nothing here depends on the order of the points, ties aside.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SPREADING = ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249))
FAR = 1e6  # a distance beyond any in a normalised point set


def gather_points(values: Tensor, index: Tensor) -> Tensor:
    """Rows of (B, N, C) by index (B, ...): (B, ..., C)."""
    flat = index.flatten(1).unsqueeze(-1).expand(-1, -1, values.shape[-1])
    return values.gather(1, flat).view(*index.shape, values.shape[-1])


def normalise_points(points: Tensor, valid: Tensor) -> Tensor:
    """Valid points moved and scaled into the unit sphere around their mean; padding at the origin."""
    inside = valid.unsqueeze(-1).to(points.dtype)
    count = inside.sum(dim=1, keepdim=True).clamp(min=1)
    # Coordinates may be hundreds of mm from the origin with garbage in the padding: zero it before any arithmetic.
    clean = torch.where(valid.unsqueeze(-1), points, torch.zeros_like(points))
    centred = (clean - clean.sum(dim=1, keepdim=True) / count) * inside
    radius = centred.norm(dim=-1).amax(dim=1).clamp(min=1e-6)
    return centred / radius.view(-1, 1, 1)


def farthest_points(points: Tensor, valid: Tensor, number: int) -> Tensor:
    """Indices (B, number) of points that each lie farthest from those before (PointNet++, section 3.2).

    The first is the farthest from the mean, so that nothing is random. Where fewer points are valid, they repeat.
    """
    distance = points.square().sum(dim=-1).masked_fill(~valid, -1.0)
    nearest = torch.full_like(distance, FAR).masked_fill(~valid, -1.0)
    chosen = torch.empty(points.shape[0], number, dtype=torch.int64, device=points.device)
    current = distance.argmax(dim=1, keepdim=True)
    for step in range(number):
        chosen[:, step] = current[:, 0]
        centre = gather_points(points, current)
        nearest = torch.minimum(nearest, (points - centre).square().sum(dim=-1))
        current = nearest.argmax(dim=1, keepdim=True)
    return chosen


def spread_points(points: Tensor, valid: Tensor, number: int) -> Tensor:
    """Indices (B, number) of points evenly spaced along a curve that fills the unit cube (Morton order).

    A fast stand-in for ``farthest_points`` on a CPU: one sort in place of ``number`` passes. Where fewer points are
    valid, they repeat.
    """
    cells = ((points + 1) * 512).long().clamp(0, 1023)
    for shift, kept in _SPREADING:  # the ten bits of each number, three places apart
        cells = (cells | (cells << shift)) & kept
    key = cells[..., 0] | (cells[..., 1] << 1) | (cells[..., 2] << 2)
    order = key.masked_fill(~valid, 1 << 31).argsort(dim=1, stable=True)
    count = valid.sum(dim=1, keepdim=True)
    steps = torch.arange(number, device=points.device).unsqueeze(0)
    return order.gather(1, ((2 * steps + 1) * count // (2 * number)).clamp(max=points.shape[1] - 1))


def ball_neighbours(points: Tensor, valid: Tensor, centres: Tensor, radius: float, number: int) -> Tensor:
    """Indices (B, S, number) of the points nearest to each centre (B, S, 3) within ``radius``.

    The nearest point fills the places that stay empty, as the first one does in PointNet++; taking the nearest rather
    than the first found keeps the result independent of the points' order.
    """
    distance = squared_distances(centres, points).masked_fill(~valid.unsqueeze(1), FAR)
    number = min(number, points.shape[1])
    nearest, index = distance.topk(number, dim=-1, largest=False, sorted=True)
    return torch.where(nearest <= radius**2, index, index[..., :1])


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """(B, S, N) squared distances of (B, S, 3) and (B, N, 3) in float32, whatever autocast says."""
    with torch.autocast(first.device.type, enabled=False):
        first, second = first.float(), second.float()
        cross = torch.bmm(first, second.transpose(1, 2))
        sums = first.square().sum(-1, keepdim=True) + second.square().sum(-1).unsqueeze(1)
        return (sums - 2 * cross).clamp(min=0)


def interpolate_features(points: Tensor, centres: Tensor, features: Tensor) -> Tensor:
    """Features (B, N, C) at points from those of their three nearest centres (B, S, C), by inverse squared distance."""
    near, index = squared_distances(points, centres).topk(min(3, centres.shape[1]), dim=-1, largest=False)
    weight = 1 / (near + 1e-8)
    weight = (weight / weight.sum(dim=-1, keepdim=True)).to(features.dtype)
    return (gather_points(features, index) * weight.unsqueeze(-1)).sum(dim=2)
