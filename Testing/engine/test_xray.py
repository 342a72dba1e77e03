"""The X-ray as the engine holds it: resizing that respects the mask, and what does not fit together."""

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.xray import XRay


def a_camera(columns=8, rows=6) -> Camera:
    return Camera.from_parameters(
        source_to_detector=1000.0,
        pixel_spacing=(1.0, 1.0),
        principal_point=(3.5, 2.5),
        world_to_camera=torch.eye(4, dtype=torch.float64),
        columns=columns,
        rows=rows,
    )


def an_xray(image=None, mask=None) -> XRay:
    image = torch.full((1, 1, 6, 8), 2.0) if image is None else image
    mask = torch.ones(1, 1, 6, 8, dtype=torch.bool) if mask is None else mask
    return XRay(image, mask, a_camera(), "AP")


def test_a_smaller_image_keeps_the_mean_and_its_camera_fits():
    image = torch.rand(1, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    small = an_xray(image).resized(4, 3)
    assert small.line_integral.shape == (1, 1, 3, 4) and small.camera.size == (3, 4)
    assert small.line_integral.mean().item() == pytest.approx(image.mean().item())
    assert small.camera.principal_point == pytest.approx((1.5, 1.0))
    assert small.name == "AP"


def test_invalid_pixels_never_leak_into_valid_ones():
    image, mask = torch.full((1, 1, 6, 8), 2.0), torch.ones(1, 1, 6, 8, dtype=torch.bool)
    image[..., :3], mask[..., :3] = 99.0, False
    small = an_xray(image, mask).resized(4, 3)
    assert small.line_integral[small.mask].max().item() == pytest.approx(2.0)
    assert small.mask[0, 0, 0].tolist() == [False, True, True, True] or small.mask[0, 0, 0].tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert bool(torch.isfinite(small.line_integral).all())


def test_a_larger_image_and_back():
    image = torch.arange(48, dtype=torch.float32).reshape(1, 1, 6, 8)
    large = an_xray(image).resized(16, 12)
    assert large.camera.size == (12, 16) and bool(large.mask.all())
    torch.testing.assert_close(
        large.resized(8, 6).line_integral[..., 1:-1, 1:-1], image[..., 1:-1, 1:-1], atol=0.3, rtol=0
    )


def test_the_same_size_is_the_same_object():
    xray = an_xray()
    assert xray.resized(8, 6) is xray


def test_an_image_without_any_valid_pixel_stays_finite():
    small = an_xray(mask=torch.zeros(1, 1, 6, 8, dtype=torch.bool)).resized(4, 3)
    assert not bool(small.mask.any())
    torch.testing.assert_close(small.line_integral, torch.full((1, 1, 3, 4), 2.0))


@pytest.mark.parametrize(
    ("image", "mask", "words"),
    [
        (torch.zeros(6, 8), None, "line integrals are"),
        (torch.zeros(1, 1, 8, 6), None, "line integrals are"),
        (torch.zeros(1, 1, 6, 8, dtype=torch.float64), None, "line integrals are"),
        (None, torch.ones(1, 1, 6, 8), "mask are"),
        (torch.full((1, 1, 6, 8), float("nan")), None, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(image, mask, words):
    with pytest.raises(InputError, match=words):
        an_xray(image, mask)
