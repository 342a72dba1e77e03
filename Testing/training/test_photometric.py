"""Photometric augmentation: nothing drawn changes nothing, a seed decides all, images stay finite and in place."""

import torch
from DeepReg2D3DLib.training.photometric import PhotometricSettings, change_photometry, draw_photometric

NOTHING = PhotometricSettings(
    gamma=0, sine=0, equalise=0, window=0, bias=0, blur=0, sharpen=0, noise=0, inversion=0, erase=0
)


def _images(batch: int = 8) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 50), indexing="ij")
    return (3 + 2 * x - y * y + torch.sin(9 * x)).expand(batch, 1, 40, 50).clone()


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_drawn_is_a_window_only():
    image = _images()
    changed = change_photometry(image, None, draw_photometric(_generator(), 8, NOTHING))
    slope = (changed[0].amax() - changed[0].amin()) / (image[0].amax() - image[0].amin())
    assert torch.allclose(changed, (image - image.amin()) * slope + changed.amin(), atol=1e-4)


def test_a_seed_decides_everything():
    mask = torch.ones(8, 1, 40, 50, dtype=torch.bool)
    results = [change_photometry(_images(), mask, draw_photometric(_generator(s), 8)) for s in (1, 1, 2)]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_every_change_alone_is_finite_and_does_something():
    plain = change_photometry(_images(), None, draw_photometric(_generator(), 8, NOTHING))
    for name in ("gamma", "sine", "equalise", "window", "bias", "blur", "sharpen", "noise", "inversion", "erase"):
        settings = PhotometricSettings(**{**NOTHING.__dict__, name: 1.0})
        changed = change_photometry(_images(), None, draw_photometric(_generator(4), 8, settings))
        assert torch.isfinite(changed).all(), name
        assert not torch.allclose(changed, plain, atol=1e-3), name


def test_blank_and_unusable_images_stay_finite():
    blank = torch.full((8, 1, 20, 24), 2.5)
    nowhere = torch.zeros(8, 1, 20, 24, dtype=torch.bool)
    assert torch.isfinite(change_photometry(blank, nowhere, draw_photometric(_generator(), 8))).all()


def test_the_image_given_is_not_changed():
    image = _images()
    change_photometry(image, None, draw_photometric(_generator(3), 8))
    assert torch.equal(image, _images())
