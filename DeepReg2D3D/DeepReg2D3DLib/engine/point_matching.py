"""Correspondences by ``PointFlow``: the flow of the contour points along their normals, found for all of them at once.

(u', v') = (u, v) + flow (Jaganathan et al., MICCAI 2021, section 2), where the flow along the normal is the network's
and that across it, which PPC does not use, is the rigid motion's that explains all points.
"""

from __future__ import annotations

import torch

from .correspondences import Matches, Scene, no_matches
from .flow_matching import seen_in, weights_from_scale
from .networks.point_flow import ContourScene, EncodedEdges, PointFlow, as_flow
from .xray import XRay

ITERATIONS = 5
"""Updates of the network at a pose: one more than in training."""


class PointFlowMatching:
    """Finds correspondences with PointFlow. Remembers the X-rays it encoded last, nothing else."""

    def __init__(self, network: PointFlow, iterations: int = ITERATIONS) -> None:
        self.network = network
        self.iterations = iterations
        self._encoded: list[tuple[XRay, EncodedEdges]] = []

    def find(self, scene: Scene) -> Matches:
        """See ``CorrespondenceFinder``."""
        if len(scene.contour) == 0:
            return no_matches(scene)
        with torch.inference_mode():
            drr = scene.normalised_drr
            asked = ContourScene(
                scene.contour.pixels.to(drr)[None],
                scene.normals.to(drr)[None],
                scene.points_in_camera.to(drr)[None],
                scene.camera.intrinsics.to(drr)[None],
                torch.ones(1, len(scene.contour), dtype=torch.bool, device=drr.device),
            )
            found = self.network(drr, self._encode(scene.xray), asked, self.iterations)[-1]
            estimate = as_flow(found, asked.normals)
            flow, log_scale = estimate.flow[0].float().clone(), estimate.log_scale[0].float().clone()
        weights = weights_from_scale(log_scale) * seen_in(scene.xray, scene.contour.pixels + flow)
        usable = torch.isfinite(flow).all(-1) & torch.isfinite(weights)
        flow = torch.where(usable[:, None], flow, torch.zeros_like(flow))
        weights = torch.where(usable, weights, torch.zeros_like(weights))
        return Matches.from_flow(scene.contour, flow, weights, log_scale)

    def _encode(self, xray: XRay) -> EncodedEdges:
        for known, encoded in self._encoded:
            if known is xray:
                return encoded
        encoded = self.network.encode(xray.normalised)
        # One for each view of a registration; an older level's X-rays fall out.
        self._encoded = [*self._encoded[-3:], (xray, encoded)]
        return encoded
