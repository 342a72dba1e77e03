"""Weights of correspondences by a network that sees all of them at once (PointNet++; PointNet in the older methods).

A wrong correspondence often betrays itself by its neighbours: the paper (Jaganathan et al., MICCAI 2021, section 2)
gives each contour point, its gradient and its match to PointNet++ and multiplies the PPC rows by the weights. Which
numbers exactly the paper feeds is not published; ``correspondence_features`` is our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .contours import image_normals
from .correspondences import Matches, Scene
from .flow_matching import seen_in
from .networks.flow_protocol import sample_at_points
from .networks.replay import Replay, padded_points

FEATURES = 10
_FLOW_UNIT = 8.0  # pixels: typical displacement at the capture resolution


def correspondence_features(
    points: Tensor,
    gradients: Tensor,
    intrinsics: Tensor,
    pixels: Tensor,
    flow: Tensor,
    log_scale: Tensor,
    seen: Tensor,
    drr: Tensor,
    xray: Tensor,
) -> Tensor:
    """What a weight network is told of each correspondence, (B, N, FEATURES), each number of about unit size.

    points, gradients: (B, N, 3) in the camera frame. intrinsics: (B, 3, 3). pixels, flow: (B, N, 2). log_scale: (B, N)
    predicted uncertainty (0 where the finder predicts none). seen: (B, N), 1 where the match lies on valid pixels.
    drr, xray: (B, C, H, W) normalised images, the last channel the local one.

    The features: flow along and across the contour's normal and what it departs from the median flow, the normal,
    the uncertainty, whether it is seen, and the local grey value of both images at either end with their product.
    """
    normal = image_normals(points, gradients, intrinsics.to(points))
    along = (flow * normal).sum(-1)
    across = flow[..., 1] * normal[..., 0] - flow[..., 0] * normal[..., 1]
    departure = (flow - flow.median(dim=1, keepdim=True).values).norm(dim=-1)
    size = (drr.shape[-2], drr.shape[-1])
    here = sample_at_points(drr[:, -1:], pixels, size)[..., 0]
    there = sample_at_points(xray[:, -1:], pixels + flow, size)[..., 0]
    numbers = [
        along / _FLOW_UNIT,
        across / _FLOW_UNIT,
        torch.log1p(departure),
        normal[..., 0],
        normal[..., 1],
        log_scale,
        seen.to(flow),
        here,
        there,
        here * there,
    ]
    return torch.nan_to_num(torch.stack(numbers, dim=-1), 0.0, 0.0, 0.0).clamp(-6.0, 6.0)


class LearnedWeights:
    """A weight network as a registration uses it."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._replay = Replay(lambda points, features, counted: (self.network(points, features, counted),))

    def weigh(self, scene: Scene, matches: Matches) -> Tensor:
        """See ``Weighting``; what the finder gave no weight at all keeps none."""
        if len(matches.pixels) == 0:
            return matches.weights
        with torch.inference_mode():
            drr, xray = scene.normalised_drr, scene.xray.normalised
            points = scene.points_in_camera.to(drr)[None]
            log_scale = matches.log_scale
            features = correspondence_features(
                points,
                scene.gradients_in_camera.to(drr)[None],
                scene.camera.intrinsics.to(drr)[None],
                scene.contour.pixels.to(drr)[None],
                matches.flow.to(drr)[None],
                (torch.zeros_like(matches.weights) if log_scale is None else log_scale).to(drr)[None],
                seen_in(scene.xray, matches.pixels)[None],
                drr,
                xray,
            )
            weights = self._found(points, features)[0].clone()
        return torch.where(matches.weights > 0, weights.to(matches.weights), torch.zeros_like(matches.weights))

    def _found(self, points: Tensor, features: Tensor) -> Tensor:
        """The network's weights (1, N); on a GPU of sets of a few sizes only, so that recorded steps serve again."""
        if points.device.type == "cpu":
            return self.network(points, features)
        count = points.shape[1]
        counted = torch.ones(1, count, dtype=torch.bool, device=points.device)
        return self._replay(*(padded_points(each) for each in (points, features, counted)))[0][:, :count]
