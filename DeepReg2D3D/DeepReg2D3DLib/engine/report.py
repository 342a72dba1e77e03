"""report.json: what a registration did, step by step, with what and how long, in JSON numbers only."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy
import SimpleITK
import torch

from .. import __version__

if TYPE_CHECKING:
    from .registration import Iteration
    from .view_agreement import ViewAgreement

FORMAT = "deepreg2d3d-report"


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds: reading the files, preparing what depends on the CT alone, and the registration itself."""

    load: float
    setup: float
    register: float


@dataclass(frozen=True)
class RunFacts:
    """What a report says beside the iterations. status: converged, stopped or unreliable; region: the name of the one
    structure that was registered (None: the whole CT); adapted: SHA-256 of networks used in place of the installed
    ones, by name; agreements: of several views, one each."""

    status: str
    method: str
    preset: str
    device: str
    seconds: Seconds
    warnings: Sequence[str] = field(default_factory=tuple)
    region: str | None = None
    adapted: Mapping[str, str] = field(default_factory=dict)
    agreements: Sequence[ViewAgreement] = ()


def build_report(iterations: Sequence[Iteration], facts: RunFacts) -> dict[str, Any]:
    """The content of report.json. Entry 0 of ``iterations`` is the start; the last one holds the result.

    ``confidence`` is null until it is calibrated; ``confidence_components`` are the numbers it will be made of:
    similarity at the start and at the end, its gain, correspondences and motion of the last step.
    """
    first, last = iterations[0], iterations[-1]
    report = {
        "format": FORMAT,
        "version": 1,
        "status": facts.status,
        "method": facts.method,
        "preset": facts.preset,
        "device": facts.device,
        "ct_to_world": last.ct_to_world.tolist(),
        "iterations": [_entry(iteration) for iteration in iterations],
        "confidence": None,
        "confidence_components": {
            "similarity_start": _number(first.similarity),
            "similarity_end": _number(last.similarity),
            "similarity_gain": _number(last.similarity - first.similarity),
            "points": int(last.points),
            "last_motion_mm": _number(last.motion_mm),
        },
        "seconds": {
            "load": _number(facts.seconds.load),
            "setup": _number(facts.seconds.setup),
            "register": _number(facts.seconds.register),
        },
        "warnings": list(facts.warnings),
        "versions": versions(),
    }
    if facts.region is not None:
        report["region"] = facts.region
    if facts.adapted:
        report["adapted_weights"] = dict(facts.adapted)
    if facts.agreements:
        report["views"] = [
            {
                "name": view.name,
                "edge_similarity": _number(view.similarity),
                "edge_similarity_alone": _number(view.alone),
                "offset_mm": _number(view.offset_mm),
            }
            for view in facts.agreements
        ]
    return report


def versions() -> dict[str, str]:
    """Versions of this program, Python and the libraries that compute."""
    return {
        "deepreg2d3d": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "SimpleITK": SimpleITK.Version_VersionString(),
    }


def _entry(iteration: Iteration) -> dict[str, Any]:
    return {
        "ct_to_world": iteration.ct_to_world.tolist(),
        "motion_mm": _number(iteration.motion_mm),
        "points": int(iteration.points),
        "similarity": _number(iteration.similarity),
        "seconds": _number(iteration.seconds),
    }


def _number(value: float) -> float:
    """A JSON number. What was not measured (NaN: the start's motion, the similarity of an empty image) counts 0."""
    value = float(value)
    return value if math.isfinite(value) else 0.0
