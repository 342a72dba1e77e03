"""Peaks of correlations over all shifts, at the same place and at others, and of poses that differ in turn."""

import math

import pytest
import torch
from DeepReg2D3DLib.engine.picture_shifts import separate_peaks, separate_places
from DeepReg2D3DLib.engine.poses import motion_about


def turned(*degrees: float) -> torch.Tensor:
    still = torch.zeros(3, dtype=torch.float64)
    return torch.stack(
        [motion_about(torch.tensor([0.0, 0.0, math.radians(d)]).double(), still, still) for d in degrees]
    )


def bump(row: int, column: int, height: float) -> torch.Tensor:
    """A round hill in a map (40, 50)."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    return height * torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18)


def test_peaks_are_apart():
    found = separate_peaks(bump(10, 10, 1.0) + bump(30, 35, 0.5), 2, 4)
    assert [(row, column) for row, column, _ in found] == [(10, 10), (30, 35)]
    assert [score for *_, score in found] == pytest.approx([1.0, 0.5], abs=1e-3)


def test_a_turn_does_not_hide_another_at_the_same_place():
    scores = torch.stack([bump(10, 10, 1.0), bump(11, 12, 0.9), bump(10, 11, 0.8) + bump(30, 35, 0.3)])
    poses = turned(0.0, 5.0, 20.0)
    found = separate_places(scores, poses, 9, 4, turns_apart_deg=12.0)
    kept = [(pose, row, column) for pose, row, column, score in found if score > 0.1]
    assert kept == [(0, 10, 10), (2, 10, 11), (2, 30, 35)]  # 5 degrees off at the same place: hidden
    nearer = separate_places(scores, poses, 9, 4, turns_apart_deg=4.0)
    assert [(pose, row, column) for pose, row, column, score in nearer if score > 0.1] == [
        (0, 10, 10),
        (1, 11, 12),
        (2, 10, 11),
        (2, 30, 35),
    ]


def test_no_more_than_asked_and_best_first():
    scores = torch.stack([bump(5, 5, 0.2) + bump(20, 20, 0.7), bump(35, 45, 0.4)])
    found = separate_places(scores, turned(0.0, 1.0), 2, 4, turns_apart_deg=10.0)
    assert [(pose, row, column) for pose, row, column, _ in found] == [(0, 20, 20), (1, 35, 45)]
