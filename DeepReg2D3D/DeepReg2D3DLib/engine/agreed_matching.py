"""The finest level's correspondences: placed by gradient patches, believed where a learned flow agrees.

A patch's correlation peak is precise, but a patch may fit a neighbouring edge as well; the flow network judges all
points together, but was trained for coarser accuracy. Where the two say the same, both are right.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .correspondences import CorrespondenceFinder, Matches, Scene, Weighting
from .patch_matching import PatchMatching


@dataclass(frozen=True)
class AgreedMatching:
    """Patch matches weighed by a flow's own weights and by the agreement of the two along the normals.

    tolerance_px: a difference of this much weighs exp(-1/2).
    """

    flow: CorrespondenceFinder
    weighting: Weighting | None = None
    patches: PatchMatching = field(default_factory=PatchMatching)
    tolerance_px: float = 1.0

    def find(self, scene: Scene) -> Matches:
        """See ``CorrespondenceFinder``. Once the pose has settled it says itself where the contours should lie."""
        placed = self.patches.find(scene)
        if scene.progress.settled:
            return replace(placed, weights=placed.weights.sqrt() * self._agreement(scene, placed.flow))
        flow = self.flow.find(scene)
        weights = flow.weights if self.weighting is None else self.weighting.weigh(scene, flow)
        agreement = self._agreement(scene, placed.flow - flow.flow)
        return Matches(placed.pixels, placed.weights.sqrt() * weights * agreement, placed.flow, flow.log_scale)

    def _agreement(self, scene: Scene, apart: Tensor) -> Tensor:
        """(M,) from 0 to 1 of matches that lie ``apart`` (M, 2) pixels from where they are expected."""
        return torch.exp(-0.5 * ((apart * scene.normals).sum(-1) / self.tolerance_px).square())
