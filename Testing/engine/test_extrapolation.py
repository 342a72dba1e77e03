"""Extrapolated steps: a creeping iteration arrives, one that has arrived stays, noise is not blown up."""

import pytest
import torch
from DeepReg2D3DLib.engine.extrapolation import FARTHEST, Extrapolation
from DeepReg2D3DLib.engine.poses import exp_rotation, invert_pose, log_rotation, make_pose, motion_about

CENTRE = torch.tensor([10.0, -20.0, 30.0], dtype=torch.float64)
AXES = exp_rotation(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
START = make_pose(exp_rotation(torch.tensor([0.0, 0.1, -0.4], dtype=torch.float64)), torch.tensor([5.0, 1, 2]).double())


def moved(pose, turn_deg, shift):
    turn = torch.deg2rad(torch.tensor(turn_deg, dtype=torch.float64))
    return motion_about(AXES @ turn, AXES @ torch.tensor(shift, dtype=torch.float64), CENTRE) @ pose


def coordinates(pose):
    motion = pose @ invert_pose(START)
    shift = motion[:3, :3] @ CENTRE + motion[:3, 3] - CENTRE
    return torch.cat([torch.rad2deg(AXES.T @ log_rotation(motion[:3, :3])), AXES.T @ shift])


def creeping(shares, goal, steps, accelerated):
    """The end of an iteration that goes a share of the way to its goal in each coordinate, every step."""
    extrapolation = Extrapolation(CENTRE, AXES, 1.0)
    pose, shares, goal = START, torch.tensor(shares).double(), torch.tensor(goal).double()
    for _ in range(steps):
        here = coordinates(pose)
        there = here + shares * (goal - here)
        after = moved(START, there[:3].tolist(), there[3:].tolist())
        pose = extrapolation.next(pose, after) if accelerated else after
    return coordinates(pose) - goal


def test_an_iteration_that_creeps_in_one_direction_arrives():
    shares, goal = [0.1, 1, 1, 0.9, 0.9, 0.9], [1.5, 0.2, -0.1, 0.3, -0.2, 0.5]
    slow, fast = (creeping(shares, goal, 5, accelerated) for accelerated in (False, True))
    assert float(slow[0].abs()) > 0.8
    assert float(fast.abs().max()) < 0.05


def test_where_it_has_arrived_it_stays():
    extrapolation = Extrapolation(CENTRE, AXES)
    for _ in range(4):
        assert torch.allclose(extrapolation.next(START, START), START, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_wild_sequence_of_steps_is_not_blown_up(seed):
    generator = torch.Generator().manual_seed(seed)
    extrapolation = Extrapolation(CENTRE, AXES, 1.0)
    pose = START
    for _ in range(6):
        numbers = 0.05 * torch.randn(6, generator=generator)
        after = moved(pose, numbers[:3].tolist(), numbers[3:].tolist())
        jumped = extrapolation.next(pose, after)
        own, jump = ((coordinates(p) - coordinates(pose)).norm() for p in (after, jumped))
        assert torch.isfinite(jumped).all() and float(jump) <= 1.5 * FARTHEST * float(own)
        pose = jumped
