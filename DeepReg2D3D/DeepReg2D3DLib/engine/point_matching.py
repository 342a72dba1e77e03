"""Correspondences by ``PointFlow``: the flow of the contour points along their normals, found for all of them at once.

(u', v') = (u, v) + flow (Jaganathan et al., MICCAI 2021, section 2), where the flow along the normal is the network's
and that across it, which PPC does not use, is the rigid motion's that explains all points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .correspondences import Scene
from .flow_matching import NetworkMatching
from .networks.edge_profiles import edge_pyramid
from .networks.flow_protocol import FlowEstimate
from .networks.point_flow import ContourScene, EncodedEdges, PointEstimate, PointFlow, as_flow
from .networks.replay import Replay, padded_map, padded_points, padded_side

ITERATIONS = 5
"""Updates of the network at a pose: one more than in training."""


class PointFlowMatching(NetworkMatching):
    """Finds correspondences with PointFlow."""

    def __init__(self, network: PointFlow, iterations: int = ITERATIONS) -> None:
        super().__init__(network, iterations)
        self._replay = Replay(self._steps)

    def _estimate(self, scene: Scene, encoded: EncodedEdges) -> FlowEstimate:
        drr = scene.normalised_drr
        asked = ContourScene(
            scene.contour.pixels.to(drr)[None],
            scene.normals.to(drr)[None],
            scene.points_in_camera.to(drr)[None],
            scene.camera.intrinsics.to(drr)[None],
            torch.ones(1, len(scene.contour), dtype=torch.bool, device=drr.device),
        )
        if drr.device.type == "cpu":
            return as_flow(self.network(drr, encoded, asked, self.iterations)[-1], asked.normals)
        return as_flow(self._padded(edge_pyramid(drr, self.network.config.scales), encoded, asked), asked.normals)

    def _padded(self, drr: list[Tensor], encoded: EncodedEdges, asked: ContourScene) -> PointEstimate:
        """The network's last estimate, found with points and images of a few sizes only: recorded steps serve again."""
        side = padded_side(encoded.size)
        maps = [padded_map(each, side >> scale) for edges in (drr, encoded.pyramid) for scale, each in enumerate(edges)]
        points = [padded_points(each) for each in (asked.pixels, asked.normals, asked.points, asked.valid)]
        estimate = self._replay(*maps, *points, asked.intrinsics)
        return PointEstimate(*(each[:, : asked.pixels.shape[1]] for each in estimate))

    def _steps(self, *given: Tensor) -> tuple[Tensor, ...]:
        scales = self.network.config.scales
        drr, xray, (pixels, normals, points, valid, intrinsics) = given[:scales], given[scales:-5], given[-5:]
        encoded = EncodedEdges(list(xray), (xray[0].shape[-2], xray[0].shape[-1]))
        asked = ContourScene(pixels, normals, points, intrinsics, valid)
        return tuple(self.network.follow(list(drr), encoded, asked, self.iterations, only_valid=True)[-1])
