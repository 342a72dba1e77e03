"""report.json: what a registration did, step by step, with what and how long, in JSON numbers only."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy
import SimpleITK
import torch

from .. import __version__

if TYPE_CHECKING:
    from .confidence import Confidence
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

    ``confidence`` is the probability that the mRPD is 2 mm or less, null where the run was stopped before it could
    judge itself; ``confidence_light``, ``confidence_reasons`` and ``uncertainty`` (one standard deviation in each
    direction) say it for people; ``confidence_signals`` are what it is made of, each from 0 (bad) to 1, and
    ``confidence_components`` what was measured. A measurement that has no value is null; those of
    ``iterations`` are always numbers.
    """
    first, last = iterations[0], iterations[-1]
    judged = last.confidence
    report = {
        "format": FORMAT,
        "version": 1,
        "status": facts.status,
        "method": facts.method,
        "preset": facts.preset,
        "device": facts.device,
        "ct_to_world": last.ct_to_world.tolist(),
        "iterations": [_entry(iteration) for iteration in iterations],
        **_confidence(judged),
        "confidence_components": {
            "similarity_start": _number(first.similarity),
            "similarity_end": _number(last.similarity),
            "similarity_gain": _number(last.similarity - first.similarity),
            "points": int(last.points),
            "last_motion_mm": _number(last.motion_mm),
            **({} if judged is None else {name: _number(value) for name, value in judged.measurements.items()}),
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


def _confidence(judged: Confidence | None) -> dict[str, Any]:
    if judged is None:
        return dict.fromkeys(("confidence", "confidence_light", "uncertainty"), None) | {
            "confidence_reasons": [],
            "confidence_signals": {},
        }
    sure = None if judged.uncertainty is None else {n: _number(v) for n, v in asdict(judged.uncertainty).items()}
    return {
        "confidence": _number(judged.probability),
        "confidence_light": judged.light,
        "confidence_reasons": list(judged.reasons),
        "confidence_signals": {name: _number(value) for name, value in judged.signals.items()},
        "uncertainty": sure,
    }


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
        "motion_mm": _number(iteration.motion_mm) or 0.0,
        "points": int(iteration.points),
        "similarity": _number(iteration.similarity) or 0.0,
        "seconds": _number(iteration.seconds),
    }


def _number(value: float) -> float | None:
    """A JSON number; null for what could not be measured (NaN or infinite), for 0 might be the best value there is."""
    value = float(value)
    return value if math.isfinite(value) else None
