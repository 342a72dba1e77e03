"""Fit the confidence's coefficients to measured results of known error, and say how well they tell them apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from DeepReg2D3DLib.engine.confidence import RED_BELOW, probability_of
from DeepReg2D3DLib.engine.confidence_signals import SIGNALS
from DeepReg2D3DLib.engine.metrics import SUCCESS_MRPD
from DeepReg2D3DLib.engine.self_check import SelfCheck
from DeepReg2D3DLib.engine.uncertainty import Uncertainty
from torch import Tensor

NAMES = tuple(signal.name for signal in SIGNALS)
DIRECTIONS = ("in_plane_mm", "depth_mm", "turn_in_plane_deg", "turn_out_of_plane_deg")
RIDGE = 0.004
"""Penalty on the mean squared weight: it keeps them finite where the samples can be told apart entirely, and shares
the weight among signals that say the same."""
STEPS = 1500


@dataclass(frozen=True)
class Sample:
    """One result. check: None where nothing could be measured. errors: true ones by direction."""

    subject: str
    kind: str
    mrpd: float
    check: SelfCheck | None
    errors: dict[str, float]

    @property
    def success(self) -> bool:
        return self.mrpd <= SUCCESS_MRPD

    @property
    def hopeless(self) -> bool:
        return self.mrpd > 900


def samples_from(results: Sequence[dict], checks: Sequence[dict]) -> list[Sample]:
    """Samples of all results that were measured."""
    measured = {row["id"]: row["check"] for row in checks}
    samples = []
    for row in results:
        if row["pose"] is None or row["id"] not in measured:
            continue
        numbers = measured[row["id"]]
        check = None
        if numbers is not None:
            check = SelfCheck(**{**numbers, "uncertainty": Uncertainty(**numbers["uncertainty"])})
        samples.append(Sample(row["subject"], row["kind"], row["mrpd"], check, row["errors"]))
    return samples


def signals_of(samples: Sequence[Sample]) -> Tensor:
    """(N, signals) from 0 to 1."""
    return torch.tensor([[signal.scaled(sample.check) for signal in SIGNALS] for sample in samples]).double()


def fit(samples: Sequence[Sample]) -> tuple[Tensor, float]:
    """Weights (signals,), none negative, and the intercept of a logistic model; successes and failures weigh alike."""
    x = signals_of(samples)
    y = torch.tensor([float(sample.success) for sample in samples]).double()
    share = torch.where(y > 0.5, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    weights = torch.ones(len(NAMES), dtype=torch.float64, requires_grad=True)
    intercept = torch.full((), -5.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([weights, intercept], lr=0.1)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / STEPS)
        optimiser.zero_grad()
        odds = x @ weights + intercept
        loss = (share * torch.nn.functional.binary_cross_entropy_with_logits(odds, y, reduction="none")).sum()
        (loss + RIDGE * weights.square().mean()).backward()
        optimiser.step()
        with torch.no_grad():
            weights.clamp_(min=0.0)
    return weights.detach(), float(intercept.detach())


def probabilities(samples: Sequence[Sample], weights: Tensor, intercept: float) -> Tensor:
    """(N,) of each sample; 0 where nothing could be measured."""
    by_name = dict(zip(NAMES, weights.tolist(), strict=True))
    return torch.tensor(
        [0.0 if s.check is None else probability_of(s.check, by_name, intercept) for s in samples], dtype=torch.float64
    )


def left_out(samples: Sequence[Sample]) -> Tensor:
    """(N,) probabilities from models that have not seen any sample of the same subject."""
    found = torch.zeros(len(samples), dtype=torch.float64)
    for subject in {sample.subject for sample in samples}:
        rest = [sample for sample in samples if sample.subject != subject and sample.check is not None]
        mine = [index for index, sample in enumerate(samples) if sample.subject == subject]
        found[mine] = probabilities([samples[index] for index in mine], *fit(rest))
    return found


def summary(samples: Sequence[Sample], p: Tensor) -> str:
    """Flagged shares of successes and of failures by kind, and how the probabilities agree with what happened."""
    lines = [f"{'kind':<14}{'flagged successes':>20}{'flagged failures':>20}"]
    groups = {
        kind: [i for i, s in enumerate(samples) if s.kind == kind] for kind in dict.fromkeys(s.kind for s in samples)
    }
    groups["ordinary"] = [i for i, s in enumerate(samples) if not s.hopeless]
    groups["hopeless"] = [i for i, s in enumerate(samples) if s.hopeless]
    for kind, members in groups.items():
        cells = []
        for wanted in (True, False):
            chosen = [i for i in members if samples[i].success is wanted]
            flagged = sum(float(p[i]) < RED_BELOW for i in chosen)
            cells.append(f"{flagged} of {len(chosen)}" if chosen else "-")
        lines.append(f"{kind:<14}{cells[0]:>20}{cells[1]:>20}")
    ordinary = groups["ordinary"]
    lines.append("confidence of ordinary results, and the share that succeeded:")
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01)):
        chosen = [i for i in ordinary if low <= float(p[i]) < high]
        if chosen:
            share = sum(samples[i].success for i in chosen) / len(chosen)
            mean = sum(float(p[i]) for i in chosen) / len(chosen)
            lines.append(f"  {low:.1f} to {min(high, 1):.1f}: mean {mean:.2f}, succeeded {share:.2f} of {len(chosen)}")
    return "\n".join(lines)


def spreads(samples: Sequence[Sample]) -> tuple[dict[str, float], dict[str, float]]:
    """Factors and floors that turn measured into real standard deviations, from the ordinary successes.

    The floor is half the error that two thirds keep; the factor makes two thirds of the errors less than the scaled
    standard deviation.
    """
    good = [s for s in samples if s.success and s.check is not None and s.kind != "truth"]
    factors, floors = {}, {}
    for name in DIRECTIONS:
        errors = torch.tensor([s.errors[name] for s in good])
        sigmas = torch.tensor([getattr(s.check.uncertainty, name) for s in good])
        floor = 0.5 * float(errors.quantile(0.68))
        ratio = (errors.square() - floor**2).clamp_min(0).sqrt() / sigmas.clamp_min(1e-6)
        factors[name], floors[name] = float(ratio.quantile(0.68)), floor
    return factors, floors


def write_model(path: Path, samples: Sequence[Sample], weights: Tensor, intercept: float) -> None:
    """confidence_model.py with the coefficients."""
    factors, floors = spreads(samples)

    def table(values: dict[str, float]) -> str:
        return "{\n" + "".join(f'    "{name}": {value:.4g},\n' for name, value in values.items()) + "}"

    successes = sum(s.success for s in samples)
    hopeless = sum(s.hopeless for s in samples)
    subjects = len({s.subject for s in samples})
    text = f'''"""The coefficients of the confidence, written by Testing/benchmarks/calibrate_confidence.py."""

MADE_FROM = (
    "{len(samples)} simulated results on {subjects} subjects: {successes} successes, "
    "{len(samples) - successes - hopeless} ordinary failures, {hopeless} hopeless inputs"
)
INTERCEPT = {intercept:.4g}
WEIGHTS = {table(dict(zip(NAMES, weights.tolist(), strict=True)))}
SPREAD = {table(factors)}
"""Factors between the standard deviations of the PPC solution and the errors that successful results really have."""
FLOOR = {table(floors)}
"""Added in squares: errors that no residual shows."""
'''
    path.write_text(text)


def worst(samples: Sequence[Sample], p: Tensor, count: int = 8) -> str:
    """The results that are judged most wrongly."""
    odds = [(abs(float(p[i]) - float(s.success)), i) for i, s in enumerate(samples)]
    rows = []
    for _, i in sorted(odds, reverse=True)[:count]:
        s = samples[i]
        error = "hopeless" if s.hopeless else f"{s.mrpd:.2f} mm"
        rows.append(f"  {s.subject} {s.kind}: {error}, confidence {float(p[i]):.2f}")
    return "\n".join(rows) if math.isfinite(float(p.sum())) else "not finite"
