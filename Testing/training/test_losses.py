"""Losses: values worked out by hand."""

import math

import pytest
import torch
from DeepReg2D3DLib.engine.poses import motion_about
from DeepReg2D3DLib.training.losses import (
    end_point_error,
    flow_loss,
    matching_loss,
    normal_error,
    projection_loss,
    registration_loss,
)

ACROSS = torch.tensor([[[1.0, 0.0]]])
ONE = torch.ones(1, 1)


def test_errors_along_the_normal_and_whole():
    flow, target = torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1, 2)
    assert normal_error(flow, target, ACROSS, ONE).item() == pytest.approx(3.0)
    assert end_point_error(flow, target, ONE).item() == pytest.approx(5.0)


def test_points_without_weight_do_not_count():
    flow = torch.tensor([[[3.0, 4.0], [100.0, 0.0]]])
    weights = torch.tensor([[1.0, 0.0]])
    assert end_point_error(flow, torch.zeros(1, 2, 2), weights).item() == pytest.approx(5.0)


def test_flow_loss_discounts_earlier_steps():
    target = torch.zeros(1, 1, 2)
    flows = [torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]])]
    loss = flow_loss(flows, None, target, ACROSS, ONE, gamma=0.5, full_share=0.0)
    assert loss.item() == pytest.approx(0.5 * 2.0 + 1.0)


def test_laplace_likelihood_is_least_at_the_true_scale():
    target, flow = torch.zeros(1, 1, 2), [torch.tensor([[[2.0, 0.0]]])]

    def at(scale: float) -> float:
        log_scale = [torch.full((1, 1), math.log(scale))]
        return flow_loss(flow, log_scale, target, ACROSS, ONE, full_share=0.0, plain_share=0.0).item()

    assert at(2.0) == pytest.approx(1.0 + math.log(2.0))
    assert at(2.0) < min(at(1.5), at(3.0))


def test_matching_loss_names_the_right_cell():
    """A 32 x 48 image has 4 x 6 cells; a point in cell (1, 1) that moves by one cell to the right belongs to (2, 1)."""
    pixels = torch.tensor([[[11.5, 11.5]]])
    target = torch.tensor([[[8.0, 0.0]]])

    def loss(cell: int) -> float:
        logits = torch.zeros(1, 24, 24)
        logits[0, 7, cell] = 20.0
        return matching_loss(logits, pixels, target, ONE, (32, 48)).item()

    assert loss(8) == pytest.approx(0.0, abs=1e-6)
    assert loss(7) == pytest.approx(20.0, abs=1e-3)
    even = matching_loss(torch.zeros(1, 24, 24), pixels, target, ONE, (32, 48)).item()
    assert even == pytest.approx(math.log(24))


def test_matching_between_cells_is_shared_and_beyond_the_image_is_left_out():
    pixels, logits = torch.tensor([[[11.5, 11.5]]]), torch.zeros(1, 24, 24)
    logits[0, 7, 7] = logits[0, 7, 8] = 20.0
    half = matching_loss(logits, pixels, torch.tensor([[[4.0, 0.0]]]), ONE, (32, 48)).item()
    assert half == pytest.approx(math.log(2), abs=1e-4)
    assert matching_loss(logits, pixels, torch.tensor([[[400.0, 0.0]]]), ONE, (32, 48)).item() == 0.0


def test_registration_loss_is_the_displacement_and_projection_ignores_depth():
    truth = torch.eye(4, dtype=torch.float64)[None].clone()
    truth[:, 2, 3] = 800.0
    points = torch.zeros(1, 1, 3, dtype=torch.float64)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    deeper = motion_about(zero, torch.tensor([[0.0, 0.0, 30.0]], dtype=torch.float64), zero) @ truth
    aside = motion_about(zero, torch.tensor([[3.0, 0.0, 0.0]], dtype=torch.float64), zero) @ truth
    valid = torch.ones(1, 1, dtype=torch.float64)
    assert registration_loss(deeper, truth, points, valid).item() == pytest.approx(30.0)
    assert projection_loss(deeper, truth, points, valid).item() == pytest.approx(0.0, abs=1e-9)
    expected = 800.0 * math.sin(math.atan(3.0 / 800.0))
    assert projection_loss(aside, truth, points, valid).item() == pytest.approx(expected)
