"""Metrics against numbers worked out by hand."""

import math

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.metrics import capture_range, mrpd, mtre, success_rate, wilson_interval
from DeepReg2D3DLib.engine.poses import exp_rotation, invert_pose, make_pose


def translation(x: float, y: float, z: float) -> torch.Tensor:
    return make_pose(torch.eye(3, dtype=torch.float64), torch.tensor([x, y, z], dtype=torch.float64))


def camera(world_to_camera: torch.Tensor) -> Camera:
    return Camera.from_parameters(
        source_to_detector=1000.0,
        pixel_spacing=(1.0, 1.0),
        principal_point=(50.0, 50.0),
        world_to_camera=world_to_camera,
        columns=100,
        rows=100,
    )


def test_mtre_of_a_translation_is_its_length():
    targets = torch.tensor([[0.0, 0.0, 0.0], [10.0, -5.0, 3.0]])
    assert mtre(translation(3, 4, 0), translation(0, 0, 0), targets) == pytest.approx(5.0)


def test_mtre_of_a_quarter_turn_averages_the_chords():
    turn = make_pose(exp_rotation(torch.tensor([0, 0, math.pi / 2], dtype=torch.float64)), torch.zeros(3).double())
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 3.0, 7.0]])
    assert mtre(turn, translation(0, 0, 0), targets) == pytest.approx((math.sqrt(2) + 3 * math.sqrt(2)) / 2)


def test_mrpd_ignores_depth_and_measures_the_distance_to_the_ray():
    view = camera(translation(0, 0, 500))
    target = torch.zeros(1, 3)
    # Seen from the source (0, 0, -500): along the principal ray nothing counts.
    assert mrpd(translation(0, 0, 80), translation(0, 0, 0), target, view) == pytest.approx(0.0, abs=1e-9)
    # The ray through (30, 0, 0) passes the origin at 500 sin(atan(30 / 500)).
    expected = 500 * math.sin(math.atan(30 / 500))
    assert mrpd(translation(30, 0, 0), translation(0, 0, 0), target, view) == pytest.approx(expected)
    # The distance is taken at the true target: the other way round it is the distance from (30, 0) to the axis.
    assert mrpd(translation(0, 0, 0), translation(30, 0, 0), target, view) == pytest.approx(30.0)


def test_mrpd_uses_the_pose_of_the_camera():
    turned = make_pose(
        exp_rotation(torch.tensor([0.0, 0.7, 0.2], dtype=torch.float64)), torch.tensor([5.0, 6.0, 700.0])
    )
    view = camera(turned.double())
    along = view.axis * 25
    away = translation(*along.tolist())
    on_axis = invert_pose(view.world_to_camera)[:3] @ torch.tensor([0, 0, 700, 1], dtype=torch.float64)
    assert mrpd(away, translation(0, 0, 0), on_axis[None], view) == pytest.approx(0.0, abs=1e-9)
    assert mrpd(away, translation(0, 0, 0), on_axis[None] + 50, view) > 0.1


def test_success_counts_two_millimetres_and_fails_crashes():
    assert success_rate([0.1, 2.0, 2.0001, math.inf, math.nan]) == pytest.approx(2 / 5)
    assert math.isnan(success_rate([]))


def rows(index: int, good: int, bad: int) -> tuple[list[float], list[float]]:
    return [5.0 * index + 0.1] * (good + bad), [0.5] * good + [9.0] * bad


def join(*bins: tuple[list[float], list[float]]) -> tuple[list[float], list[float]]:
    return [x for b in bins for x in b[0]], [x for b in bins for x in b[1]]


def test_capture_range_ends_at_the_first_bin_that_fails():
    # 19 of 20 is 95 % and counts; 18 of 20 does not, whatever comes later.
    assert capture_range(*join(rows(0, 20, 0), rows(1, 19, 1), rows(2, 18, 2), rows(3, 20, 0))) == 10.0
    assert capture_range(*join(rows(0, 18, 2), rows(1, 20, 0))) == 0.0
    assert capture_range(*join(rows(0, 20, 0), rows(1, 30, 0))) == 10.0


def test_capture_range_is_not_available_from_sparse_bins():
    assert capture_range(*join(rows(0, 19, 0), rows(1, 20, 0))) is None
    assert capture_range(*join(rows(0, 20, 0), rows(2, 20, 0))) is None
    assert capture_range([], []) is None
    # A bin that fails decides before the sparse one beyond it.
    assert capture_range(*join(rows(0, 20, 0), rows(1, 10, 10), rows(2, 3, 0))) == 5.0


def test_capture_range_bins_are_half_open():
    initial, final = [4.999] * 20 + [5.0] * 20, [1.0] * 20 + [9.0] * 20
    assert capture_range(initial, final) == 5.0


def test_wilson_interval_of_known_shares():
    # Wilson, 8 of 10 at 95 %: 0.4902 to 0.9433.
    low, high = wilson_interval(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    low, high = wilson_interval(20, 20)
    assert low == pytest.approx(0.8389, abs=1e-4) and high == pytest.approx(1.0)
    assert wilson_interval(0, 0) == (0.0, 1.0)
