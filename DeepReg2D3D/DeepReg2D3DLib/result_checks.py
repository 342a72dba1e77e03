"""Second looks at a finished registration: do its views agree, and is an X-ray shown the other way round?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .engine.methods import Method
from .engine.mirrored import DOUBTFUL, mirrored_warning
from .engine.poses import degrees, rotation_angle
from .engine.presets import Preset
from .engine.rivals import judged_poses
from .engine.setup import RegistrationSetup
from .engine.view_agreement import ViewAgreement, describe_disagreement, view_agreements
from .engine.xray import XRay
from .progress import Progress

TURNED_DEG = 90.0
"""A result turned by more than this from the first pose found the patient another way round."""
_JUDGED_SIDE, _JUDGED_MARGIN_MM = 160, 15.0


@dataclass(frozen=True)
class ResultChecks:
    """What was found. agreements: one a view where there are several."""

    warnings: tuple[str, ...] = ()
    agreements: tuple[ViewAgreement, ...] = ()


def check_result(
    setup: RegistrationSetup,
    xrays: Sequence[XRay],
    start: Tensor,
    result: Tensor,
    method: Method,
    preset: Preset,
    progress: Progress,
) -> ResultChecks:
    """Look again at a result (4, 4) that was begun from ``start``; what doubts it is told and returned.

    setup: of what was registered. Nothing found where an interruption cuts it short: the result stands.
    """
    told: list[str] = []
    agreements: list[ViewAgreement] = []
    try:
        turn = degrees(float(rotation_angle(result[:3, :3] @ start[:3, :3].T)))
        if turn > TURNED_DEG:
            told.append(
                f"the CT was found turned by {turn:.0f} degrees from its first pose: check which way round the patient "
                "lies, and look at the pictures."
            )
        if len(xrays) > 1:
            progress.note("comparing the views ...")
            agreements = view_agreements(setup, xrays, result, method=method, preset=preset)
            similarities = [view.similarity for view in agreements]
        else:
            on_device = [xrays[0].to(setup.device)]
            similarities = judged_poses(setup, on_device, [result], _JUDGED_SIDE, _JUDGED_MARGIN_MM)
        told += describe_disagreement(agreements)
        for xray, similarity in zip(xrays, similarities, strict=True):
            if similarity < DOUBTFUL:
                progress.note(f"trying '{xray.name}' mirrored ...")
                sentence = mirrored_warning(setup, xray, start, similarity)
                told += [] if sentence is None else [sentence]
    except KeyboardInterrupt:
        told.append("interrupted while the result was looked at again; the pose is that of the finished registration")
    for sentence in told:
        progress.note(f"warning: {sentence}")
    return ResultChecks(tuple(told), tuple(agreements))
