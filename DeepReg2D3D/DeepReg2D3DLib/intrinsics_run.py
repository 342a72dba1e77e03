"""``register --refine-intrinsics``: the refinement of a finished registration, its files and what is said about it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from .engine.geometry_file import View, save_geometry
from .engine.intrinsics import RefinedIntrinsics, describe_intrinsics, refine_intrinsics
from .engine.methods import Method
from .engine.poses import transform_points
from .engine.presets import Preset
from .engine.registration import Iteration
from .engine.result_checks import in_words
from .engine.setup import RegistrationSetup
from .engine.xray import XRay
from .progress import Progress

EACH, SHARED = "each", "shared"
FILE = "geometry_refined.json"


@dataclass(frozen=True)
class Refinement:
    """The X-rays with their refined cameras, one more iteration with the refined pose, and what the report says."""

    xrays: list[XRay]
    iteration: Iteration
    record: list[dict[str, Any]]


def refine(
    setup: RegistrationSetup,
    xrays: Sequence[XRay],
    last: Iteration,
    how: str,
    method: Method,
    preset: Preset,
    progress: Progress,
) -> Refinement | None:
    """Refine after ``last``, telling the numbers; None, with a Python warning, where that can't be.

    how: "each" view on its own, or "shared" by all.
    """
    if len(xrays) < 2:
        warnings.warn(
            "with one view, depth and source-detector distance can't be told apart: --refine-intrinsics leaves the "
            "intrinsics as they are. Give a second view from another side.",
            stacklevel=2,
        )
        return None
    progress.note("refining the intrinsics ...")
    try:
        refined = refine_intrinsics(setup, xrays, last.ct_to_world, method=method, preset=preset, shared=how == SHARED)
    except Exception as error:  # also too little memory: the registration stands
        warnings.warn(f"the intrinsics were not refined: {in_words(error)}", stacklevel=2)
        return None
    except KeyboardInterrupt:
        warnings.warn("interrupted while the intrinsics were refined; they stay as they were given", stacklevel=2)
        return None
    for line in describe_intrinsics(refined, [xray.camera for xray in xrays]):
        progress.note(line)
    iteration = replace(
        last, index=last.index + 1, ct_to_world=refined.ct_to_world, motion_mm=_moved(setup, last.ct_to_world, refined)
    )
    return Refinement(refined.xrays(xrays), iteration, _record(refined, xrays))


def save_refined(refinement: Refinement, views: Sequence[View], folder: Path) -> Path:
    """Write geometry_refined.json, which says of every number that it was refined, and how sure it is."""
    written = []
    for view, xray, entry in zip(views, refinement.xrays, refinement.record, strict=True):
        sources = dict(view.sources) | {
            "source_to_detector_mm": f"refined: +- {entry['source_to_detector_deviation_mm']:.1f} mm",
            "principal_point_px": "refined: +- {:.1f}, {:.1f} px".format(*entry["principal_point_deviation_px"]),
        }
        written.append(replace(view, camera=replace(xray.camera, name=view.name), image=None, sources=sources))
    save_geometry(written, folder / FILE)
    return folder / FILE


def _moved(setup: RegistrationSetup, before: Tensor, refined: RefinedIntrinsics) -> float:
    points = setup.surface.points[::50].to("cpu", before.dtype)
    return float((transform_points(refined.ct_to_world, points) - transform_points(before, points)).norm(dim=-1).mean())


def _record(refined: RefinedIntrinsics, xrays: Sequence[XRay]) -> list[dict[str, Any]]:
    return [
        {
            "name": xray.name,
            "source_to_detector_mm": view.sdd,
            "source_to_detector_deviation_mm": view.sdd_deviation,
            "source_to_detector_given_mm": xray.camera.source_to_detector,
            "principal_point_px": list(view.principal_point),
            "principal_point_deviation_px": list(view.principal_deviation),
            "principal_point_given_px": list(xray.camera.principal_point),
            "determined": dict(zip(("source_to_detector", "principal_u", "principal_v"), view.determined, strict=True)),
        }
        for xray, view in zip(xrays, refined.views, strict=True)
    ]
