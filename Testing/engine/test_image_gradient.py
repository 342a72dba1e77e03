"""Image gradients of ramps, and masks that keep invalid pixels out."""

import pytest
import torch
from DeepReg2D3DLib.engine.image_gradient import eroded, gaussian_kernel, image_gradient, masked_gradient, smoothed


def ramp(rows: int = 20, columns: int = 30) -> torch.Tensor:
    v, u = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return (3.0 * u - 2.0 * v)[None, None].float()


@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.5])
def test_gradient_of_a_ramp_is_constant(sigma):
    gradient = image_gradient(ramp(), sigma)
    inner = gradient[..., 8:-8, 8:-8]
    assert torch.allclose(inner[:, 0], torch.full_like(inner[:, 0], 3.0), atol=1e-4)
    assert torch.allclose(inner[:, 1], torch.full_like(inner[:, 1], -2.0), atol=1e-4)


def test_smoothing_an_impulse_gives_the_kernel_with_unit_sum():
    impulse = torch.zeros(1, 1, 31, 31)
    impulse[0, 0, 15, 15] = 1.0
    result = smoothed(impulse, 1.5)[0, 0]
    kernel = gaussian_kernel(1.5)
    radius = len(kernel) // 2
    assert torch.allclose(result[15 - radius : 16 + radius, 15], kernel * kernel[radius], atol=1e-6)
    assert float(result.sum()) == pytest.approx(1.0, abs=1e-5)


def test_erosion_shrinks_from_invalid_pixels_but_not_from_the_border():
    mask = torch.ones(1, 1, 9, 9, dtype=torch.bool)
    mask[0, 0, 4, 4] = False
    shrunk = eroded(mask, 1)[0, 0]
    assert not shrunk[3:6, 3:6].any()
    assert int(shrunk.sum()) == 81 - 9
    assert eroded(mask, 0) is mask


def test_invalid_pixels_never_reach_the_gradient():
    mask = torch.ones(1, 1, 20, 30, dtype=torch.bool)
    mask[..., :10] = False
    clean = ramp()
    dirty = clean.clone()
    dirty[..., :10] = 1e6
    a, valid = masked_gradient(clean, mask, 1.0)
    b, _ = masked_gradient(dirty, mask, 1.0)
    assert torch.equal(a, b)
    # Two pixels of smoothing and one of the difference are given up, and the outermost pixels.
    assert float(b[..., :13].abs().max()) == 0.0
    assert not valid[..., :13].any() and valid[..., 1:-1, 13:-1].all()
