"""Registration of one structure: the whole CT first, then the structure alone from where that put it.

A vertebra alone looks much like its neighbours, so the whole CT decides which one it is; after that only the structure
counts, wherever the others went.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from .confidence import no_confidence
from .device import resolve_device
from .errors import DegenerateError, InputError
from .level import Level
from .methods import Method, get_method
from .presets import Preset, get_preset
from .registration import Iteration, register
from .rivals import judged_poses
from .search import SearchSettings
from .setup import RegistrationSetup
from .xray import XRay

NEAR = SearchSettings(
    margin_mm=30.0,
    out_of_plane_deg=(-5.0, 0.0, 5.0),
    in_plane_deg=(-8.0, -4.0, 0.0, 4.0, 8.0),
    largest_shift_mm=14.0,
    apart_mm=5.0,
    trial=Level(112, 4, 22.0, (10.0, 6.0), (1e-2, 1e-2)),
    judged_margin_mm=8.0,
)
"""The search once the whole CT is in place: a joint's motion, less than half the distance of two vertebrae."""
MARGIN_MM = 22.0
LEAST_DAMPING = (1e-2, 1e-3)
"""A structure is flat in depth beside a whole CT: one view says so little about its depth that it would creep away."""
CLEARLY_BETTER = 0.15


def near_preset(preset: Preset) -> Preset:
    """The preset for a structure that is nearly in place: a narrow search and none beyond, or it might end at a
    neighbour; and little beside it in the picture."""
    levels = []
    for number, level in enumerate(preset.levels):
        damping = tuple(max(d, least) for d, least in zip(level.damping, LEAST_DAMPING, strict=True))
        damping = level.damping if number else damping
        levels.append(replace(level, margin_mm=min(level.margin_mm, MARGIN_MM), damping=damping))
    search = None if preset.search is None else NEAR
    near = replace(preset, search=search, wide=None, again=(), last_resort=None, other_places=0)
    return replace(near, levels=tuple(levels))


def register_structure(
    setup: RegistrationSetup,
    structure: RegistrationSetup,
    xrays: Sequence[XRay],
    ct_to_world: Tensor,
    *,
    method: str | Method = "deep-iterative",
    preset: str | Preset = "accurate",
) -> Iterator[Iteration]:
    """Register a structure of the CT from a rough pose (4, 4), step by step, as ``register`` does a whole CT.

    setup: of the whole CT; structure: of the structure alone (``structure_setup``). The pose that comes out is the
    structure's: the rest of the CT moves with it, rightly or wrongly. Raises as ``register`` does, and ends unreliable
    where the structure is in none of the pictures at the pose of the whole CT.
    """
    preset = get_preset(preset) if isinstance(preset, str) else preset
    method = get_method(method, resolve_device(setup.device)) if isinstance(method, str) else method
    rough = replace(preset, levels=preset.levels[:1])
    index, poses, last = 0, [], None
    for iteration in register(None, xrays, ct_to_world, method=method, preset=rough, setup=setup):
        yield replace(iteration, final=False, status="", confidence=None)
        index, last = iteration.index, iteration
        poses.append(iteration.ct_to_world)
    assert last is not None
    # Where the others moved far, the given pose may suit the structure better than the one that suits them.
    rivals = [poses[-1], poses[0]]
    scores = judged_poses(
        structure, [x.to(setup.device) for x in xrays], rivals, NEAR.judged_side, NEAR.judged_margin_mm
    )
    best = rivals[1] if scores[1] > scores[0] + CLEARLY_BETTER else rivals[0]
    try:
        for iteration in register(None, xrays, best, method=method, preset=near_preset(preset), setup=structure):
            if iteration.index > 0 or best is not poses[-1]:
                index += 1
                yield replace(iteration, index=index)
    except (DegenerateError, InputError):
        # Before its first step: where the whole CT lies now, the X-ray doesn't show this part of it.
        doubt = no_confidence("the region alone is not in the X-ray's field where the whole CT was found to lie")
        yield replace(last, index=index + 1, motion_mm=0.0, final=True, status="unreliable", confidence=doubt)
