"""Telling rival poses apart: a row of blocks that look alike, one neighbour off, and a CT cut off in the middle."""

import dataclasses

import pytest
import torch
from bone_column import PITCH, TRUTH, column, column_xray, setup_of
from DeepReg2D3DLib.engine.poses import make_pose
from DeepReg2D3DLib.engine.rivals import judged_poses
from DeepReg2D3DLib.engine.xray import XRay


@pytest.fixture(scope="module")
def xray() -> XRay:
    return column_xray()


def moved(z: float) -> torch.Tensor:
    return make_pose(torch.eye(3, dtype=torch.float64), torch.tensor([0.0, 0.0, z], dtype=torch.float64))


def test_the_neighbour_loses(xray):
    scores = judged_poses(setup_of(column()), [xray], [moved(PITCH), TRUTH, moved(-PITCH)], 160, 15.0)
    assert scores[1] == max(scores)
    assert scores[1] > 0.95
    assert scores[0] < 0.9 and scores[2] < 0.9


def test_the_end_of_a_cut_ct_is_no_evidence(xray):
    cut = column().cropped((0, 0, 20), (48, 48, 80))
    scores = judged_poses(setup_of(cut), [xray], [moved(PITCH), TRUTH, moved(-PITCH)], 160, 15.0)
    assert scores[1] == max(scores)
    assert scores[1] > max(scores[0], scores[2]) + 0.05


def test_scores_do_not_depend_on_the_order(xray):
    setup = setup_of(column())
    poses = [moved(3.0), TRUTH, moved(-40.0)]
    forth = judged_poses(setup, [xray], poses, 160, 15.0)
    back = judged_poses(setup, [xray], poses[::-1], 160, 15.0)
    assert forth == pytest.approx(back[::-1], abs=0.02)


def test_a_pose_beside_the_image_comes_last(xray):
    away = make_pose(torch.eye(3, dtype=torch.float64), torch.tensor([900.0, 0.0, 0.0], dtype=torch.float64))
    scores = judged_poses(setup_of(column()), [xray], [away, moved(10.0)], 160, 15.0)
    assert scores[0] == -1.0
    assert scores[1] > 0


def test_views_are_averaged(xray):
    blind = dataclasses.replace(xray, line_integral=torch.zeros_like(xray.line_integral))
    setup = setup_of(column())
    alone = judged_poses(setup, [xray], [TRUTH], 160, 15.0)[0]
    both = judged_poses(setup, [xray, blind], [TRUTH], 160, 15.0)[0]
    assert both == pytest.approx(alone / 2, abs=0.01)
