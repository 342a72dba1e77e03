"""Gradient NCC: its extremes, what it ignores, and its gradient."""

import pytest
import torch
from DeepReg2D3DLib.engine.similarity import gradient_ncc


@pytest.fixture
def image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 1, 24, 32, generator=generator)


@pytest.fixture
def everywhere() -> torch.Tensor:
    return torch.ones(1, 1, 24, 32, dtype=torch.bool)


def test_equal_images_give_one_whatever_their_contrast(image, everywhere):
    assert float(gradient_ncc(image, 7 * image + 3, everywhere)) == pytest.approx(1.0, abs=1e-5)
    assert float(gradient_ncc(image, -image, everywhere)) == pytest.approx(-1.0, abs=1e-5)


def test_a_slow_haze_hardly_counts(image, everywhere):
    haze = torch.linspace(0, 30, 32).expand(24, 32)[None, None]
    assert float(gradient_ncc(image, image + haze, everywhere)) > 0.97


def test_unrelated_images_give_about_zero(image, everywhere):
    other = torch.randn(1, 1, 24, 32, generator=torch.Generator().manual_seed(1))
    assert abs(float(gradient_ncc(image, other, everywhere))) < 0.2


def test_only_the_mask_counts(image, everywhere):
    broken = image.clone()
    broken[..., :12] = 1e4
    mask = everywhere.clone()
    mask[..., :12] = False
    assert float(gradient_ncc(image, broken, mask)) > 0.999
    assert float(gradient_ncc(image, broken, everywhere)) < 0.9


def test_flat_images_and_empty_masks_give_zero(image, everywhere):
    assert float(gradient_ncc(torch.zeros_like(image), image, everywhere)) == 0.0
    assert float(gradient_ncc(image, image, ~everywhere)) == 0.0


def test_batch_items_are_independent(image, everywhere):
    pair = torch.cat([image, -image])
    result = gradient_ncc(pair, image.expand(2, -1, -1, -1), everywhere.expand(2, -1, -1, -1))
    assert result.tolist() == pytest.approx([1.0, -1.0], abs=1e-5)


def test_differentiable():
    generator = torch.Generator().manual_seed(2)
    drr, xray = (torch.randn(1, 1, 6, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.ones(1, 1, 6, 7, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda image: gradient_ncc(image, xray, mask), drr.requires_grad_())
