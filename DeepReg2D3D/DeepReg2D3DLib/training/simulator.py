"""X-ray images from path lengths in water and bone, batched: the physics that the training set and `simulate` share.

The chain: soft-tissue mismatch -> metal -> several energies -> uneven field -> collimators -> scatter -> exposure ->
photon noise -> detector blur -> saturation -> storage. Every random choice is drawn beforehand into an ``XrayRecipe``,
so one recipe gives one image, on a CPU or a GPU, alone or in a batch (the pixel noise alone depends on the batch).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .collimation import NO_COLLIMATOR, Collimators, CollimatorSettings, collimator_maps, draw_collimators
from .detector import (
    Detector,
    DetectorSettings,
    add_noise,
    add_scatter,
    blurred,
    draw_detector,
    expose,
    shade,
    store,
)
from .draws import Draws
from .metal import NO_METAL, Metal, MetalSettings, draw_metal, metal_path
from .spectrum import Spectrum, SpectrumSettings, draw_spectrum, transmission
from .tissue import SAME_TISSUE, Tissue, TissueSettings, change_tissue, draw_tissue


@dataclass(frozen=True)
class XraySettings:
    """Ranges of everything that differs from one X-ray image to the next; the defaults are the training set's."""

    spectrum: SpectrumSettings = field(default_factory=SpectrumSettings)
    tissue: TissueSettings = field(default_factory=TissueSettings)
    metal: MetalSettings = field(default_factory=MetalSettings)
    collimator: CollimatorSettings = field(default_factory=CollimatorSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)


# One energy, no scatter, no noise, nothing in the way: -ln of the stored image is the line integral itself.
IDEAL = XraySettings(
    SpectrumSettings(monoenergetic=1.0),
    SAME_TISSUE,
    NO_METAL,
    NO_COLLIMATOR,
    DetectorSettings(
        scatter=(0.0, 0.0),
        glare=(0.0, 0.0),
        blur_px=(0.0, 0.0),
        exposure=(1e-12, 2e-12),
        fixed_exposure=1.0,
        shading=0.0,
        noise=False,
        linear=1.0,
        windowed=0.0,
        quantised=False,
    ),
)

# A C-arm with a flat detector at its own resolution: what `simulate` writes.
REALISTIC = XraySettings(
    SpectrumSettings(kilovolts=(70.0, 110.0)),
    TissueSettings(scale=0.03, added=0.08, gas=0.3, limb=0.0, bone_factor=(1.0, 1.3)),
    MetalSettings(any=0.6, objects=(1, 2)),
    CollimatorSettings(round_radius=(0.95, 1.25), blade_half_size=(0.75, 1.1), wedge=0.1),
    DetectorSettings(
        scatter=(0.05, 0.2),
        blur_px=(0.4, 1.0),
        photons=(2e3, 2e4),
        exposure=(0.08, 0.3),
        fixed_exposure=0.2,
        shading=0.04,
        linear=1.0,
        windowed=0.0,
        coarse=0.0,
    ),
)


@dataclass
class XrayRecipe(Draws):
    """Every random choice for a batch of X-ray images."""

    spectrum: Spectrum
    tissue: Tissue
    metal: Metal
    collimators: Collimators
    detector: Detector


@dataclass
class SimulatedXray:
    """intensity: (B, 1, H, W) in [0, 1] as stored, bone dark; line_integral: (B, 1, H, W) as a reader of that image
    gets it, bone bright; mask: (B, 1, H, W) bool, the collimated field; saturated: (B, 1, H, W) bool, at full scale."""

    intensity: Tensor
    line_integral: Tensor
    mask: Tensor
    saturated: Tensor


def draw_xray_recipe(generator: torch.Generator, batch: int, settings: XraySettings | None = None) -> XrayRecipe:
    """The random choices for ``batch`` images, on the CPU (``.to(device)`` moves them)."""
    settings = settings or XraySettings()
    return XrayRecipe(
        draw_spectrum(generator, batch, settings.spectrum),
        draw_tissue(generator, batch, settings.tissue),
        draw_metal(generator, batch, settings.metal),
        draw_collimators(generator, batch, settings.collimator),
        draw_detector(generator, batch, settings.detector),
    )


def without_metal(settings: XraySettings) -> XraySettings:
    """The same ranges with no metal in the beam."""
    return replace(settings, metal=NO_METAL)


@torch.no_grad()
def simulate_xray(
    water: Tensor, bone: Tensor, recipe: XrayRecipe, generator: torch.Generator | None = None
) -> SimulatedXray:
    """X-ray images of line integrals in water-like and bone-like matter.

    water, bone: (B, 1, H, W) line integrals of the engine's attenuation, dimensionless, as the DRR renderer gives them
    for the two channels of ``split_materials``. recipe: of the same batch. generator: on the images' device, for the
    pixel noise; without one it is seeded from the recipe.
    """
    if water.shape != bone.shape or water.shape[0] != len(recipe):
        raise ValueError(f"water {tuple(water.shape)}, bone {tuple(bone.shape)} and {len(recipe)} recipes do not match")
    device, size = water.device, tuple(water.shape[-2:])
    water, bone = change_tissue(water, bone, recipe.tissue)
    path = metal_path(recipe.metal, size, device)
    signal = transmission(water, bone, path, recipe.metal.kind, recipe.spectrum)
    through, inside = collimator_maps(recipe.collimators, size, device)
    signal = shade(signal, recipe.detector) * through
    if bool((recipe.detector.scatter > 0).any() | (recipe.detector.glare > 0).any()):
        signal = add_scatter(signal, recipe.detector)
    signal = expose(signal, inside, recipe.detector)
    signal = add_noise(signal, recipe.detector, generator)
    if bool((recipe.detector.blur_px > 0).any()):
        signal = blurred(signal, recipe.detector.blur_px)
    saturated = signal >= 1
    signal = signal.clamp(0, 1)
    stored, line_integral = store(signal, inside, recipe.detector)
    return SimulatedXray(stored, line_integral, inside, saturated)
