"""Second looks at a finished registration: do its views agree, and is an X-ray shown the other way round?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from .confidence import Confidence
from .errors import DeepReg2D3DError
from .methods import Method
from .mirrored import DOUBTFUL, mirrored_warning
from .poses import degrees, rotation_angle
from .presets import Preset
from .rivals import judged_poses
from .setup import RegistrationSetup
from .view_agreement import ViewAgreement, describe_disagreement, view_agreements
from .xray import XRay

TURNED_DEG = 90.0
"""A result turned by more than this from the first pose found the patient another way round."""
DISAGREEMENT = "the views do not agree: see the warnings"
"""Why a result is yellow that would be green otherwise."""
_JUDGED_SIDE, _JUDGED_MARGIN_MM = 160, 15.0


@dataclass(frozen=True)
class ResultChecks:
    """What was found. agreements: one a view where there are several."""

    warnings: tuple[str, ...] = ()
    agreements: tuple[ViewAgreement, ...] = ()

    def applied_to(self, judged: Confidence | None) -> Confidence | None:
        """The confidence in the result with its light: at most yellow where the views do not agree."""
        if judged is None or judged.light != "green" or not describe_disagreement(self.agreements):
            return judged
        return replace(judged, light="yellow", reasons=(DISAGREEMENT,))


def check_result(
    setup: RegistrationSetup,
    xrays: Sequence[XRay],
    start: Tensor,
    result: Tensor,
    method: Method,
    preset: Preset,
    tell: Callable[[str], None] = lambda text: None,
) -> ResultChecks:
    """Look again at a result (4, 4) that was begun from ``start``; returns what doubts it.

    setup: of what was registered. tell: is given what is going on. Where an interruption or an error cuts it short,
    that is told: the result stands.
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
            tell("comparing the views ...")
            agreements = view_agreements(setup, xrays, result, method=method, preset=preset)
            similarities = [view.similarity for view in agreements]
        else:
            on_device = [xrays[0].to(setup.device)]
            similarities = judged_poses(setup, on_device, [result], _JUDGED_SIDE, _JUDGED_MARGIN_MM)
        told += describe_disagreement(agreements)
        for xray, similarity in zip(xrays, similarities, strict=True):
            if similarity < DOUBTFUL:
                tell(f"trying '{xray.name}' mirrored ...")
                sentence = mirrored_warning(setup, xray, start, similarity)
                told += [] if sentence is None else [sentence]
    except KeyboardInterrupt:
        told.append("interrupted while the result was looked at again; the pose is that of the finished registration")
    except Exception as error:  # too little memory, above all
        told.append(
            f"the result was not looked at again to the end ({in_words(error)}): whether the views agree and none is "
            "mirrored is not known; the pose is that of the finished registration"
        )
    return ResultChecks(tuple(told), tuple(agreements))


def in_words(error: Exception) -> str:
    """An error in one line, with its kind where it is none that the giver of the inputs can mend."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, DeepReg2D3DError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
