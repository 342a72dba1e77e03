"""What a network sees: the same for any window of an image, zero outside the field, finite always."""

import torch
from DeepReg2D3DLib.engine.normalisation import (
    NETWORK_CHANNELS,
    local_mean,
    masked_quantiles,
    normalise_for_network,
)


def _image() -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 80), indexing="ij")
    image = 3 + x + torch.sin(20 * x) * torch.cos(15 * y) * (0.3 + 0.2 * y)
    return image[None, None]


def _disc() -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 80), indexing="ij")
    return (x**2 + y**2 < 0.7)[None, None]


def test_factor_and_offset_do_not_matter():
    plain = normalise_for_network(_image(), _disc())
    assert plain.shape == (1, NETWORK_CHANNELS, 64, 80)
    assert torch.allclose(normalise_for_network(7.0 * _image() - 20.0, _disc()), plain, atol=1e-3)


def test_first_channel_is_standardised_inside_and_zero_outside():
    mask = _disc()
    result = normalise_for_network(_image(), mask)
    inside = result[0, 0][mask[0, 0]]
    assert abs(float(inside.mean())) < 1e-3 and abs(float(inside.std()) - 1) < 1e-2
    assert (result[:, :, ~mask[0, 0]] == 0).all()


def test_pixels_outside_the_field_do_not_matter():
    mask, image = _disc(), _image()
    spoilt = torch.where(mask, image, torch.tensor(50.0))
    assert torch.allclose(normalise_for_network(image, mask), normalise_for_network(spoilt, mask), atol=1e-5)


def test_second_channel_ignores_slow_changes():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 80), indexing="ij")
    plain = normalise_for_network(_image())[:, 1]
    shaded = normalise_for_network(_image() + 2.0 * x + 1.5 * y)[:, 1]
    inner = (slice(None), slice(10, -10), slice(10, -10))
    agreement = torch.corrcoef(torch.stack([plain[inner].flatten(), shaded[inner].flatten()]))[0, 1]
    assert agreement > 0.95


def test_blank_images_and_empty_masks_give_finite_zeros():
    blank = torch.full((2, 1, 20, 30), 4.0)
    assert (normalise_for_network(blank).abs() < 1e-3).all()
    empty = torch.zeros(2, 1, 20, 30, dtype=torch.bool)
    assert (normalise_for_network(torch.rand(2, 1, 20, 30), empty) == 0).all()


def test_items_do_not_mix():
    first, second = _image(), _image().flip(-1) * 5
    both = normalise_for_network(torch.cat([first, second]))
    assert torch.allclose(both[:1], normalise_for_network(first), atol=1e-5)
    assert torch.allclose(both[1:], normalise_for_network(second), atol=1e-5)


def test_quantiles_are_those_inside_the_mask():
    image = torch.arange(40.0 * 40.0).reshape(1, 1, 40, 40)
    mask = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
    mask[..., 20:, :] = True
    low, middle, high = masked_quantiles(image, mask, (0.0, 0.5, 1.0)).flatten().tolist()
    assert low == 800 and high == 1599 and abs(middle - 1200) <= 1


def test_local_mean_of_a_constant_is_the_constant():
    weight = _disc().float()
    mean = local_mean(torch.full((1, 1, 64, 80), 2.5), weight, 5.0)
    assert torch.allclose(mean[0, 0][_disc()[0, 0]], torch.tensor(2.5), atol=1e-4)
