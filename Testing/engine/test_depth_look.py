"""The look along the beam: a distance that is wrong is seen, one that is right is left alone."""

import dataclasses

import pytest
import torch
from bone_column import TRUTH, column, column_xray, setup_of
from DeepReg2D3DLib.engine.depth_look import best_in_depth, moved_in_depth
from DeepReg2D3DLib.engine.poses import make_pose

DISTANCE = 700.0


@pytest.fixture(scope="module")
def case():
    return setup_of(column()), column_xray()


def off_by(case, pose) -> float:
    """mm along the beam by which a pose is off; the rest of it must be as it was."""
    setup, xray = case
    difference = pose[:3, 3] - TRUTH[:3, 3]
    ray = setup.surface.middle.double() - xray.camera.source
    assert torch.equal(pose[:3, :3], TRUTH[:3, :3])
    along = float(difference @ ray / ray.norm())
    assert float((difference - along * ray / ray.norm()).norm()) < 1e-9
    return along


def test_a_move_is_a_share_of_the_distance_along_the_ray_to_the_middle(case):
    moved = moved_in_depth(*case, TRUTH, 0.1)
    assert off_by(case, moved) == pytest.approx(0.1 * DISTANCE, abs=1.0)


@pytest.mark.parametrize("share", [-0.08, -0.04, 0.03, 0.07])
def test_a_wrong_distance_is_put_right(case, share):
    setup, xray = case
    wrong = moved_in_depth(setup, xray, TRUTH, share)
    found, similarity = best_in_depth(setup, [xray], wrong, 160, 15.0)
    assert abs(off_by(case, found)) < 0.012 * DISTANCE
    assert similarity > 0.5


def test_the_right_distance_stays_to_the_last_bit(case):
    setup, xray = case
    found, similarity = best_in_depth(setup, [xray], TRUTH, 160, 15.0)
    assert torch.equal(found, TRUTH)
    assert similarity > 0.95


def test_where_nothing_fits_nothing_is_moved(case):
    setup, xray = case
    blind = dataclasses.replace(xray, line_integral=torch.zeros_like(xray.line_integral))
    wrong = moved_in_depth(setup, xray, TRUTH, 0.05)
    found, similarity = best_in_depth(setup, [blind], wrong, 160, 15.0)
    assert torch.equal(found, wrong)
    assert similarity == pytest.approx(0.0, abs=0.01)


def test_two_views_know_the_distance_themselves(case):
    setup, xray = case
    wrong = moved_in_depth(setup, xray, TRUTH, 0.05)
    found, similarity = best_in_depth(setup, [xray, xray], wrong, 160, 15.0)
    assert torch.equal(found, wrong)
    assert similarity < 0.9


def test_a_pose_beside_the_image_stays_and_fits_nowhere(case):
    setup, xray = case
    away = make_pose(torch.eye(3, dtype=torch.float64), torch.tensor([900.0, 0.0, 0.0], dtype=torch.float64))
    found, similarity = best_in_depth(setup, [xray], away, 160, 15.0)
    assert torch.equal(found, away)
    assert similarity < 0
