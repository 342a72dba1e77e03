"""The change between LPS and RAS, and the numbers that people read."""

import numpy as np
import pytest
from DeepReg2D3DLib.mrml import frames
from DeepReg2D3DLib.mrml.frames import PoseNumbers, numbers_from_pose, pose_from_numbers

CENTRE = np.array([10.0, -20.0, 300.0])


def test_points_and_motions_change_frames_consistently():
    pose = pose_from_numbers(PoseNumbers([1, 2, 3], [10, 20, 30]), CENTRE)
    point = np.array([4.0, 5.0, 6.0])
    moved_ras = frames.ras_from_lps(pose[:3, :3] @ point + pose[:3, 3])
    ras = frames.transform_to_ras(pose)
    np.testing.assert_allclose(ras[:3, :3] @ frames.ras_from_lps(point) + ras[:3, 3], moved_ras)
    np.testing.assert_allclose(frames.transform_to_lps(ras), pose)
    assert np.linalg.det(ras[:3, :3]) == pytest.approx(1)


def test_a_grid_changes_only_where_its_voxels_go():
    grid = np.array([[2.0, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    np.testing.assert_allclose((frames.grid_to_ras(grid) @ [1, 1, 1, 1])[:3], [-7, -9, 11])


def test_translation_to_the_patients_left_is_negative_in_ras():
    pose = np.eye(4)
    pose[:3, 3] = [7, 0, 0]  # LPS x points to the left
    numbers = numbers_from_pose(pose, CENTRE)
    np.testing.assert_allclose(numbers.translation, [-7, 0, 0])
    np.testing.assert_allclose(numbers.angles_deg, 0)


def test_a_turn_about_the_centre_moves_it_nowhere():
    numbers = PoseNumbers(np.zeros(3), np.array([0.0, 0.0, 90.0]))
    pose = pose_from_numbers(numbers, CENTRE)
    np.testing.assert_allclose(pose[:3, :3] @ CENTRE + pose[:3, 3], CENTRE)
    # z is the same axis in both frames, and so is the sense of the turn about it.
    np.testing.assert_allclose(pose[:3, :3], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("angles", [(10, 20, 30), (-170, 80, 5), (0, -89.9, 0), (179, 0, -179)])
def test_numbers_and_pose_are_inverse(angles):
    numbers = PoseNumbers(np.array([1.0, -2.0, 3.0]), np.array(angles, float))
    back = numbers_from_pose(pose_from_numbers(numbers, CENTRE), CENTRE)
    np.testing.assert_allclose(back.translation, numbers.translation, atol=1e-9)
    np.testing.assert_allclose(back.angles_deg, angles, atol=1e-6)


@pytest.mark.parametrize("y", [90.0, -90.0])
def test_at_the_gimbal_lock_the_pose_is_kept(y):
    pose = pose_from_numbers(PoseNumbers(np.zeros(3), np.array([25.0, y, 40.0])), CENTRE)
    numbers = numbers_from_pose(pose, CENTRE)
    assert numbers.angles_deg[0] == 0
    np.testing.assert_allclose(pose_from_numbers(numbers, CENTRE), pose, atol=1e-9)


def test_the_engine_has_the_same_order_of_angles():
    torch = pytest.importorskip("torch")
    from DeepReg2D3DLib.engine.poses import rotation_from_euler

    angles = np.array([10.0, -35.0, 70.0])
    ours = frames.transform_to_ras(pose_from_numbers(PoseNumbers(np.zeros(3), angles), np.zeros(3)))[:3, :3]
    np.testing.assert_allclose(rotation_from_euler(torch.from_numpy(np.radians(angles))).numpy(), ours, atol=1e-12)
