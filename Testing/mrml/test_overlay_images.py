"""The numpy behind the overlays, on pictures whose answer is known."""

import numpy as np
import pytest
from DeepReg2D3DLib.mrml import overlay_images as images


def test_the_same_grid_gives_the_same_image():
    image = np.random.default_rng(0).random((7, 9)).astype(np.float32)
    np.testing.assert_allclose(images.sample_grid(image, np.eye(3), 7, 9), image, atol=1e-6)


def test_a_coarser_grid_averages_and_a_linear_image_stays_linear():
    v, u = np.mgrid[:40, :60].astype(np.float32)
    to_image = np.array([[4.0, 0, 1.5], [0, 4.0, 1.5], [0, 0, 1]])  # pixel (0, 0) covers 4 x 4 pixels
    small = images.sample_grid(u + 100 * v, to_image, 10, 15)
    rows, columns = np.mgrid[:10, :15]
    np.testing.assert_allclose(small, (4 * columns + 1.5) + 100 * (4 * rows + 1.5), rtol=1e-5)


def test_outside_the_image_is_nan():
    to_image = np.array([[1.0, 0, -3], [0, 1.0, 0], [0, 0, 1]])
    sampled = images.sample_grid(np.ones((5, 5), np.float32), to_image, 5, 5)
    assert np.isnan(sampled[:, :2]).all() and np.isfinite(sampled[:, 3:]).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_matched_takes_the_xrays_grey_values_either_way_round(sign):
    drr = np.random.default_rng(1).random((20, 20)).astype(np.float32) + 0.1
    xray = sign * 3 * drr + 7
    np.testing.assert_allclose(images.matched(drr, xray), xray, atol=1e-4)
    np.testing.assert_allclose(images.difference(drr, xray), 0, atol=1e-4)


def test_matched_survives_empty_and_constant_pictures():
    for drr in (np.zeros((5, 5), np.float32), np.ones((5, 5), np.float32)):
        for xray in (np.full((5, 5), np.nan, np.float32), np.ones((5, 5), np.float32)):
            assert np.isfinite(images.difference(drr, xray)).all()


def test_edges_of_a_step_lie_on_the_step():
    drr = np.zeros((30, 40), np.float32)
    drr[:, 20:] = 3
    found = images.edges(drr)
    assert set(np.nonzero(found)[1]) <= {19, 20}
    assert found.any(axis=1).all()
    assert not images.edges(np.zeros((4, 4))).any()


def test_checkerboard_has_tiles_of_one_size():
    board = images.checkerboard(40, 80, tiles=8)
    assert not board[0, 0] and board[0, 10] and board[10, 0] and not board[10, 10]
    assert board.mean() == pytest.approx(0.5)


def test_steps_of_a_slope_and_specks_are_no_edges():
    _v, u = np.mgrid[:120, :160]
    slope = np.floor(u / 4).astype(np.float32)  # voxels' steps where soft tissue grows thinner
    assert not images.edges(slope)[:, 8:-8].any()
    slope[60:64, 80:84] += 20
    found = images.edges(slope)
    assert not found[:50].any() and not found[75:].any()


def test_local_mean_is_that_of_the_pixels_that_exist():
    image = np.random.default_rng(2).random((9, 12)).astype(np.float32)
    mean = images.local_mean(image, 2)
    assert mean[4, 5] == pytest.approx(image[2:7, 3:8].mean(), abs=1e-5)
    assert mean[0, 0] == pytest.approx(image[:3, :3].mean(), abs=1e-5)


def test_levels_run_from_low_to_high():
    np.testing.assert_array_equal(images.levels(np.array([[-1.0, 2, 3, 4, 9]]), 2, 4)[0], [0, 0, 127, 255, 255])
