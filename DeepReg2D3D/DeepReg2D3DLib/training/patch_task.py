"""Correspondences of DPPC's patch matching on training samples, for weight networks that judge them.

Nothing is learned here. The layers of depth need the CT's whole surface, which samples do not carry: patches are of the
whole DRR, as in the second half of a registration.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..engine.image_gradient import image_gradient, masked_gradient
from ..engine.networks.flow_protocol import FlowEstimate
from ..engine.patch_matching import PatchSettings, patch_matches, sample_patches, unit_patches
from .samples import SampleBatch
from .tasks import NetworkInput

SEARCH_PX = 12


class PatchTask:
    """Stands where a flow network's task would, for joint training of ``dppc-attention``."""

    def build(self) -> nn.Module:
        """A network without parameters."""
        return nn.Identity()

    def losses(
        self, network: nn.Module, batch: SampleBatch, given: NetworkInput, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Nothing to train."""
        return given.flow.new_zeros(()), {}

    @torch.no_grad()
    def answer(self, network: nn.Module, batch: SampleBatch, given: NetworkInput) -> tuple[FlowEstimate, Tensor]:
        """Flow along the normals and the heuristic weights of the patches (B, N)."""
        settings = PatchSettings()
        normals = given.normals.to(torch.float32)
        pixels = given.pixels.to(torch.float32)
        drawn = image_gradient(batch.drr, settings.smoothing)
        found, valid = masked_gradient(batch.xray, batch.mask, settings.smoothing)
        flows, doubts, weights = [], [], []
        for i, x in enumerate(batch.xray_index.tolist()):
            half = settings.half_size
            templates = unit_patches(sample_patches(drawn[i : i + 1], pixels[i], normals[i], half, half))
            along, weight, doubt = patch_matches(
                pixels[i], normals[i], templates, found[x : x + 1], valid[x : x + 1], SEARCH_PX, settings
            )
            flows.append(along[:, None] * normals[i])
            weights.append(weight)
            doubts.append(doubt)
        estimate = FlowEstimate(torch.stack(flows), torch.stack(doubts))
        return estimate, torch.stack(weights).double() * batch.valid
