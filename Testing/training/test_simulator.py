"""The X-ray simulator: exact in the ideal limit, physical noise, shapes where they are drawn, one seed one image."""

from dataclasses import replace

import pytest
import torch
from DeepReg2D3DLib.training.collimation import CollimatorSettings, collimator_maps, draw_collimators
from DeepReg2D3DLib.training.detector import add_noise, blurred, store
from DeepReg2D3DLib.training.metal import NO_METAL, MetalSettings, draw_metal, metal_path
from DeepReg2D3DLib.training.simulator import (
    IDEAL,
    REALISTIC,
    XraySettings,
    draw_xray_recipe,
    simulate_xray,
)
from DeepReg2D3DLib.training.tissue import TissueSettings, change_tissue, draw_tissue

CPU = torch.device("cpu")
SIZE = (48, 60)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _paths(batch: int = 4, size: tuple[int, int] = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """An elliptic patient with a bar of bone."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij")
    water = 5 * (1 - 1.3 * x**2 - 0.3 * y**2).clamp_min(0).sqrt()
    bone = 0.8 * (x.abs() < 0.15).float()
    return water.expand(batch, 1, *size).clone(), bone.expand(batch, 1, *size).clone()


def test_ideal_image_is_the_line_integral():
    water, bone = _paths()
    image = simulate_xray(water, bone, draw_xray_recipe(_generator(), 4, IDEAL))
    assert torch.allclose(image.line_integral, water + bone, atol=1e-5)
    assert torch.allclose(image.intensity, torch.exp(-water - bone), atol=1e-6)
    assert image.mask.all()


@pytest.mark.parametrize("settings", [XraySettings(), REALISTIC])
def test_images_are_finite_and_in_range(settings):
    water, bone = _paths(32)
    image = simulate_xray(water, bone, draw_xray_recipe(_generator(3), 32, settings))
    assert image.intensity.min() >= 0 and image.intensity.max() <= 1
    assert torch.isfinite(image.line_integral).all()
    assert image.line_integral.shape == (32, 1, *SIZE) and image.mask.dtype == torch.bool
    # Whatever the collimator, most of an image can be used.
    assert image.mask.float().mean() > 0.4


def test_one_seed_one_image_and_inputs_stay():
    water, bone = _paths(6)
    before = water.clone(), bone.clone()
    images = [simulate_xray(water, bone, draw_xray_recipe(_generator(s), 6)).intensity for s in (5, 5, 6)]
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])
    assert torch.equal(water, before[0]) and torch.equal(bone, before[1])


def test_recipes_can_be_split():
    settings = replace(XraySettings(), detector=replace(XraySettings().detector, noise=False, quantised=False))
    water, bone = _paths(5)
    recipe = draw_xray_recipe(_generator(8), 5, settings)
    together = simulate_xray(water, bone, recipe)
    for item in range(5):
        alone = simulate_xray(water[item : item + 1], bone[item : item + 1], recipe[item])
        assert torch.allclose(alone.intensity[0], together.intensity[item], atol=5e-3)


def test_wrong_batch_is_refused():
    water, bone = _paths(2)
    with pytest.raises(ValueError, match="3 recipes"):
        simulate_xray(water, bone, draw_xray_recipe(_generator(), 3))


def test_noise_variance_is_signal_over_photons():
    recipe = draw_xray_recipe(_generator(), 3)
    detector = replace(
        recipe.detector, photons=torch.tensor([1e3, 1e4, torch.inf]), electronics=torch.tensor([0.0, 0.0, 0.02])
    )
    signal = torch.full((3, 1, 150, 150), 0.4)
    variance = add_noise(signal, detector, _generator(1)).var((1, 2, 3))
    assert float(variance[0]) == pytest.approx(0.4 / 1e3, rel=0.05)
    assert float(variance[1]) == pytest.approx(0.4 / 1e4, rel=0.05)
    assert float(variance[2]) == pytest.approx(0.02**2, rel=0.05)


def test_blur_keeps_the_sum_and_spreads_by_sigma():
    image = torch.zeros(2, 1, 31, 31)
    image[:, :, 15, 15] = 1
    result = blurred(image, torch.tensor([0.0, 1.5]))
    assert torch.allclose(result[0], image[0], atol=1e-6)
    assert float(result[1].sum()) == pytest.approx(1, abs=1e-4)
    x = torch.arange(31.0) - 15
    assert float((result[1, 0].sum(0) * x**2).sum()) == pytest.approx(1.5**2, rel=0.03)


def test_collimator_mask_agrees_with_the_image():
    settings = CollimatorSettings(round_field=0.5, blades=0.6, wedge=0.0)
    collimators = draw_collimators(_generator(2), 24, settings)
    through, inside = collimator_maps(collimators, (192, 240), CPU)
    leakage = collimators.leakage[:, None, None, None]
    assert (through[inside] == 1).all()
    assert (through >= leakage - 1e-6).all() and (through <= 1).all()
    # Only the penumbra lies between field and shadow.
    shadow = (through < leakage + 1e-6) & ~inside
    assert ((~inside & ~shadow).float().mean((1, 2, 3)) < 0.12).all()
    closed = ~inside.flatten(1).all(1)
    assert 8 < int(closed.sum()) < 24


def test_the_shadow_of_the_collimator_is_dark():
    settings = replace(REALISTIC, collimator=CollimatorSettings(round_field=1.0, blades=0.0, round_radius=(0.6, 0.8)))
    water, bone = _paths(8)
    image = simulate_xray(water, bone, draw_xray_recipe(_generator(1), 8, settings))
    for item in range(8):
        field = image.intensity[item][image.mask[item]].mean()
        assert image.intensity[item, 0, 0, 0] < 0.6 * field


def test_a_wedge_stays_in_the_field():
    collimators = draw_collimators(_generator(2), 8, CollimatorSettings(round_field=0.0, blades=0.0, wedge=1.0))
    through, inside = collimator_maps(collimators, SIZE, CPU)
    assert inside.all()
    assert (through.amin((1, 2, 3)) < 0.95).any() and (through.amax((1, 2, 3)) > 0.99).all()


def test_metal_only_raises_attenuation():
    water, bone = _paths(12)
    settings = replace(IDEAL, metal=MetalSettings(any=1.0))
    recipe = draw_xray_recipe(_generator(4), 12, settings)
    with_metal = simulate_xray(water, bone, recipe).line_integral
    added = with_metal - (water + bone)
    assert (added > -1e-4).all()
    assert (added.amax((1, 2, 3)) > 0.05).sum() >= 10
    assert metal_path(draw_metal(_generator(), 4, NO_METAL), SIZE, CPU) is None


def test_a_rod_is_as_thick_as_it_is_wide():
    metal = draw_metal(_generator(), 1, NO_METAL)
    metal.capsules[0, 0] = torch.tensor([-5.0, 0.0, 5.0, 0.0, 0.2, 0.0, 0.0])
    metal.count[0] = 1
    path = metal_path(metal, (101, 101), CPU)[0, 0]
    radius_mm = 0.2 * float(metal.unit_mm[0])
    assert float(path[50, 50]) == pytest.approx(2 * radius_mm, rel=0.02)
    # The integral across a round bar is its cross-section.
    pixel_mm = float(metal.unit_mm[0]) / 50.5
    assert float(path[:, 50].sum()) * pixel_mm == pytest.approx(3.14159 * radius_mm**2, rel=0.02)


def test_tissue_changes_leave_air_and_stay_positive():
    water, bone = _paths(16)
    settings = TissueSettings(scale=0.2, added=1.0, gas=1.0, limb=0.0, bone_factor=(1.0, 3.0))
    changed, denser = change_tissue(water, bone, draw_tissue(_generator(1), 16, settings))
    assert (changed >= 0).all()
    assert (changed[water == 0] == 0).all()
    assert (denser >= bone - 1e-6).all() and (denser <= 3 * bone + 1e-6).all()
    assert not torch.allclose(changed, water)


def test_stored_images_keep_the_order_of_attenuation():
    signal = torch.linspace(1e-3, 1, 40 * 50).reshape(1, 1, 40, 50).expand(64, -1, -1, -1)
    detector = draw_xray_recipe(_generator(5), 64).detector
    stored, line_integral = store(signal, torch.ones_like(signal, dtype=torch.bool), detector)
    assert set(detector.kind.tolist()) == {0, 1, 2}
    assert (stored.flatten(1).diff(dim=1) >= 0).all()
    assert (line_integral.flatten(1).diff(dim=1) <= 1e-6).all()
    assert (stored >= 0).all() and (stored <= 1).all()
    coarse = int(detector.levels.argmin())
    assert len(stored[coarse].unique()) <= int(detector.levels[coarse]) + 1
