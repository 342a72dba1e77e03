"""From the beam that leaves the patient to a stored image: scatter, blur, photons, exposure, saturation, display."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .draws import Draws, as_maps, chance, log_uniform, seeds, uniform
from .tissue import smooth_field


@dataclass(frozen=True)
class DetectorSettings:
    """Ranges of the detector and of how its images are stored.

    scatter: scatter over primary per unit of line integral (0.3: a uniform patient of 20 cm of water has 1.2 times as
    much scatter as primary), and the Gaussian width of its spread as a share of the mean image side; glare: veiling
    glare as a share of the mean signal; blur_px: Gaussian sigma of the detector; photons: at full scale, per pixel;
    electronics: sigma of the read-out noise as a share of full scale; exposure: where the automatic control puts the
    mean of its measuring field, as a share of full scale (above about 0.2 open beam and lungs saturate);
    fixed_exposure: how often the open beam is put just below full scale instead; shading: uneven field (heel effect,
    vignetting), relative standard deviation.
    linear, windowed: how often an image is stored proportional to photons, or windowed and gamma corrected; else it is
    stored as a windowed logarithm. coarse: how often images of few grey values occur (8 bits; more where the image was
    averaged from finer pixels); the others have 12 to 16 bits.
    """

    scatter: tuple[float, float] = (0.0, 0.30)
    scatter_width: tuple[float, float] = (0.06, 0.35)
    glare: tuple[float, float] = (0.0, 0.01)
    blur_px: tuple[float, float] = (0.0, 0.9)
    photons: tuple[float, float] = (4e3, 1e6)
    electronics: tuple[float, float] = (2e-5, 1e-3)
    exposure: tuple[float, float] = (0.05, 0.9)
    fixed_exposure: float = 0.25
    shading: float = 0.08
    noise: bool = True
    linear: float = 0.45
    windowed: float = 0.3
    gamma: tuple[float, float] = (0.6, 1.7)
    coarse: float = 0.5
    coarse_bits: tuple[float, float] = (8.0, 11.0)
    quantised: bool = True


@dataclass
class Detector(Draws):
    """One value an item, (B,), as in ``DetectorSettings``; shading: (B, 1, 3, 3) log gain; meter: (B, 3) centre and
    radius of the measuring field; window: (B, 2) shares of pixels cut off below and above; kind: (B,) 0 linear, 1
    windowed intensity, 2 windowed logarithm; levels: (B,) grey values (0: not quantised); seed: (B,) of the noise."""

    scatter: Tensor
    scatter_width: Tensor
    glare: Tensor
    blur_px: Tensor
    photons: Tensor
    electronics: Tensor
    exposure: Tensor
    open_beam: Tensor
    shading: Tensor
    meter: Tensor
    kind: Tensor
    window: Tensor
    gamma: Tensor
    levels: Tensor
    seed: Tensor


def draw_detector(generator: torch.Generator, batch: int, settings: DetectorSettings) -> Detector:
    """A detector, an exposure and a storage for every item."""
    pick = uniform(generator, batch, 0, 1)
    kind = (pick > settings.linear).long() + (pick > settings.linear + settings.windowed).long()
    coarse = uniform(generator, batch, *settings.coarse_bits)
    bits = torch.where(chance(generator, batch, settings.coarse), coarse, uniform(generator, batch, 12.0, 16.0).round())
    photons = log_uniform(generator, batch, *settings.photons)
    meter = torch.stack(
        [
            uniform(generator, batch, -0.4, 0.4),
            uniform(generator, batch, -0.4, 0.4),
            uniform(generator, batch, 0.15, 0.8),
        ],
        1,
    )
    return Detector(
        scatter=uniform(generator, batch, *settings.scatter),
        scatter_width=uniform(generator, batch, *settings.scatter_width),
        glare=uniform(generator, batch, *settings.glare),
        blur_px=uniform(generator, batch, *settings.blur_px),
        photons=photons if settings.noise else torch.full_like(photons, torch.inf),
        electronics=log_uniform(generator, batch, *settings.electronics) * float(settings.noise),
        exposure=log_uniform(generator, batch, *settings.exposure),
        open_beam=chance(generator, batch, settings.fixed_exposure),
        shading=torch.randn(batch, 1, 3, 3, generator=generator) * settings.shading,
        meter=meter,
        kind=kind,
        window=uniform(generator, 2 * batch, 0.0, 0.03).reshape(batch, 2),
        gamma=log_uniform(generator, batch, *settings.gamma),
        levels=(2**bits).round() * float(settings.quantised),
        seed=seeds(generator, batch),
    )


def _gaussian_rows(size: int, sigma: Tensor) -> Tensor:
    """(B, size, size) matrices that blur a line by a Gaussian of sigma (B,), each row summing to 1."""
    at = torch.arange(size, device=sigma.device, dtype=torch.float32)
    weight = torch.exp(-0.5 * ((at[:, None] - at[None, :]) / sigma[:, None, None]) ** 2)
    return weight / weight.sum(-1, keepdim=True)


def add_scatter(signal: Tensor, detector: Detector) -> Tensor:
    """The signal (B, 1, H, W) with scatter: a low-pass haze whose source is primary times -ln(primary), plus glare.

    That source is the single-scatter model of Ohnesorge, Flohr and Klingenbeck-Regn (Eur Radiol 9, 1999): nothing
    scatters in the open beam, and little arrives through very thick parts.
    """
    device = signal.device
    rows, columns = signal.shape[-2:]
    step = max(1, min(rows, columns) // 16)
    coarse = functional.avg_pool2d(signal, step, ceil_mode=True, count_include_pad=False)
    source = coarse * -coarse.clamp(1e-6, 1).log()
    width = detector.scatter_width.to(device) * (rows * columns) ** 0.5 / step
    blur_rows = _gaussian_rows(coarse.shape[-2], width)[:, None]
    blur_columns = _gaussian_rows(coarse.shape[-1], width)[:, None]
    haze = blur_rows @ source @ blur_columns.transpose(-1, -2)
    glare = as_maps(detector.glare.to(device)) * coarse.mean((1, 2, 3), keepdim=True)
    haze = haze * as_maps(detector.scatter.to(device)) + glare
    return signal + functional.interpolate(haze, size=(rows, columns), mode="bilinear", align_corners=False)


def blurred(image: Tensor, sigma_px: Tensor) -> Tensor:
    """Images (B, 1, H, W) blurred by a Gaussian of sigma_px (B,) each, edges replicated; 0 leaves an image as it is."""
    batch = len(image)
    sigma = sigma_px.to(image.device)
    reach = max(1, int(3 * float(sigma.max()) + 0.5))
    at = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (at / sigma.clamp_min(1e-3)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    stack = functional.pad(image, (reach, reach, reach, reach), mode="replicate").transpose(0, 1)
    stack = functional.conv2d(stack, kernel[:, None, :, None], groups=batch)
    stack = functional.conv2d(stack, kernel[:, None, None, :], groups=batch)
    return stack.transpose(0, 1)


def expose(signal: Tensor, field: Tensor, detector: Detector) -> Tensor:
    """The signal (B, 1, H, W) in shares of full scale, not clipped yet.

    Automatic exposure puts the mean over a measuring field (a disc within the collimated field) at a drawn share of
    full scale; other items have their open beam just below full scale.
    """
    device = signal.device
    rows, columns = signal.shape[-2:]
    step = max(1, min(rows, columns) // 40)
    small, inside = signal[..., ::step, ::step], field[..., ::step, ::step]
    unit = 0.5 * (rows * columns) ** 0.5
    y = (torch.arange(0, rows, step, device=device) - (rows - 1) / 2)[:, None] / unit
    x = (torch.arange(0, columns, step, device=device) - (columns - 1) / 2)[None, :] / unit
    cx, cy, radius = (as_maps(c) for c in detector.meter.to(device).unbind(1))
    metered = ((x - cx) ** 2 + (y - cy) ** 2 < radius**2) & inside
    metered = torch.where(metered.any(-1, keepdim=True).any(-2, keepdim=True), metered, torch.ones_like(metered))
    mean = (small * metered).sum((1, 2, 3), keepdim=True) / metered.sum((1, 2, 3), keepdim=True)
    share = as_maps(detector.exposure.to(device))
    gain = share / mean.clamp_min(1e-9)
    open_beam = 1 - 0.5 * share
    return signal * torch.where(as_maps(detector.open_beam.to(device)), open_beam, gain)


def shade(signal: Tensor, detector: Detector) -> Tensor:
    """Uneven field: heel effect and vignetting as a smooth gain."""
    if not bool((detector.shading != 0).any()):
        return signal
    return signal * smooth_field(detector.shading.to(signal.device), tuple(signal.shape[-2:])).exp_()


def add_noise(signal: Tensor, detector: Detector, generator: torch.Generator | None = None) -> Tensor:
    """Photon noise, variance = signal / photons (the Gaussian limit of Poisson's), and read-out noise.

    ``generator`` on the signal's device supplies the noise; without one it comes from the first item's seed.
    """
    device = signal.device
    photons = as_maps(detector.photons.to(device))
    electronics = as_maps(detector.electronics.to(device))
    if not bool((torch.isfinite(detector.photons) | (detector.electronics > 0)).any()):
        return signal
    if generator is None:
        generator = torch.Generator(device).manual_seed(int(detector.seed[0]))
    deviation = (signal.clamp_min(0) / photons + electronics**2).sqrt()
    noise = torch.empty_like(signal).normal_(generator=generator)
    return (signal + noise * deviation).clamp_min(0)


def store(signal: Tensor, field: Tensor, detector: Detector) -> tuple[Tensor, Tensor]:
    """The stored image in [0, 1] and the line integrals that a reader makes of it, both (B, 1, H, W).

    signal: clipped to [0, 1]. The reader knows whether an image is proportional to photons or a logarithm, but nothing
    of windows and gamma; it takes the largest stored value for the open beam.
    """
    device = signal.device
    kind = as_maps(detector.kind.to(device))
    levels = as_maps(detector.levels.to(device))
    gamma = as_maps(detector.gamma.to(device))
    stored = signal
    if bool((detector.kind > 0).any()):
        # Both displays cut the same pixels off, as the logarithm is monotone.
        rows, columns = signal.shape[-2:]
        step = max(1, min(rows, columns) // 40)
        sample = torch.where(field, signal, torch.nan)[..., ::step, ::step].flatten(1)
        ordered, _ = sample.sort(1)  # NaN last
        number = sample.isfinite().sum(1, keepdim=True).clamp_min(1)
        window = detector.window.to(device)
        at = torch.stack([window[:, 0], 1 - window[:, 1]], 1) * (number - 1)
        low, high = (as_maps(c) for c in ordered.gather(1, at.long()).nan_to_num(0.0).unbind(1))
        low = low.clamp_min(1e-5)
        high = torch.maximum(high, low * 1.05)
        clipped = torch.minimum(torch.maximum(signal, low), high)
        linear = ((clipped - low) / (high - low)).clamp_min(1e-6).pow(gamma)
        logarithm = ((clipped / low).log() / (high / low).log()).clamp_min(1e-6).pow(gamma)
        stored = torch.where(kind == 0, signal, torch.where(kind == 1, linear, logarithm))
    if bool((detector.levels > 0).any()):
        top = (levels - 1).clamp_min(1)
        stored = torch.where(levels > 0, (stored * top).round() / top, stored)
    floor = torch.where(levels > 0, 0.5 / levels.clamp_min(1), torch.full_like(levels, 1e-7))
    line_integral = -torch.maximum(stored, floor).log()
    # A logarithm is already proportional to line integrals; 5 is the usual span of a radiograph.
    return stored, torch.where(kind == 2, 5.0 * (1 - stored), line_integral)
