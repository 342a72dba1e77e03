"""PointNet (Qi et al., CVPR 2017), segmentation variant with one sigmoid a point: the weights of DPPC Attention.

Each contour point with its features goes through shared layers; the largest response over all points describes the set
and is joined to every point's own features. Layer normalisation of each point replaces batch normalisation, so that a
point's weight depends on neither the batch nor the padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from .point_sets import normalise_points


@dataclass(frozen=True)
class PointNetConfig:
    """features: numbers beside the coordinates of each point. width: share of the published channels.

    transforms: the published networks that align the input (3x3) and the features (64x64 at full width).
    """

    features: int = 6
    width: float = 1.0
    transforms: bool = True

    def channels_of(self, published: int) -> int:
        """Channels in place of a published number of them."""
        return max(8, round(published * self.width))


def check_point_sets(points: Tensor, features: Tensor | None, mask: Tensor | None, expected: int) -> Tensor:
    """The valid points (B, N) as booleans; InputError where shapes don't fit."""
    if points.ndim != 3 or points.shape[-1] != 3:
        raise InputError(f"Points must have shape (B, N, 3), found {tuple(points.shape)}.")
    found = 0 if features is None else features.shape[-1]
    if found != expected or (features is not None and features.shape[:2] != points.shape[:2]):
        shape = None if features is None else tuple(features.shape)
        raise InputError(f"This network takes features {(*points.shape[:2], expected)} with the points, found {shape}.")
    if mask is None:
        return torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
    if mask.shape != points.shape[:2]:
        raise InputError(f"The mask must have shape {tuple(points.shape[:2])}, found {tuple(mask.shape)}.")
    return mask.bool()


def shared_layer(into: int, out: int) -> nn.Sequential:
    """One layer of a network that all points share: (..., into) to (..., out)."""
    return nn.Sequential(nn.Linear(into, out), nn.LayerNorm(out), nn.ReLU(inplace=True))


def largest_response(features: Tensor, valid: Tensor) -> Tensor:
    """Largest value (B, C) of each channel over the valid points of (B, N, C); 0 where there are none."""
    lowest = torch.finfo(features.dtype).min
    largest = features.masked_fill(~valid.unsqueeze(-1), lowest).amax(dim=1)
    return torch.where(valid.any(dim=1, keepdim=True), largest, torch.zeros_like(largest))


class Alignment(nn.Module):
    """A square matrix (B, size, size) read from the whole set (B, N, into); the identity before training."""

    def __init__(self, into: int, size: int, config: PointNetConfig) -> None:
        super().__init__()
        w = config.channels_of
        self.size = size
        self.local = nn.Sequential(
            shared_layer(into, w(64)), shared_layer(w(64), w(128)), shared_layer(w(128), w(1024))
        )
        self.joint = nn.Sequential(shared_layer(w(1024), w(512)), shared_layer(w(512), w(256)))
        self.matrix = nn.Linear(w(256), size * size)
        nn.init.zeros_(self.matrix.weight)
        nn.init.zeros_(self.matrix.bias)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        change = self.matrix(self.joint(largest_response(self.local(features), valid)))
        matrix = change.view(-1, self.size, self.size)
        return matrix + torch.eye(self.size, dtype=matrix.dtype, device=matrix.device)


def orthogonality_penalty(matrix: Tensor) -> Tensor:
    """Mean of |I - A A^T|_F^2 of matrices (B, k, k): PointNet's regulariser of its feature alignment (equation 2)."""
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return (matrix @ matrix.transpose(1, 2) - identity).square().sum(dim=(1, 2)).mean()


class PointNet(nn.Module):
    """A weight from 0 to 1 for every point of a set."""

    def __init__(self, config: PointNetConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or PointNetConfig()
        w = c.channels_of
        self.align_input = Alignment(3, 3, c) if c.transforms else None
        self.local = shared_layer(3 + c.features, w(64))
        self.align_features = Alignment(w(64), w(64), c) if c.transforms else None
        self.lift = nn.Sequential(shared_layer(w(64), w(128)), nn.Linear(w(128), w(1024)), nn.LayerNorm(w(1024)))
        # A layer on (own, whole set's) features is the sum of a layer on each: the set's part is computed once.
        self.own = nn.Linear(w(64), w(512))
        self.whole = nn.Linear(w(1024), w(512), bias=False)
        self.head = nn.Sequential(
            nn.LayerNorm(w(512)),
            nn.ReLU(inplace=True),
            shared_layer(w(512), w(256)),
            shared_layer(w(256), w(128)),
            nn.Linear(w(128), 1),
        )

    def logits(
        self, points: Tensor, features: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits (B, N) of the weights and the feature alignment (B, k, k), for ``orthogonality_penalty``, or None."""
        valid = check_point_sets(points, features, mask, self.config.features)
        x = normalise_points(points, valid)
        if self.align_input is not None:
            x = x @ self.align_input(x, valid)
        if features is not None:
            # Padding may hold anything, NaN included, and NaN times 0 is NaN.
            x = torch.cat([x, features.masked_fill(~valid.unsqueeze(-1), 0)], dim=-1)
        own = self.local(x)
        alignment = None
        if self.align_features is not None:
            alignment = self.align_features(own, valid)
            own = own @ alignment
        whole = largest_response(self.lift(own), valid)
        return self.head(self.own(own) + self.whole(whole).unsqueeze(1)).squeeze(-1), alignment

    def forward(self, points: Tensor, features: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Weights (B, N) float32 in 0 to 1; 0 for padding.

        points: (B, N, 3), any unit: they are moved and scaled into the unit sphere. features: (B, N, F) of about unit
        size. mask: (B, N), true for points that count; all by default.
        """
        logits, _ = self.logits(points, features, mask)
        weights = torch.sigmoid(logits.float())
        return weights if mask is None else weights * mask.to(weights.dtype)
