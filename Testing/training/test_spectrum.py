"""Beam physics against closed forms: one energy is exponential, many harden, a CT splits into water and bone."""

from itertools import pairwise

import pytest
import torch
from DeepReg2D3DLib.training.spectrum import (
    BONE_FACTOR,
    ENERGIES_KEV,
    METAL_PER_MM,
    WATER_FACTOR,
    Spectrum,
    split_materials,
    transmission,
    tube_spectrum,
)

KIND = torch.zeros(1)


def _spectrum(kilovolts: float, monoenergetic: bool = False) -> Spectrum:
    weights = tube_spectrum(torch.tensor([kilovolts]), torch.tensor([40.0]))
    return Spectrum(weights, torch.tensor([monoenergetic]))


def _attenuation(water: float, bone: float, spectrum: Spectrum) -> float:
    """-ln of the transmission through uniform line integrals of water and bone."""
    image = torch.ones(1, 1, 1, 1)
    return -float(transmission(water * image, bone * image, None, KIND, spectrum).log())


def test_one_energy_gives_the_line_integral():
    for water, bone in ((0.0, 0.0), (2.0, 0.5), (5.0, 3.0)):
        assert _attenuation(water, bone, _spectrum(80.0, True)) == pytest.approx(water + bone, abs=1e-5)


def test_the_beam_hardens_with_thickness():
    spectrum = _spectrum(90.0)
    per_water = [_attenuation(path, 0.0, spectrum) / path for path in (0.2, 1.0, 3.0, 6.0)]
    per_bone = [_attenuation(0.0, path, spectrum) / path for path in (0.2, 1.0, 3.0, 6.0)]
    assert all(a > b for a, b in pairwise(per_water))
    assert all(a > b for a, b in pairwise(per_bone))
    # Bone hardens more than water does.
    assert per_bone[-1] / per_bone[0] < per_water[-1] / per_water[0]


def test_a_harder_tube_penetrates_more():
    assert _attenuation(3.0, 2.0, _spectrum(120.0)) < _attenuation(3.0, 2.0, _spectrum(60.0))


def test_spectrum_is_a_distribution_below_the_tube_voltage():
    weights = tube_spectrum(torch.tensor([55.0, 70.0, 120.0]), torch.tensor([30.0, 60.0, 90.0]))
    assert torch.allclose(weights.sum(1), torch.ones(3))
    assert (weights >= 0).all()
    assert (weights[0][[e > 60 for e in ENERGIES_KEV]] == 0).all()
    mean = weights @ torch.tensor(ENERGIES_KEV)
    assert 35 < mean[0] < mean[1] < mean[2] < 100


def test_tabulated_values():
    # NIST: water 0.2059 and cortical bone 0.3148 cm^2/g at 60 keV; at the reference energy water is 0.200 cm^2/g.
    at_60 = ENERGIES_KEV.index(60.0)
    assert float(WATER_FACTOR[at_60]) * 0.200 == pytest.approx(0.2059, rel=0.01)
    ratio = float(BONE_FACTOR[at_60] / BONE_FACTOR[ENERGIES_KEV.index(100.0)])
    assert ratio == pytest.approx(0.3148 / 0.1855, rel=1e-4)
    # Iron at 80 keV: 0.5952 cm^2/g times 7.87 g/cm^3, per mm.
    assert float(METAL_PER_MM[1, ENERGIES_KEV.index(80.0)]) == pytest.approx(0.4684, rel=1e-3)


def test_materials_sum_to_the_attenuation():
    hu = torch.tensor([-1000.0, -1100.0, -100.0, 0.0, 99.0, 350.0, 600.0, 1500.0])
    water, bone = split_materials(hu)
    assert torch.allclose(water + bone, 0.02 * (1 + hu / 1000).clamp_min(0))
    assert (bone[:5] == 0).all() and (water[-2:].abs() < 1e-6).all()
    assert float(bone[5]) == pytest.approx(0.5 * 0.02 * 1.35)


def test_metal_adds_to_the_attenuation():
    spectrum = _spectrum(80.0)
    path = torch.tensor([0.0, 0.5, 2.0, 8.0]).reshape(1, 1, 1, 4)
    water = torch.full_like(path, 3.0)
    titanium = transmission(water, 0 * water, path, torch.zeros(1), spectrum).flatten()
    steel = transmission(water, 0 * water, path, torch.ones(1), spectrum).flatten()
    assert (titanium.diff() < 0).all() and (steel.diff() < 0).all()
    assert titanium[0] == steel[0] and (steel[1:] < titanium[1:]).all()
