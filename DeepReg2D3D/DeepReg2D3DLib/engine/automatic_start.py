"""A first pose that nobody has to set: the wide search, the usual one, and a few steps to choose among their finds."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .presets import get_preset, with_automatic_start
from .registration import register
from .setup import RegistrationSetup
from .wide_search import centred_pose
from .xray import XRay

METHOD = "dppc"
"""Needs no weights, and what it finds is the start for any method."""


def automatic_start(setup: RegistrationSetup, xrays: Sequence[XRay], ct_to_world: Tensor) -> Tensor:
    """ct_to_world (4, 4) float64 near the truth, from one that may be off by 150 mm and 30 degrees.

    ``ct_to_world`` tells the orientation roughly (supine or prone, head up or down). Raises as ``register`` does.
    """
    ct_to_world = centred_pose(setup, xrays[0], ct_to_world)  # so that the CT is in the picture at all
    preset = with_automatic_start(get_preset("accurate"))
    steps = register(None, xrays, ct_to_world, method=METHOD, preset=preset, setup=setup)
    pose = ct_to_world
    for step in steps:
        pose = step.ct_to_world
        if step.index == 1:
            break
    steps.close()
    return pose
