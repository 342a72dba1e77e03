"""The five methods of the paper's table, each a composition of correspondences, weights and a schedule.

DPPC needs no training. The four learned ones are built from their networks' weights; until those exist they are refused
in words that name what works.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .correspondences import CorrespondenceFinder, Matches, Scene, Weighting
from .errors import InputError
from .flow_matching import FlowMatching
from .patch_matching import PatchMatching
from .weights import load_network

LEARNED_METHODS = ("deep-iterative", "dppc-cl-refinement", "dppc-attention", "ppc-flow-attention")
METHOD_NAMES = ("deep-iterative", "dppc", "dppc-cl-refinement", "dppc-attention", "ppc-flow-attention")


@dataclass(frozen=True)
class Method:
    """Correspondences, optionally weighted anew.

    correspondences: the finder; weighting: replaces the finder's own weights where it is given; finishing: the finder
    of the last level where that is another one (a refinement); learned: solved as the preset says for learned methods.
    """

    name: str
    correspondences: CorrespondenceFinder
    weighting: Weighting | None = None
    finishing: CorrespondenceFinder | None = None
    learned: bool = False

    def find(self, scene: Scene) -> Matches:
        """Weighted matches of a scene."""
        finishing = self.finishing is not None and scene.progress.last_level
        finder = self.finishing if finishing else self.correspondences
        matches = finder.find(scene)
        if self.weighting is None or finishing:
            return matches
        return Matches(matches.pixels, self.weighting.weigh(scene, matches), matches.flow)


MethodBuilder = Callable[[torch.device], Method]


def _dppc(device: torch.device) -> Method:
    return Method("dppc", PatchMatching())


def _deep_iterative(device: torch.device) -> Method:
    return Method("deep-iterative", FlowMatching(load_network("compact", device)), learned=True)


METHODS: dict[str, MethodBuilder] = {"dppc": _dppc, "deep-iterative": _deep_iterative}
"""Builders by name. A builder raises InputError when its weights are missing."""


def get_method(name: str, device: torch.device | str = "cpu") -> Method:
    """The method of a name, its networks on ``device``.

    Raises InputError for an unknown name, and for a learned method without trained weights, naming ``--method dppc``.
    """
    if name not in METHOD_NAMES:
        raise InputError(f"Unknown method '{name}'. Known methods: {', '.join(METHOD_NAMES)}.")
    if name not in METHODS:
        raise InputError(
            f"Method '{name}' needs trained weights, and none come with this version. Use --method dppc, which needs "
            "no training."
        )
    return METHODS[name](torch.device(device))
