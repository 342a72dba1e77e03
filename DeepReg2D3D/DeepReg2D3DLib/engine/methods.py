"""The five methods of the paper's table, each a composition of correspondences, weights and a schedule.

DPPC needs no training. The four learned ones are built from their networks' weights (Resources/Models); where those
are missing, the method is refused in words that name what works.

``deep-iterative`` finds its flow at the contour points (``PointFlow``, our choice of network: RAFT's look-ups and
recurrent updates, but on points) and weighs it with PointNet++; at the finest of several levels, where every patch is
nearly in place, gradient patches place the contours (the accuracy of a peak needs no learning) where the flow agrees.
``dppc-cl-refinement`` searches patches around a FlowNet's flow and without it in the last iterations,
``dppc-attention`` weighs DPPC's patches with PointNet, ``ppc-flow-attention`` weighs a FlowNetC's flow with PointNet,
as Jaganathan et al., MICCAI 2021, describe their rivals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .agreed_matching import AgreedMatching
from .correspondences import CorrespondenceFinder, Matches, Scene, Weighting
from .errors import InputError
from .flow_matching import FlowMatching
from .networks import PointFlow
from .networks.replay import forget_recordings
from .patch_matching import FlowCentredMatching, PatchMatching
from .point_matching import PointFlowMatching
from .weighting import LearnedWeights
from .weights import MissingWeights, files_state, network_loader, read_manifest


@dataclass(frozen=True)
class Method:
    """Correspondences, optionally weighted anew.

    correspondences: the finder; weighting: replaces the finder's own weights where it is given; finishing: the finder
    of the last level where that is another one (a refinement); learned: solved as the preset says for learned methods;
    sees_far: finds its way from most starts by itself, so that the search waits until a result leaves doubt.
    """

    name: str
    correspondences: CorrespondenceFinder
    weighting: Weighting | None = None
    finishing: CorrespondenceFinder | None = None
    learned: bool = False
    sees_far: bool = False

    def find(self, scene: Scene) -> Matches:
        """Weighted matches of a scene."""
        progress = scene.progress
        # With a single level there is nothing to finish: the paper's preset runs the method alone.
        finishing = self.finishing is not None and progress.last_level and progress.levels > 1
        finder = self.finishing if finishing else self.correspondences
        matches = finder.find(scene)
        if self.weighting is None or finishing:
            return matches
        return Matches(matches.pixels, self.weighting.weigh(scene, matches), matches.flow)


Load = Callable[[str], nn.Module]
MethodBuilder = Callable[[Load], Method]


def _dppc(load: Load) -> Method:
    return Method("dppc", PatchMatching())


def _deep_iterative(load: Load) -> Method:
    network = load("deep-iterative-flow")
    # The paper's own flow network, RAFT, serves as well where somebody has trained it.
    flow = PointFlowMatching(network) if isinstance(network, PointFlow) else FlowMatching(network)
    weights = LearnedWeights(load("deep-iterative-weights"))
    return Method("deep-iterative", flow, weights, finishing=AgreedMatching(flow, weights), learned=True, sees_far=True)


def _dppc_cl_refinement(load: Load) -> Method:
    flow = FlowMatching(load("dppc-cl-refinement-flow"))
    return Method("dppc-cl-refinement", FlowCentredMatching(flow), finishing=PatchMatching(), learned=True)


def _dppc_attention(load: Load) -> Method:
    weights = LearnedWeights(load("dppc-attention-weights"))
    return Method("dppc-attention", PatchMatching(), weights, learned=True)


def _ppc_flow_attention(load: Load) -> Method:
    flow = FlowMatching(load("ppc-flow-attention-flow"))
    weights = LearnedWeights(load("ppc-flow-attention-weights"))
    return Method("ppc-flow-attention", flow, weights, learned=True)


METHODS: dict[str, MethodBuilder] = {
    "deep-iterative": _deep_iterative,
    "dppc": _dppc,
    "dppc-cl-refinement": _dppc_cl_refinement,
    "dppc-attention": _dppc_attention,
    "ppc-flow-attention": _ppc_flow_attention,
}
"""Builders by name, from what loads their networks. A builder raises InputError when its weights are missing."""
METHOD_NAMES = tuple(METHODS)
MOST_KEPT = 2
_KEPT: list[tuple[tuple, Method]] = []
"""The methods asked for last, the latest first, with what they were made of. Registration after registration uses the
same one: its networks are loaded, and what a GPU recorded of them is there."""


def get_method(name: str, device: torch.device | str = "cpu", weights: Path | None = None) -> Method:
    """The method of a name, its networks on ``device``; the same object again while the files of weights are the same.

    weights: a folder of networks that stand in for the installed ones of the same name (those adapted to one CT).
    Raises InputError for an unknown name, for a learned method without trained weights, naming ``--method dppc``, and
    for a folder that holds none of the method's networks.
    """
    if name not in METHODS:
        raise InputError(f"Unknown method '{name}'. Known methods: {', '.join(METHODS)}.")
    folders = (None,) if weights is None else (None, weights)
    key = (name, str(torch.device(device)), *((str(folder), files_state(folder)) for folder in folders))
    for known, method in _KEPT:
        if known == key:
            return method
    method = _built(name, device, weights)
    _KEPT[:] = [(key, method), *_KEPT[: MOST_KEPT - 1]]
    return method


def forget_methods() -> None:
    """Drop the methods that are kept: their networks, the X-rays they encoded, what a GPU recorded of them."""
    _KEPT.clear()
    forget_recordings()


def _built(name: str, device: torch.device | str, weights: Path | None) -> Method:
    load = network_loader(torch.device(device), weights)
    asked: list[str] = []

    def noted(network: str) -> nn.Module:
        asked.append(network)
        return load(network)

    try:
        method = METHODS[name](noted)
    except MissingWeights as missing:
        raise InputError(
            f"Method '{name}' needs trained weights, and none come with this version ({missing}). Use --method dppc, "
            "which needs no training, or train them with deepreg2d3d train."
        ) from missing
    if weights is not None and not set(asked) & set(read_manifest(weights)):
        raise InputError(f"{weights}: holds no network of method '{name}'. Leave --weights out, or choose its method.")
    return method
