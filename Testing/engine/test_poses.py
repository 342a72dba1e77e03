"""Rigid motions: exponential and logarithm over the whole range of angles, Euler angles, and the check of matrices."""

import math

import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.poses import (
    check_rigid,
    euler_from_rotation,
    exp_rotation,
    invert_pose,
    log_rotation,
    make_pose,
    motion_about,
    orthonormalised,
    rotation_angle,
    rotation_from_euler,
    skew,
    transform_points,
    transform_vectors,
)
from hypothesis import given
from hypothesis import strategies as st

number = st.floats(-1, 1)
axes = st.tuples(number, number, number).filter(lambda v: math.hypot(*v) > 0.1)
small_to_pi = st.one_of(
    st.floats(0, math.pi), st.floats(0, 1e-6), st.floats(math.pi - 1e-6, math.pi), st.sampled_from([0.0, math.pi])
)


def _vector(axis, angle: float) -> torch.Tensor:
    axis = torch.tensor(axis, dtype=torch.float64)
    return axis / axis.norm() * angle


def test_skew_is_the_cross_product():
    a, b = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 4.0, -1.0])
    torch.testing.assert_close(skew(a) @ b, torch.linalg.cross(a, b))


def test_quarter_turns_by_hand():
    quarter = math.pi / 2
    about_x = exp_rotation(torch.tensor([quarter, 0.0, 0.0], dtype=torch.float64))
    expected = torch.tensor([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(about_x, expected, atol=1e-15, rtol=0)
    about_z = exp_rotation(torch.tensor([0.0, 0.0, quarter], dtype=torch.float64))
    expected = torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(about_z, expected, atol=1e-15, rtol=0)


@given(axes, small_to_pi)
def test_exp_gives_rotations_and_log_takes_them_back(axis, angle):
    vector = _vector(axis, angle)
    rotation = exp_rotation(vector)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert torch.det(rotation) > 0
    back = log_rotation(rotation)
    assert back.norm() <= math.pi + 1e-9
    torch.testing.assert_close(exp_rotation(back), rotation, atol=1e-9, rtol=0)
    if angle < math.pi - 1e-3:
        torch.testing.assert_close(back, vector, atol=1e-9, rtol=0)


def test_exp_agrees_with_the_matrix_exponential():
    vectors = torch.tensor([[1e-5, 2e-5, -1e-5], [1e-4, 0, 0], [0.3, -0.2, 0.9], [3.0, 0.5, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(exp_rotation(vectors), torch.linalg.matrix_exp(skew(vectors)), atol=1e-13, rtol=0)


@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-5, 1e-4, 0.5, 3.0])
def test_gradients_of_exp(size):
    vector = _vector((0.6, -0.3, 0.7), 1.0) * size
    assert torch.autograd.gradcheck(exp_rotation, vector.clone().requires_grad_())


@pytest.mark.parametrize("size", [1e-3, 0.5, 2.0, 3.0])
def test_gradients_of_log_after_exp(size):
    vector = (_vector((0.6, -0.3, 0.7), 1.0) * size).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: log_rotation(exp_rotation(v)), vector)


def test_gradients_of_log_at_the_identity_are_finite():
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(lambda v: log_rotation(exp_rotation(v)), vector)
    torch.testing.assert_close(jacobian, torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0)


@given(axes, st.floats(0, 3), axes)
def test_invert_pose(axis, angle, translation):
    pose = make_pose(exp_rotation(_vector(axis, angle)), 300 * torch.tensor(translation, dtype=torch.float64))
    torch.testing.assert_close(invert_pose(pose) @ pose, torch.eye(4, dtype=torch.float64), atol=1e-10, rtol=0)


def test_points_move_and_vectors_only_turn_in_batches():
    rotation = exp_rotation(torch.tensor([[0.1, 0.2, 0.3], [0.0, -1.0, 0.5]], dtype=torch.float64))
    translation = torch.tensor([[1.0, 2, 3], [-4, 5, 6]], dtype=torch.float64)
    pose = make_pose(rotation, translation)
    points = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.stack(
        [torch.stack([rotation[b] @ point + translation[b] for point in points[b]]) for b in range(2)]
    )
    torch.testing.assert_close(transform_points(pose, points), expected)
    torch.testing.assert_close(transform_vectors(pose, points), expected - translation[:, None])


def test_motion_about_a_centre_moves_the_centre_by_the_translation_alone():
    centre = torch.tensor([10.0, -20, 300], dtype=torch.float64)
    shift = torch.tensor([1.0, 2, -3], dtype=torch.float64)
    motion = motion_about(torch.tensor([0.4, 0.1, -0.7], dtype=torch.float64), shift, centre)
    torch.testing.assert_close(transform_points(motion, centre[None])[0], centre + shift)


def test_gradients_of_motion_about():
    inputs = [torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    assert torch.autograd.gradcheck(motion_about, [value.requires_grad_() for value in inputs])


def test_euler_order_is_z_y_x():
    x, y, z = 0.3, -0.5, 1.1
    parts = [exp_rotation(row) for row in torch.diag(torch.tensor([x, y, z], dtype=torch.float64))]
    rotation = rotation_from_euler(torch.tensor([x, y, z], dtype=torch.float64))
    torch.testing.assert_close(rotation, parts[2] @ parts[1] @ parts[0])


@given(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1))
def test_euler_round_trip(x, y, z):
    angles = torch.tensor([x, y, z], dtype=torch.float64)
    torch.testing.assert_close(euler_from_rotation(rotation_from_euler(angles)), angles, atol=1e-9, rtol=0)


@pytest.mark.parametrize("y", [math.pi / 2, -math.pi / 2])
def test_euler_at_gimbal_lock_still_gives_the_rotation(y):
    rotation = rotation_from_euler(torch.tensor([0.4, y, -0.9], dtype=torch.float64))
    angles = euler_from_rotation(rotation)
    assert angles[0] == 0
    torch.testing.assert_close(rotation_from_euler(angles), rotation, atol=1e-7, rtol=0)


def test_orthonormalised_finds_the_nearest_rotation_and_never_a_mirror():
    rotation = exp_rotation(torch.tensor([0.4, -0.2, 1.0], dtype=torch.float64))
    torch.testing.assert_close(orthonormalised(rotation * 1.01), rotation)
    mirrored = rotation @ torch.diag(torch.tensor([1.0, 1, -1], dtype=torch.float64))
    assert torch.det(orthonormalised(mirrored)) > 0


def test_rotation_angle():
    assert rotation_angle(exp_rotation(_vector((1, 2, 3), 0.7))).item() == pytest.approx(0.7)


def _broken(**changes) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    for place, value in changes.items():
        matrix[int(place[1]), int(place[2])] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (torch.eye(3), "4x4"),
        (_broken(m03=float("nan")), "finite"),
        (_broken(m30=0.1), "last row"),
        (_broken(m00=-1), "mirrors"),
        (_broken(m00=1.01), "scales or shears"),
        (_broken(m01=0.01), "scales or shears"),
        (_broken(m00=1e200), "scales or shears"),
        (_broken(m33=1.001), "last row"),
        (torch.zeros(4, 4), "last row"),
    ],
)
def test_what_is_not_rigid_is_refused_in_words(matrix, words):
    with pytest.raises(InputError, match=words) as error:
        check_rigid(matrix, "The pose")
    assert str(error.value).startswith("The pose")


@pytest.mark.parametrize("off", [1e-15, 1e-12, 1e-10, 1e-6, 1e-4])
def test_a_rotation_is_made_exact_however_little_it_is_off(off):
    pose = make_pose(exp_rotation(_vector((3, 1, 2), 1.1)), torch.tensor([1.0, 2, 3], dtype=torch.float64))
    pose[:3, :3] += off * torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pose[3, 3] = 1.000005
    exact = check_rigid(pose, "The pose")
    torch.testing.assert_close(exact[:3, :3] @ exact[:3, :3].T, torch.eye(3, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(exact[:3, :3], orthonormalised(pose[:3, :3]), atol=max(1e-14, off**2), rtol=0)
    assert exact[3].tolist() == [0, 0, 0, 1]


def test_a_rotation_with_few_digits_is_made_exact():
    pose = make_pose(exp_rotation(_vector((1, 2, 3), 0.7)), torch.tensor([1.0, 2, 3], dtype=torch.float64))
    exact = check_rigid((pose * 1e4).round() / 1e4, "The pose")
    torch.testing.assert_close(exact[:3, :3] @ exact[:3, :3].T, torch.eye(3, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(exact, pose, atol=1e-4, rtol=0)
