"""Which way the values run, and line integrals from them."""

import pytest
import torch
from DeepReg2D3DLib.engine.xray_kind import line_integrals, open_beam_level, recognise
from xray_images import exposed, field, stored, torso


def everywhere(image: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(image, dtype=torch.bool)


@pytest.mark.parametrize("kind", ["none", "round", "rectangular", "turned"])
@pytest.mark.parametrize("wide", [0.7, 1.3])
@pytest.mark.parametrize("bits", [8, 16])
def test_polarity_is_recognised(kind, wide, bits):
    image = stored(exposed(torso(wide=wide), field(kind)), bits, 0.8)
    top = float(image.max())
    assert recognise(image).kind == "intensity"
    assert recognise(top - image).kind in ("inverted", "line_integral")
    assert recognise(-torch.log((image + 0.5) / top)).kind == "line_integral"


def test_a_drr_is_a_line_integral():
    assert recognise(torso(wide=0.7)).kind == "line_integral"
    assert recognise(stored(torso(wide=0.7) / 6, 8)).kind == "line_integral"


@pytest.mark.parametrize("kind", ["round", "rectangular"])
def test_the_field_is_found_whatever_the_values_mean(kind):
    true_field = field(kind)
    image = stored(exposed(torso(wide=1.3), true_field), 16, 0.8)
    for values in (image, float(image.max()) - image, -torch.log((image + 0.5) / 65535)):
        found = recognise(values).field
        assert found is not None
        assert float((found.mask ^ true_field).float().mean()) < 0.05


def test_what_is_declared_is_not_questioned():
    image = stored(exposed(torso(), field("none")), 16)
    assert recognise(image, "line_integral").kind == "line_integral"
    assert recognise(65535 - image, "intensity").kind == "intensity"


def test_intensities_become_the_line_integrals_they_came_from():
    true = torso(wide=0.8)
    found = line_integrals(5000 * torch.exp(-true), "intensity", everywhere(true), False)
    within = true < true.quantile(0.99)
    torch.testing.assert_close(found[within], true[within], atol=0.01, rtol=0)


def test_inverted_intensities_too():
    true = torso(wide=0.8)
    found = line_integrals(65535 - (60000 * torch.exp(-true)).round(), "inverted", everywhere(true), True)
    within = true < true.quantile(0.99)
    torch.testing.assert_close(found[within], true[within], atol=0.02, rtol=0)


def test_saturated_open_beam_becomes_zero_and_nothing_is_infinite():
    image = stored(torch.exp(-torso(wide=0.7)), 8, 0.5)
    image[100:110, 100:200] = 0
    found = line_integrals(image, "intensity", everywhere(image), True)
    assert bool(torch.isfinite(found).all())
    assert found[image == 255].abs().max() == 0
    assert found[image > 0].max() <= found[image == 0].min() <= found[image > 0].max() + 5.6


def test_metal_does_not_outweigh_the_body():
    image = 60000 * torch.exp(-torso(wide=1.3))
    body = line_integrals(image, "intensity", everywhere(image), True)
    image[100:102, 100:130] = 0
    assert line_integrals(image, "intensity", everywhere(image), True).max() < body.max() + 0.75


def test_the_shadow_does_not_enter_the_level_of_the_open_beam():
    true, open_field = torso(wide=1.3), field("round")
    image = torch.where(open_field, 5000 * torch.exp(-true), torch.tensor(9000.0))
    alone = line_integrals(5000 * torch.exp(-true), "intensity", open_field, False)
    torch.testing.assert_close(line_integrals(image, "intensity", open_field, False)[open_field], alone[open_field])


def test_the_level_of_a_noisy_open_beam_is_its_middle():
    noise = torch.randn(10000, generator=torch.Generator().manual_seed(0))
    beam = torch.cat([1000 + 20 * noise, torch.linspace(50, 600, 30000)])
    assert open_beam_level(beam) == pytest.approx(1000, rel=0.01)
    assert open_beam_level(torch.linspace(50, 600, 30000)) == pytest.approx(560, rel=0.1)


def test_line_integrals_are_left_alone_unless_their_scale_is_unknown():
    true = torso()
    torch.testing.assert_close(line_integrals(true, "line_integral", everywhere(true), False), true, rtol=0, atol=0)
    large = line_integrals((true * 100).round(), "line_integral", everywhere(true), True)
    assert 4 < large.max() < 6 and large.min() >= -0.1


def test_negative_offsets_of_signed_detectors_are_taken_off():
    image = 5000 * torch.exp(-torso(wide=1.3)) - 800
    found = line_integrals(image, "intensity", everywhere(image), True)
    assert bool(torch.isfinite(found).all()) and found.max() < 12


@pytest.mark.parametrize("view", ["thorax_b/ap", "thorax_b/lat", "thorax_b_cropped/ap", "thorax_b_cropped/lat"])
def test_the_polarity_of_the_simulated_thorax(shared_data, view):
    from DeepReg2D3DLib.engine.xray_io import read_pixels

    image = torch.from_numpy(read_pixels(shared_data / "cases" / f"{view}.nrrd").astype("float32"))
    assert recognise(image).kind == "intensity"
    assert recognise(65535 - image).kind != "intensity"


@pytest.mark.parametrize("view", ["wrist_0099/cam1", "wrist_0099/cam2"])
def test_the_polarity_of_the_real_wrist(shared_data, view):
    from DeepReg2D3DLib.engine.xray_io import read_pixels

    image = torch.from_numpy(read_pixels(shared_data / "cases" / f"{view}.png").astype("float32"))
    assert recognise(image).kind == "intensity"
    assert recognise(255 - image).kind != "intensity"
