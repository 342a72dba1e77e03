"""One registration of an evaluation: the files read once per case, the run, and its errors against the truth."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from ..engine.case_file import load_case
from ..engine.confidence import Confidence
from ..engine.device import resolve_device
from ..engine.geometry_file import load_geometry
from ..engine.methods import get_method
from ..engine.metrics import SUCCESS_MRPD, mrpd, mtre
from ..engine.registration import RegistrationSetup, register
from ..engine.volume_io import load_volume
from ..engine.xray_io import load_xray
from .records import JOINT, Record
from .starts import truth_of


@dataclass(frozen=True)
class Trial:
    """A registration to be done. view: a view's name, or 'joint' for all. pose: ct_to_world as nested lists.

    weights: a folder of networks that stand in for the installed ones of the same name.
    """

    folder: Path
    case: str
    view: str
    method: str
    preset: str
    device: str
    start_id: str
    pose: tuple[tuple[float, ...], ...]
    initial_mtre: float
    weights: Path | None = None

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """As ``Record.key``."""
        return self.case, self.view, self.method, self.preset, self.start_id

    @property
    def group(self) -> tuple[str, str, str]:
        """Trials of one group share what is kept in memory."""
        return self.case, self.view, self.method


@dataclass(frozen=True)
class Outcome:
    """The row of a registration and where it ended (ct_to_world as nested lists; None where it failed)."""

    record: Record
    pose: tuple[tuple[float, ...], ...] | None


def run_trial(trial: Trial) -> Outcome:
    """Register once and measure. Whatever ``register`` raises goes on to the caller, who counts it as a failure."""
    case, volume, xrays, setup = prepared_case(trial.folder, trial.device)
    truth, targets = truth_of(case)
    used = [xray for xray in xrays if trial.view in (JOINT, xray.name)]
    began = time.perf_counter()
    run = register(
        volume,
        used,
        torch.tensor(trial.pose, dtype=torch.float64),
        method=get_method(trial.method, setup.device, trial.weights),
        preset=trial.preset,
        device=trial.device,
        setup=setup,
    )
    (last,) = deque(run, maxlen=1)  # earlier iterations carry images that nobody needs here
    seconds = time.perf_counter() - began
    final = last.ct_to_world
    distance = sum(mrpd(final, truth, targets, xray.camera) for xray in used) / len(used)
    record = _record(trial, mtre(final, truth, targets), distance, seconds, last.index, last.status, last.confidence)
    return Outcome(record, tuple(tuple(row) for row in final.tolist()))


def failed(trial: Trial) -> Outcome:
    """Of a registration that crashed or was refused."""
    return Outcome(_record(trial, math.nan, math.nan, math.nan, 0, "failed", None), None)


def _record(
    trial: Trial,
    final_mtre: float,
    final_mrpd: float,
    seconds: float,
    iterations: int,
    status: str,
    judged: Confidence | None,
) -> Record:
    return Record(
        case=trial.case,
        view=trial.view,
        method=trial.method,
        preset=trial.preset,
        start_id=trial.start_id,
        initial_mtre_mm=trial.initial_mtre,
        final_mtre_mm=final_mtre,
        final_mrpd_mm=final_mrpd,
        success=int(final_mrpd <= SUCCESS_MRPD),
        seconds=seconds,
        iterations=iterations,
        status=status,
        confidence=math.nan if judged is None else judged.probability,
    )


@lru_cache(maxsize=1)
def prepared_case(folder: Path, device: str):
    """(case, volume, X-rays, setup), kept for the case at hand only: a CT may fill much memory."""
    case = load_case(folder)
    volume = load_volume(case.ct)
    xrays = [load_xray(view.image, view.camera, view.image_kind, view.frame) for view in load_geometry(case.geometry)]
    return case, volume, xrays, RegistrationSetup.prepare(volume, resolve_device(device))
