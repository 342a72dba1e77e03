"""Samples: what is seen where, and that the labels stay true through every augmentation."""

import math

import pytest
import torch
from DeepReg2D3DLib.engine.poses import rotation_angle
from DeepReg2D3DLib.engine.ppc import SolverSettings
from DeepReg2D3DLib.training import simulator
from DeepReg2D3DLib.training.acquisition import StartConfig
from DeepReg2D3DLib.training.config import SampleConfig
from DeepReg2D3DLib.training.ppc_step import ppc_step, projection_distance
from DeepReg2D3DLib.training.samples import SampleMaker, augmented, flipped, turned
from online_source import concatenated

EXACT = SolverSettings(robust_iterations=0, damping=0.0)
SEED = 1
SMALL_START = StartConfig(
    translation=4.0,
    near_translation=4.0,
    rotation_deviation_deg=1.0,
    near_rotation_deviation_deg=1.0,
    rotation_limit_deg=2.0,
)


def make(training_volume, seed=0, xrays=3, **changes):
    config = SampleConfig(rows=64, columns=80, points=200, starts_per_xray=2, fine_share=0.0, **changes)
    maker = SampleMaker(config, simulator.IDEAL)
    return maker.make(training_volume, xrays, torch.Generator().manual_seed(seed))


def test_shapes_and_order(training_volume):
    batch = make(training_volume)
    assert batch.drr.shape == (6, 1, 64, 80)
    assert batch.xray.shape == batch.mask.shape == (3, 1, 64, 80)
    assert batch.xray_index.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.points.shape == batch.gradients.shape == (6, 200, 3)
    assert torch.equal(batch.truth[0], batch.truth[1])
    assert not torch.equal(batch.start[0], batch.start[1])


def test_same_seed_same_samples_other_seed_others(training_volume):
    first, again, other = make(training_volume), make(training_volume), make(training_volume, seed=1)
    assert torch.equal(first.xray, again.xray) and torch.equal(first.drr, again.drr)
    assert not torch.equal(first.xray, other.xray)


def test_flow_leads_from_the_drr_to_the_same_structure_in_the_xray(training_volume):
    """At the true places the ideal X-ray shows what a DRR at the true pose shows: the label names the right pixel."""
    batch = make(training_volume)
    at_truth = training_volume.drr(batch.truth[::2], batch.intrinsics[::2], batch.size)
    difference = (at_truth - batch.xray)[batch.mask].abs().mean()
    assert difference < 0.05 * batch.xray[batch.mask].mean()
    moved = batch.pixels() + batch.flow()
    assert torch.allclose(moved, batch._project(batch.truth), atol=1e-4)
    assert batch.flow()[batch.valid].norm(dim=-1).mean() > 1.0


def augmentations():
    turn = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    shift = torch.tensor([[3.0, -2.0], [0.0, 5.0], [-4.0, 1.0]], dtype=torch.float64)
    yes, no = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    return {
        "none": lambda b: b,
        "columns": lambda b: flipped(b, yes, no),
        "rows": lambda b: flipped(b, no, yes),
        "both": lambda b: flipped(b, yes, yes),
        "some": lambda b: flipped(b, torch.tensor([True, False, True]), torch.tensor([False, True, True])),
        "turned": lambda b: turned(b, turn, torch.zeros_like(shift)),
        "shifted": lambda b: turned(b, torch.zeros_like(turn), shift),
        "flipped and turned": lambda b: turned(flipped(b, yes, no), turn, shift),
        "random": lambda b: augmented(b, torch.Generator().manual_seed(4)),
    }


@pytest.mark.parametrize("name", augmentations())
def test_ppc_recovers_the_true_motion_from_the_true_flow(training_volume, name):
    # A view in which all contours happen to be parallel determines no motion; this seed draws none.
    batch = augmentations()[name](make(training_volume, seed=SEED, start=SMALL_START))
    assert batch.valid.sum(1).min() > 100
    pose = batch.start
    for _ in range(4):  # PPC is linearised: a few steps
        pose = ppc_step(batch, pose, batch._project(batch.truth), batch.valid.double(), EXACT)
    assert projection_distance(batch.start, batch).mean() > 0.5
    assert projection_distance(pose, batch).max() < 1e-3
    difference = pose @ torch.linalg.inv(batch.truth)
    assert rotation_angle(difference[:, :3, :3]).max() < math.radians(0.02)
    aim = (pose @ torch.tensor([0, 0, 0, 1.0], dtype=torch.float64))[:, :3]
    true = (batch.truth @ torch.tensor([0, 0, 0, 1.0], dtype=torch.float64))[:, :3]
    assert (aim - true).norm(dim=-1).max() < 0.05


@pytest.mark.parametrize("name", ["columns", "rows", "both", "turned", "shifted", "random"])
def test_augmented_camera_renders_the_augmented_image(training_volume, name):
    batch = augmentations()[name](make(training_volume, start=SMALL_START))
    rendered = training_volume.drr(batch.start, batch.intrinsics, batch.size)
    exact = name in ("columns", "rows", "both")
    inner = (slice(None), slice(None), slice(14, -14), slice(14, -14))
    difference = (rendered - batch.drr)[inner].abs()
    assert difference.mean() < (1e-4 if exact else 0.02)


def test_mirroring_follows_the_column_flip_alone(training_volume):
    batch = make(training_volume)
    yes, no = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    assert (flipped(batch, yes, no).intrinsics[:, 0, 0] < 0).all()
    assert (flipped(batch, no, yes).intrinsics[:, 0, 0] < 0).all()  # a row flip is a column flip and a half turn
    assert (flipped(batch, yes, yes).intrinsics[:, 0, 0] > 0).all()
    assert (flipped(batch, no, yes).intrinsics[:, 1, 1] > 0).all()


def test_normals_point_along_the_projected_gradient(training_volume):
    batch = make(training_volume)
    ahead = batch.points + 0.05 * torch.nn.functional.normalize(batch.gradients, dim=-1)
    moved = torch.linalg.norm(ahead - batch.points, dim=-1)
    step = type(batch)(**{**batch.__dict__, "points": ahead}).pixels() - batch.pixels()
    along = (step * batch.normals()).sum(-1)
    assert (along[batch.valid] > 0.8 * step.norm(dim=-1)[batch.valid]).all()
    assert moved[batch.valid].max() < 0.06


def test_weights_fall_outside_the_field(training_volume):
    batch = make(training_volume)
    half = batch.mask.clone()
    half[..., 40:] = False
    weights = type(batch)(**{**batch.__dict__, "mask": half}).weights(outside=0.25)
    target = batch._project(batch.truth)
    left, right = target[..., 0] < 38, target[..., 0] > 41
    inside = (target > 0).all(-1) & (target[..., 0] < 79) & (target[..., 1] < 63) & batch.valid
    assert weights[left & inside].min() > 0.999
    assert (weights[right & inside] - 0.25).abs().max() < 1e-3
    assert (weights[~batch.valid] == 0).all()


def test_concatenated_keeps_each_start_with_its_xray(training_volume):
    first, second = make(training_volume, seed=1), make(training_volume, seed=2)
    both = concatenated([first, second])
    assert both.xray_index.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert torch.equal(both.xray[both.xray_index[6:]], second.xray[second.xray_index])
