"""Correspondences by ``PointFlow``: the flow of the contour points along their normals, found for all of them at once.

(u', v') = (u, v) + flow (Jaganathan et al., MICCAI 2021, section 2), where the flow along the normal is the network's
and that across it, which PPC does not use, is the rigid motion's that explains all points.
"""

from __future__ import annotations

import torch

from .correspondences import Scene
from .flow_matching import NetworkMatching
from .networks.flow_protocol import FlowEstimate
from .networks.point_flow import ContourScene, EncodedEdges, PointFlow, as_flow

ITERATIONS = 5
"""Updates of the network at a pose: one more than in training."""


class PointFlowMatching(NetworkMatching):
    """Finds correspondences with PointFlow."""

    def __init__(self, network: PointFlow, iterations: int = ITERATIONS) -> None:
        super().__init__(network, iterations)

    def _estimate(self, scene: Scene, encoded: EncodedEdges) -> FlowEstimate:
        drr = scene.normalised_drr
        asked = ContourScene(
            scene.contour.pixels.to(drr)[None],
            scene.normals.to(drr)[None],
            scene.points_in_camera.to(drr)[None],
            scene.camera.intrinsics.to(drr)[None],
            torch.ones(1, len(scene.contour), dtype=torch.bool, device=drr.device),
        )
        return as_flow(self.network(drr, encoded, asked, self.iterations)[-1], asked.normals)
