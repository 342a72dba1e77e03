"""Resampling of one axis: what averages and linear interpolation must keep."""

import pytest
import torch
from DeepReg2D3DLib.engine.resampling import resampling_taps, resized_taps
from hypothesis import given
from hypothesis import strategies as st


def test_halving_averages_the_line_through_the_samples():
    values = torch.tensor([0.0, 0.0, 16.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(resized_taps(6, 3).apply(values, 0), torch.tensor([1.0, 7.0, 0.0]))


def test_doubling_interpolates_with_pixel_centres_at_integers():
    values = torch.tensor([0.0, 4.0])
    torch.testing.assert_close(resized_taps(2, 4).apply(values, 0), torch.tensor([0.0, 1.0, 3.0, 4.0]))


@given(st.integers(1, 60), st.integers(1, 60))
def test_constants_stay_and_rows_sum_to_one(n_in, n_out):
    taps = resized_taps(n_in, n_out)
    assert int(taps.indices.min()) >= 0 and int(taps.indices.max()) < n_in
    torch.testing.assert_close(taps.apply(torch.full((n_in,), 7.0), 0), torch.full((n_out,), 7.0))


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_mean_is_kept_on_the_way_down(a, b):
    n_in, n_out = max(a, b), min(a, b)
    values = torch.rand(n_in, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resized_taps(n_in, n_out).apply(values, 0).mean(), values.mean())


@given(st.integers(3, 60), st.integers(3, 60))
def test_a_ramp_stays_at_its_place_away_from_the_ends(n_in, n_out):
    step = n_in / n_out
    found = resized_taps(n_in, n_out).apply(torch.arange(n_in, dtype=torch.float32), 0)
    expected = step * (torch.arange(n_out) + 0.5) - 0.5
    reach = 0.5 * step if step > 1 else 0.0
    inner = (expected - reach >= 0) & (expected + reach <= n_in - 1)
    torch.testing.assert_close(found[inner], expected[inner].float(), atol=1e-4, rtol=1e-4)


def test_an_axis_in_the_middle_and_whole_numbers():
    values = torch.arange(36, dtype=torch.int16).reshape(2, 6, 3)
    found = resized_taps(6, 3).apply(values, 1)
    torch.testing.assert_close(found[:, 1], values[:, 2:4].float().mean(1))


def test_beyond_the_ends_the_outermost_sample_stands():
    found = resampling_taps(3, 4, 1.0, -2.0).apply(torch.tensor([5.0, 6.0, 7.0]), 0)
    assert found.tolist() == pytest.approx([5, 5, 5, 6])
