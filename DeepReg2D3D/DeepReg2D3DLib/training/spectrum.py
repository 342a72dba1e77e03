"""Energies: mass attenuation of water, bone and metals, X-ray spectra, and the split of a CT into water and bone.

Mass attenuation coefficients: Hubbell and Seltzer, NIST Standard Reference Database 126 (NISTIR 5632), tables 3 (iron,
titanium) and 4 (water, cortical bone of ICRU-44). The value at 120 keV is interpolated between 100 and 150 keV on
double logarithmic axes, as the authors advise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .draws import Draws, chance, uniform

ENERGIES_KEV = (30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 120.0)
_NIST_KEV = (30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
_WATER = (0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505)  # cm^2 / g
_BONE = (1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480)  # cm^2 / g, cortical
_IRON = (8.176, 3.629, 1.958, 1.205, 0.5952, 0.3717, 0.1964)  # cm^2 / g
_TITANIUM = (4.972, 2.214, 1.213, 0.7661, 0.4052, 0.2721, 0.1649)  # cm^2 / g
_IRON_DENSITY, _TITANIUM_DENSITY = 7.87, 4.54  # g / cm^3

# The energy at which 1 g/cm^3 of water attenuates 0.0200 per mm, the engine's attenuation of 0 HU: there, the line
# integrals of the engine's attenuation are the true ones.
REFERENCE_KEV = 64.5


def _at(table: tuple[float, ...], energies: tuple[float, ...]) -> list[float]:
    """Log-log interpolation of a NIST table."""
    values = []
    for energy in energies:
        i = min(max(sum(e <= energy for e in _NIST_KEV) - 1, 0), len(_NIST_KEV) - 2)
        share = math.log(energy / _NIST_KEV[i]) / math.log(_NIST_KEV[i + 1] / _NIST_KEV[i])
        values.append(math.exp((1 - share) * math.log(table[i]) + share * math.log(table[i + 1])))
    return values


def _relative(table: tuple[float, ...]) -> Tensor:
    return torch.tensor(_at(table, ENERGIES_KEV)) / _at(table, (REFERENCE_KEV,))[0]


# (E,) attenuation at each energy over that at the reference energy: factors on the engine's line integrals.
WATER_FACTOR = _relative(_WATER)
BONE_FACTOR = _relative(_BONE)
# (2, E) attenuation per mm of titanium and of steel (as iron).
METAL_PER_MM = torch.stack(
    [
        0.1 * _TITANIUM_DENSITY * torch.tensor(_at(_TITANIUM, ENERGIES_KEV)),
        0.1 * _IRON_DENSITY * torch.tensor(_at(_IRON, ENERGIES_KEV)),
    ]
)


@dataclass(frozen=True)
class SpectrumSettings:
    """Ranges of the tube: peak voltage in kV, filtration in mm of water-like matter, and how often it is one energy."""

    kilovolts: tuple[float, float] = (55.0, 125.0)
    filtration_mm: tuple[float, float] = (20.0, 120.0)
    monoenergetic: float = 0.0


@dataclass
class Spectrum(Draws):
    """weights: (B, E) share of each energy in the detected signal of the open beam, or all at the reference energy.

    monoenergetic: (B,) bool; those items see the engine's line integrals themselves.
    """

    weights: Tensor
    monoenergetic: Tensor


def tube_spectrum(kilovolts: Tensor, filtration_mm: Tensor) -> Tensor:
    """(B, E) detected shares of a tungsten-like tube: Kramers' law, filtered by water, energy-integrating.

    kilovolts: (B,) peak tube voltage in kV; filtration_mm: (B,) mm of water-like matter that hardens the beam before
    the patient (30 mm of water harden about as much as 3 mm of aluminium).
    """
    energies = torch.tensor(ENERGIES_KEV)
    width = torch.tensor([10.0, 10.0, 10.0, 15.0, 20.0, 20.0, 20.0])  # keV that each node stands for
    kramers = ((kilovolts[:, None] + 5.0) / energies - 1).clamp_min(0)  # photons per keV
    filtered = torch.exp(-0.02 * filtration_mm[:, None] * (WATER_FACTOR - 1))
    absorbed = (50.0 / energies).clamp_max(1.0)  # a scintillator stops fewer of the hard photons
    detected = width * kramers * filtered * absorbed * energies
    return detected / detected.sum(1, keepdim=True)


def draw_spectrum(generator: torch.Generator, batch: int, settings: SpectrumSettings) -> Spectrum:
    """A tube setting for every item."""
    kilovolts = uniform(generator, batch, *settings.kilovolts)
    filtration = uniform(generator, batch, *settings.filtration_mm)
    return Spectrum(tube_spectrum(kilovolts, filtration), chance(generator, batch, settings.monoenergetic))


def transmission(
    water: Tensor, bone: Tensor, metal_mm: Tensor | None, metal_kind: Tensor, spectrum: Spectrum
) -> Tensor:
    """Share of the open beam's signal that arrives, (B, 1, H, W), in (0, 1].

    water, bone: (B, 1, H, W) line integrals of the engine's attenuation in water-like and bone-like matter.
    metal_mm: (B, 1, H, W) path in metal in mm, or None; metal_kind: (B,) 0 titanium ... 1 steel (mixed in between).
    """
    device = water.device
    # (B, E) exponents per unit of path; monoenergetic items have the same factor 1 at all energies.
    mono = spectrum.monoenergetic[:, None].to(device)
    f_water = torch.where(mono, 1.0, WATER_FACTOR.to(device))
    f_bone = torch.where(mono, 1.0, BONE_FACTOR.to(device))
    table = METAL_PER_MM.to(device)
    kind = metal_kind[:, None].to(device)
    f_metal = (1 - kind) * table[0] + kind * table[1]
    f_metal = torch.where(mono, f_metal[:, 3:4], f_metal)
    weights = spectrum.weights.to(device)
    total = torch.zeros_like(water)
    for e in range(len(ENERGIES_KEV)):
        path = water * f_water[:, e, None, None, None]
        path.addcmul_(bone, f_bone[:, e, None, None, None])
        if metal_mm is not None:
            path.addcmul_(metal_mm, f_metal[:, e, None, None, None])
        total.addcmul_(path.neg_().exp_(), weights[:, e, None, None, None])
    return total


def split_materials(hu: Tensor, bone_from_hu: float = 100.0, bone_to_hu: float = 600.0) -> Tensor:
    """(2, ...) engine attenuation per mm of the water-like and the bone-like part of a CT in HU; they sum to the whole.

    Between the two thresholds the bone share rises smoothly (smoothstep), because trabecular bone is a mixture.
    Attenuation is 0.0200 per mm times max(0, 1 + HU/1000).
    """
    hu = hu.to(torch.float32)
    attenuation = 0.0200 * (1 + hu / 1000).clamp_min(0)
    share = ((hu - bone_from_hu) / (bone_to_hu - bone_from_hu)).clamp(0, 1)
    bone = share * share * (3 - 2 * share) * attenuation
    return torch.stack([attenuation - bone, bone])
