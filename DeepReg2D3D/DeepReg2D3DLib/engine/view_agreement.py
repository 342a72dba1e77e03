"""Whether the views of a joint registration agree: how far each would rather have the CT than all of them together.

A view whose geometry is wrong, whose image is another, or before which the patient moved, pulls the joint pose away
from where the others have it. Registered alone, each view shows where it would have the CT; what counts is the distance
across its own rays, which is all that one view is sure of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import DegenerateError, InputError
from .methods import Method
from .metrics import mrpd
from .presets import Preset, get_preset
from .registration import register
from .rivals import judged_poses
from .setup import RegistrationSetup
from .watch import working_on
from .xray import XRay

LEAST_OFFSET_MM = 1.0
"""Views that agree differ by 0.1 to 0.5 mm, for noise and for what is coarse about pixels and voxels."""
LEAST_GAIN = 0.01
"""A view that would rather have the CT elsewhere must look better there: edge similarity."""
NAMED_RATIO = 1.6
"""Of three or more views the one that is off by this many times the next one is named."""
POOR = 0.2
"""Edge similarity below which a view shows hardly anything of the CT."""
JUDGED_SIDE, JUDGED_MARGIN_MM = 160, 15.0
POINTS = 300


@dataclass(frozen=True)
class ViewAgreement:
    """One view of a joint registration.

    similarity: of edges at the joint pose, -1 to 1; alone: the same where the view alone would have the CT; offset_mm:
    how far that is from the joint pose, across the view's rays. pose: ct_to_world (4, 4) of the view alone.
    """

    name: str
    similarity: float
    alone: float
    offset_mm: float
    pose: Tensor

    @property
    def disagrees(self) -> bool:
        """Whether it would rather have the CT elsewhere."""
        return self.offset_mm > LEAST_OFFSET_MM and self.alone > self.similarity + LEAST_GAIN

    @property
    def poor(self) -> bool:
        """Whether it hardly shows the CT, here or nearby."""
        return max(self.similarity, self.alone) < POOR


def view_agreements(
    setup: RegistrationSetup,
    xrays: Sequence[XRay],
    ct_to_world: Tensor,
    *,
    method: str | Method = "deep-iterative",
    preset: str | Preset = "accurate",
) -> list[ViewAgreement]:
    """How each view stands to the pose (4, 4) of a joint registration: one short registration a view, from there."""
    preset = get_preset(preset) if isinstance(preset, str) else preset
    last = replace(preset, search=None, wide=None, levels=preset.levels[-1:], exact_steps=False, judged=False)
    points = setup.surface.points[:: max(1, len(setup.surface) // POINTS)].to("cpu", torch.float64)
    agreements = []
    for xray in xrays:
        alone = ct_to_world
        try:
            for step in register(None, [xray], ct_to_world, method=method, preset=last, setup=setup):
                working_on("Comparing the views")
                alone = step.ct_to_world
        except (DegenerateError, InputError):  # alone it can't be registered from there: its source lies in the CT
            pass
        on_device = [xray.to(setup.device)]
        here, there = judged_poses(setup, on_device, [ct_to_world, alone], JUDGED_SIDE, JUDGED_MARGIN_MM)
        offset = mrpd(alone, ct_to_world, points, xray.camera)
        agreements.append(ViewAgreement(xray.name, here, there, offset, alone))
    return agreements


def describe_disagreement(agreements: Sequence[ViewAgreement]) -> list[str]:
    """Sentences for people: which view disagrees, and by how much; none where all agree, or for a single view."""
    if len(agreements) < 2:
        return []
    told = [
        f"view '{view.name}' shows hardly anything of the CT at the pose that fits the other views (edge similarity "
        f"{max(view.similarity, view.alone):.2f}): is it the right image, the right way round, and its geometry right?"
        for view in agreements
        if view.poor
    ]
    if len(told) == len(agreements):
        return []  # the registration failed as a whole, which its status says
    usable = [view for view in agreements if not view.poor]
    far = sorted((view for view in usable if view.disagrees), key=lambda view: -view.offset_mm)
    if not far or len(usable) < 2:
        return told
    others = [view.offset_mm for view in usable if view is not far[0]]
    if len(usable) > 2 and far[0].offset_mm > NAMED_RATIO * max(others):
        told.append(
            f"view '{far[0].name}' disagrees with the others: alone it has the CT {far[0].offset_mm:.1f} mm from where "
            f"all fit best together (the others {max(others):.1f} mm at most). Check its geometry, and whether the "
            "patient or the table moved before it was taken."
        )
    else:
        distances = ", ".join(f"'{view.name}' {view.offset_mm:.1f} mm" for view in usable)
        told.append(
            f"the views do not agree: alone, each has the CT elsewhere than all together ({distances}). The geometry "
            "of one of them is wrong, or the patient or the table moved between them."
        )
    return told
