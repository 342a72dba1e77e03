"""Correspondences by a flow network: the flow from DRR to X-ray, sampled at the projected contour points.

(u', v') = (u, v) + flow(u, v) (Jaganathan et al., MICCAI 2021, section 2). A network that also predicts its uncertainty
gives first weights; a weight network (``LearnedWeights``) may replace them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from .correspondences import Matches, Scene, no_matches
from .networks import EncodedImage, FlowNetwork
from .networks.flow_protocol import FlowEstimate
from .xray import XRay

ITERATIONS = 6
"""Refinement steps of the network at a pose; more gain little, as the next pose starts nearer."""


def weights_from_scale(log_scale: Tensor) -> Tensor:
    """Weights (M,) in 0 to 1 from predicted log-scales (M,): inverse variance, relative to the best tenth of points.

    A Laplace scale b stands for a variance of 2 b^2; b is taken as half a pixel at least, so that no few points rule.
    """
    if log_scale.numel() == 0:
        return log_scale
    inverse = 1.0 / torch.exp(log_scale).clamp_min(0.5).square()
    return (inverse / torch.quantile(inverse, 0.9).clamp_min(1e-12)).clamp(0.0, 1.0)


class NetworkMatching(ABC):
    """Finds correspondences with a network that encodes an X-ray once, however often it is asked about it. Remembers
    the X-rays it encoded last, nothing else."""

    def __init__(self, network: Any, iterations: int) -> None:
        self.network = network
        self.iterations = iterations
        self._encoded: list[tuple[XRay, Any]] = []

    def find(self, scene: Scene) -> Matches:
        """See ``CorrespondenceFinder``."""
        if len(scene.contour) == 0:
            return no_matches(scene)
        with torch.inference_mode():
            estimate = self._estimate(scene, self._encode(scene.xray))
            flow, log_scale = estimate.flow[0].float().clone(), estimate.log_scale[0].float().clone()
        weights = weights_from_scale(log_scale) * seen_in(scene.xray, scene.contour.pixels + flow)
        usable = torch.isfinite(flow).all(-1) & torch.isfinite(weights)
        flow = torch.where(usable[:, None], flow, torch.zeros_like(flow))
        weights = torch.where(usable, weights, torch.zeros_like(weights))
        return Matches.from_flow(scene.contour, flow, weights, log_scale)

    @abstractmethod
    def _estimate(self, scene: Scene, encoded: Any) -> FlowEstimate:
        """The network's last estimate at the contour points, a batch of one."""

    def _encode(self, xray: XRay) -> Any:
        for known, encoded in self._encoded:
            if known is xray:
                return encoded
        encoded = self.network.encode(xray.normalised)
        # One for each view of a registration; an older level's X-rays fall out.
        self._encoded = [*self._encoded[-3:], (xray, encoded)]
        return encoded


class FlowMatching(NetworkMatching):
    """Finds correspondences with a network that maps images to flow."""

    def __init__(self, network: FlowNetwork, iterations: int = ITERATIONS) -> None:
        super().__init__(network, iterations)

    def _estimate(self, scene: Scene, encoded: EncodedImage) -> FlowEstimate:
        drr = scene.normalised_drr
        return self.network(drr, encoded, self.iterations, points=scene.contour.pixels.to(drr)[None])[-1]


def seen_in(xray: XRay, pixels: Tensor) -> Tensor:
    """1.0 where pixels (M, 2) lie on valid pixels of the X-ray, 0.0 elsewhere; (M,)."""
    rows, columns = xray.mask.shape[-2:]
    u, v = torch.nan_to_num(pixels, nan=-1.0, posinf=-1.0, neginf=-1.0).round().unbind(-1)
    inside = (u >= 0) & (u < columns) & (v >= 0) & (v < rows)
    index = v.clamp(0, rows - 1).long() * columns + u.clamp(0, columns - 1).long()
    return (inside & xray.mask.reshape(-1)[index]).to(pixels.dtype)
