"""Does a network do better than another one? Judged on the same held-out samples, start by start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .ppc_step import ppc_step, projection_distance
from .samples import SampleBatch
from .tasks import Task, network_input

LEAST_GAIN = 0.02
"""An error that falls by less than this share is not worth a file of weights."""
CERTAINTY = 1.645
"""Standard errors that the gain must keep above zero: 95 %, one-sided."""
_FLOOR_MM = 0.1
"""Errors below this are all as good."""


@dataclass(frozen=True)
class Errors:
    """What a network leaves on every held-out start, all (S,): flow error along the normals in pixels, mRPD in mm
    before and after one step, and the index of the X-ray that the start belongs to."""

    flow_px: Tensor
    before_mm: Tensor
    after_mm: Tensor
    xray: Tensor

    def summary(self) -> dict[str, float]:
        """Means and medians for people and for curves."""
        return {
            "flow_px": round(float(self.flow_px.mean()), 4),
            "start_mm": round(float(self.before_mm.median()), 4),
            "step_mm": round(float(self.after_mm.median()), 4),
            "below_2mm": round(float((self.after_mm < 2).double().mean()), 4),
        }

    @property
    def score(self) -> float:
        """Mean logarithm of the error after one step: what is judged, smaller is better."""
        return float((self.after_mm + _FLOOR_MM).log().mean())


@torch.no_grad()
def held_out_errors(task: Task, network: nn.Module, batches: Sequence[SampleBatch]) -> Errors:
    """The errors of a network on fixed samples."""
    network.eval()
    found: list[list[Tensor]] = [[], [], [], []]
    first = 0
    for batch in batches:
        given = network_input(batch)
        estimate, weights = task.answer(network, batch, given)
        moved = ppc_step(batch, batch.start, given.pixels + estimate.flow, weights)
        off = ((estimate.flow.float() - given.flow) * given.normals).sum(-1).abs()
        flow = (off * given.weights).sum(-1) / given.weights.sum(-1).clamp_min(1e-6)
        after = projection_distance(moved, batch)
        after = torch.where(torch.isfinite(after), after, torch.full_like(after, 1e3))
        parts = (flow.double(), projection_distance(batch.start, batch), after, batch.xray_index + first)
        for values, part in zip(found, parts, strict=True):
            values.append(part.cpu())
        first += len(batch.xray)
    return Errors(*(torch.cat(values) for values in found))


@dataclass(frozen=True)
class Verdict:
    """Whether the new network is better. gain: share by which its typical error is smaller (negative: larger), with
    the ends of a 90 % interval."""

    gain: float
    low: float
    high: float

    @property
    def helps(self) -> bool:
        """Better by a noticeable share, and surely not worse."""
        return self.gain >= LEAST_GAIN and self.low > 0


def compare(old: Errors, new: Errors) -> Verdict:
    """Compare two networks on the same samples by the error after one step.

    Starts of one X-ray share its difficulty, so each X-ray counts as one observation.
    """
    change = (new.after_mm + _FLOOR_MM).log() - (old.after_mm + _FLOOR_MM).log()
    groups = [change[old.xray == x].mean() for x in old.xray.unique()]
    values = torch.stack(groups)
    mean = float(values.mean())
    spread = CERTAINTY * float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Verdict(1 - math.exp(mean), 1 - math.exp(min(mean + spread, 50.0)), 1 - math.exp(mean - spread))
