"""Is an X-ray the other way round than its geometry says? Where it fits poorly, its mirrored reading is tried.

A mirrored frontal image of a trunk looks much like a frontal image, so a registration finds something, and only the fit
tells: what is compared is the similarity of edges after the automatic start under either reading.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .automatic_start import automatic_start
from .errors import DegenerateError
from .rivals import judged_poses
from .setup import RegistrationSetup
from .xray import XRay

DOUBTFUL = 0.4
"""Edge similarity below which a result is worth a second look; at the truth X-rays reach 0.28 to 0.96."""
CLEARLY_BETTER = 0.1
LEAST_FIT = 0.3
JUDGED_SIDE, JUDGED_MARGIN_MM = 160, 15.0


def as_mirrored(xray: XRay) -> XRay:
    """The same image, with ``mirrored`` of its geometry the other way round."""
    intrinsics = xray.camera.intrinsics.clone()
    intrinsics[0, 0] = -intrinsics[0, 0]
    return replace(xray, camera=replace(xray.camera, intrinsics=intrinsics))


def best_fit(setup: RegistrationSetup, xray: XRay, ct_to_world: Tensor) -> float:
    """Edge similarity, -1 to 1, of the best pose that the automatic start finds around the given one (4, 4)."""
    on_device = [xray.to(setup.device)]
    try:
        pose = automatic_start(setup, on_device, ct_to_world)
    except DegenerateError:
        return -1.0
    return judged_poses(setup, on_device, [pose], JUDGED_SIDE, JUDGED_MARGIN_MM)[0]


def mirrored_warning(setup: RegistrationSetup, xray: XRay, ct_to_world: Tensor, similarity: float) -> str | None:
    """A sentence for people where another reading, or another pose, fits clearly better than a result; else None.

    similarity: of edges at the result. A result that is beyond doubt is not looked at again. Both readings are given
    the automatic start from ``ct_to_world``, so that a result that is merely at the wrong place is not blamed on the
    image.
    """
    if similarity >= DOUBTFUL:
        return None
    mirrored, declared = best_fit(setup, as_mirrored(xray), ct_to_world), best_fit(setup, xray, ct_to_world)
    if mirrored >= max(LEAST_FIT, similarity + CLEARLY_BETTER, declared + CLEARLY_BETTER):
        given, wanted = ("true", "false") if xray.camera.mirrored else ("false", "true")
        return (
            f"X-ray '{xray.name}' fits clearly better mirrored (edge similarity {mirrored:.2f}, as it is given "
            f'{max(similarity, declared):.2f}): it seems to be shown the other way round. Set "mirrored": {wanted} for '
            f"it in the geometry, which has {given}, and register again."
        )
    if declared >= max(LEAST_FIT, similarity + CLEARLY_BETTER):
        return (
            f"X-ray '{xray.name}' fits clearly better at another pose (edge similarity {declared:.2f}, the result "
            f"{similarity:.2f}): register again from the automatic start (--init auto), or from a better first pose."
        )
    return None
