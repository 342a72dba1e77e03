"""PointNet++ (Qi et al., NeurIPS 2017), single-scale grouping, segmentation variant with one sigmoid a point.

The paper weighs every correspondence with it: 2D matches and 3D contour points in, one weight each out. Sets of points
are summarised around fewer and fewer centres and carried back to all points. Normalisation is per point (layer
normalisation), so that neither the batch nor padding changes a weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..errors import InputError
from .point_sets import (
    ball_neighbours,
    farthest_points,
    gather_points,
    interpolate_features,
    normalise_points,
    spread_points,
)
from .pointnet import check_point_sets, shared_layer


@dataclass(frozen=True)
class Level:
    """One set abstraction: centres, ball radius in the unit sphere, neighbours a ball, channels of its three layers."""

    centres: int
    radius: float
    neighbours: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class PointNet2Config:
    """features: numbers beside the coordinates of each point. sampling: 'farthest' (published) or 'spread' (fast).

    levels: the set abstractions, fine to coarse. back: channels of the feature propagation's layers from the coarsest
    level to the points. The defaults are ours, for 1,000 points in a few ms of one CPU core; ``published()`` has the
    sizes of the publication's scene segmentation.
    """

    features: int = 6
    sampling: str = "spread"
    levels: tuple[Level, ...] = (
        Level(256, 0.2, 16, (32, 32, 64)),
        Level(64, 0.4, 16, (64, 64, 128)),
        Level(16, 0.8, 16, (128, 128, 256)),
    )
    back: tuple[tuple[int, ...], ...] = ((128, 128), (128, 64), (64, 64))

    def __post_init__(self) -> None:
        if self.sampling not in ("farthest", "spread"):
            raise InputError(f"PointNet++ samples centres by 'farthest' or 'spread', not '{self.sampling}'.")
        if len(self.levels) != len(self.back):
            raise InputError(f"PointNet++ needs as many ways back as levels: {len(self.back)} and {len(self.levels)}.")
        # A configuration read back from a checkpoint's JSON has lists and dictionaries here.
        levels = tuple(level if isinstance(level, Level) else Level(**level) for level in self.levels)
        object.__setattr__(
            self, "levels", tuple(Level(v.centres, v.radius, v.neighbours, tuple(v.widths)) for v in levels)
        )
        object.__setattr__(self, "back", tuple(tuple(widths) for widths in self.back))

    @classmethod
    def published(cls, features: int = 6) -> PointNet2Config:
        """SSG scene segmentation of the publication (appendix B.1)."""
        return cls(
            features=features,
            sampling="farthest",
            levels=(
                Level(1024, 0.1, 32, (32, 32, 64)),
                Level(256, 0.2, 32, (64, 64, 128)),
                Level(64, 0.4, 32, (128, 128, 256)),
                Level(16, 0.8, 32, (256, 256, 512)),
            ),
            back=((256, 256), (256, 256), (256, 128), (128, 128, 128)),
        )


class SetAbstraction(nn.Module):
    """Describes the points in a ball around each of a few centres: (B, N, C) to (B, S, widths[-1])."""

    def __init__(self, into: int, level: Level, sampling: str) -> None:
        super().__init__()
        self.level = level
        self.sample = farthest_points if sampling == "farthest" else spread_points
        # The first layer acts on (offset from the centre, features). It is linear, so the parts are computed once a
        # point and once a centre rather than once a neighbour.
        self.of_point = nn.Linear(3 + into, level.widths[0])
        self.of_centre = nn.Linear(3, level.widths[0], bias=False)
        self.enter = nn.Sequential(nn.LayerNorm(level.widths[0]), nn.ReLU(inplace=True))
        self.layers = nn.Sequential(*(shared_layer(a, b) for a, b in pairwise(level.widths)))

    def forward(self, points: Tensor, features: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Centres (B, S, 3), their descriptions (B, S, C'), and which centres are valid (B, S)."""
        chosen = self.sample(points, valid, self.level.centres)
        centres = gather_points(points, chosen)
        near = ball_neighbours(points, valid, centres, self.level.radius, self.level.neighbours)
        of_point = self.of_point(torch.cat([points.to(features.dtype), features], dim=-1))
        grouped = gather_points(of_point, near) - self.of_centre(centres).unsqueeze(2)
        described = self.layers(self.enter(grouped)).amax(dim=2)
        return centres, described, valid.gather(1, chosen)


class PointNet2(nn.Module):
    """A weight from 0 to 1 for every point of a set, from its neighbourhoods at several sizes."""

    def __init__(self, config: PointNet2Config | None = None) -> None:
        super().__init__()
        self.config = c = config or PointNet2Config()
        widths = [c.features] + [level.widths[-1] for level in c.levels]
        self.down = nn.ModuleList(
            SetAbstraction(into, level, c.sampling) for into, level in zip(widths, c.levels, strict=False)
        )
        self.up = nn.ModuleList()
        carried = widths[-1]
        for skip, back in zip(widths[-2::-1], c.back, strict=True):
            sizes = (carried + skip, *back)
            self.up.append(nn.Sequential(*(shared_layer(a, b) for a, b in pairwise(sizes))))
            carried = back[-1]
        self.head = nn.Sequential(shared_layer(carried, carried), nn.Linear(carried, 1))

    def logits(self, points: Tensor, features: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Logits (B, N) of the weights."""
        valid = check_point_sets(points, features, mask, self.config.features)
        places = normalise_points(points, valid)
        described = places[..., :0] if features is None else features.masked_fill(~valid.unsqueeze(-1), 0)
        steps = [(places, described, valid)]
        for abstraction in self.down:
            steps.append(abstraction(*steps[-1]))
        carried = steps[-1][1]
        for layer, (fine, skip, _), (coarse, _, _) in zip(self.up, steps[-2::-1], steps[:0:-1], strict=True):
            carried = layer(torch.cat([interpolate_features(fine, coarse, carried), skip.to(carried.dtype)], dim=-1))
        return self.head(carried).squeeze(-1)

    def forward(self, points: Tensor, features: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Weights (B, N) float32 in 0 to 1; 0 for padding.

        points: (B, N, 3), any unit: they are moved and scaled into the unit sphere. features: (B, N, F) of about unit
        size. mask: (B, N), true for points that count; all by default.
        """
        weights = torch.sigmoid(self.logits(points, features, mask).float())
        return weights if mask is None else weights * mask.to(weights.dtype)
