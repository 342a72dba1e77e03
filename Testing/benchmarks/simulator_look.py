"""Simulated X-rays beside those of an independent simulator and real fluoroscopy: looks, histograms, power spectra.

    python Testing/benchmarks/simulator_look.py --data DATA --out look.png [--seed S]

DATA holds ct/ and cases/ (thorax_b, thorax_b_cropped, wrist_*). Only the images of the cases are read, never their
poses. Beside the picture of the images, two charts are written (look_histograms.png, look_spectra.png) and a table
is printed: the share of saturated and of very dark pixels, contrast, noise, and the slope of the power spectrum.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DeepReg2D3D"))

import torch
from DeepReg2D3DLib.chart import Axis, Chart
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.normalisation import normalise_for_network
from DeepReg2D3DLib.engine.volume_io import load_volume
from DeepReg2D3DLib.engine.xray_field import find_field
from DeepReg2D3DLib.engine.xray_io import read_pixels, save_image
from DeepReg2D3DLib.training.simulate_case import patient_behind, simulate_views
from DeepReg2D3DLib.training.simulator import REALISTIC, XraySettings

COLUMNS, ROWS = 616, 480
VIEWS = {
    "AP": [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 800], [0, 0, 0, 1]],
    "LAT": [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 800], [0, 0, 0, 1]],
}
COLOURS = {"ours, realistic": (31, 119, 180), "ours, training": (148, 103, 189), "independent": (214, 39, 40)}
COLOURS["real wrist"] = (44, 160, 44)


@dataclass
class Group:
    """Images (rows, columns) in [0, 1], bone dark, with masks of their fields."""

    name: str
    images: list[torch.Tensor]
    masks: list[torch.Tensor]


def _scaled(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.float32) / (255.0 if values.max() <= 255 else 65535.0)


def _group(name: str, images: list[torch.Tensor]) -> Group:
    fields = [find_field(image) for image in images]
    masks = [torch.ones_like(i, dtype=torch.bool) if f is None else f.mask for i, f in zip(images, fields, strict=True)]
    return Group(name, images, masks)


def simulated(cts: list[Path], settings: XraySettings, name: str, seed: int) -> Group:
    """AP and lateral of every CT, its middle at the isocentre."""
    images = []
    for index, path in enumerate(cts):
        generator = torch.Generator().manual_seed(seed + index)
        patient = patient_behind(load_volume(path), generator)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, 3] = -patient.centre
        cameras = [
            Camera.from_parameters(
                source_to_detector=1200,
                pixel_spacing=(0.616, 0.616),
                principal_point=(0.5 * (COLUMNS - 1), 0.5 * (ROWS - 1)),
                world_to_camera=torch.tensor(matrix, dtype=torch.float64),
                columns=COLUMNS,
                rows=ROWS,
                name=view,
            )
            for view, matrix in VIEWS.items()
        ]
        images += simulate_views(patient, cameras, pose, generator, settings)
    return _group(name, images)


def measured(paths: list[Path], name: str) -> Group:
    """Stored images as they are; square ones are cut to the middle and averaged to the size of the others."""
    images = []
    for path in paths:
        image = _scaled(torch.from_numpy(read_pixels(path).astype("float32")).squeeze())
        if image.shape != (ROWS, COLUMNS):
            image = torch.nn.functional.interpolate(image[None, None], size=(ROWS, ROWS), mode="area")[0, 0]
            image = torch.nn.functional.pad(image, ((COLUMNS - ROWS) // 2, (COLUMNS - ROWS) // 2))
        images.append(image)
    return _group(name, images)


def spectrum(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Radial power spectrum of the line integrals (as the network sees them), 60 bins from 0 to half the Nyquist."""
    line = -image.clamp_min(1e-4).log()[None, None]
    seen = normalise_for_network(line, mask[None, None])[0, 0]
    window = torch.hann_window(ROWS)[:, None] * torch.hann_window(COLUMNS)
    power = torch.fft.fft2(seen * window).abs() ** 2 / (window**2).sum()
    fy, fx = torch.fft.fftfreq(ROWS)[:, None], torch.fft.fftfreq(COLUMNS)
    ring = ((fx**2 + fy**2).sqrt() / 0.5 * 60).long().clamp_max(60)
    total = torch.zeros(61).index_add_(0, ring.flatten(), power.flatten())
    count = torch.zeros(61).index_add_(0, ring.flatten(), torch.ones(ROWS * COLUMNS))
    return (total / count)[:60]


def histogram(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Share of the field's pixels in 40 bins of line integral from 0 to 8."""
    line = -image[mask].clamp_min(1e-4).log()
    return torch.histc(line, 40, 0, 8) / len(line)


def _noise(image: torch.Tensor, mask: torch.Tensor) -> float:
    """Median absolute response of line integrals to a second-difference stencil, as a standard deviation."""
    line = -image.clamp_min(1e-4).log()
    stencil = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None] / 6
    response = torch.nn.functional.conv2d(line[None, None], stencil)[0, 0].abs()
    inside = mask[1:-1, 1:-1] & (image[1:-1, 1:-1] < 0.98) & (image[1:-1, 1:-1] > 1e-3)
    return float(response[inside].median()) * 1.4826


def main() -> None:
    """Write the picture and the charts, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=2)
    options = parser.parse_args()
    cts = [options.data / "ct" / f"{name}.nrrd" for name in ("thorax_a", "thorax_c")]
    cases = options.data / "cases"
    # Training images as they would be at this size: stored in proportion to photons, to compare like with like.
    training = XraySettings()
    training = replace(training, detector=replace(training.detector, linear=1.0, windowed=0.0))
    groups = [
        simulated(cts, REALISTIC, "ours, realistic", options.seed),
        simulated(cts, training, "ours, training", options.seed + 100),
        measured(
            [cases / c / f"{v}.nrrd" for c in ("thorax_b", "thorax_b_cropped") for v in ("ap", "lat")], "independent"
        ),
        measured(
            [cases / c / f"{v}.png" for c in ("wrist_0099", "wrist_0158") for v in ("cam1", "cam2")], "real wrist"
        ),
    ]
    rows = []
    for group in groups:
        tiles = [
            torch.nn.functional.avg_pool2d(image[None, None], 2)[0, 0].clamp(0, 1).sqrt() for image in group.images
        ]
        rows.append(torch.cat(tiles, 1))
    save_image((torch.cat(rows) * 255).round().to(torch.uint8), options.out)

    histograms = Chart(
        "Line integrals in the field",
        Axis("line integral", 0, 8, range(9)),
        Axis("share of pixels", 0, 0.3, (0, 0.1, 0.2, 0.3)),
    )
    spectra = Chart(
        "Power spectra of normalised images",
        Axis("share of Nyquist", 0, 1, (0, 0.25, 0.5, 0.75, 1)),
        Axis("log10 power", -4, 4, range(-4, 5, 2)),
    )
    print(f"{'group':<18}{'saturated':>10}{'dark':>8}{'contrast':>10}{'noise':>9}{'slope':>8}")
    for group in groups:
        pairs = list(zip(group.images, group.masks, strict=True))
        shares = torch.stack([histogram(*pair) for pair in pairs]).mean(0)
        power = torch.stack([spectrum(*pair) for pair in pairs]).log10().mean(0)
        colour = COLOURS[group.name]
        histograms.line([(0.1 + 0.2 * k, min(0.3, float(s))) for k, s in enumerate(shares)], colour)
        spectra.line([((k + 0.5) / 60, float(p)) for k, p in enumerate(power)], colour)
        for chart in (histograms, spectra):
            chart.name(group.name, colour)
        saturated = sum(float((i[m] > 0.995).float().mean()) for i, m in pairs) / len(pairs)
        dark = sum(float((i[m] < 0.02).float().mean()) for i, m in pairs) / len(pairs)
        contrast = sum(float((-i[m].clamp_min(1e-4).log()).std()) for i, m in pairs) / len(pairs)
        noise = sum(_noise(*pair) for pair in pairs) / len(pairs)
        logs = torch.log10((torch.arange(3, 25) + 0.5) / 60)
        slope = float(torch.cov(torch.stack([logs, power[3:25]]))[0, 1] / logs.var())
        print(f"{group.name:<18}{saturated:>10.3f}{dark:>8.3f}{contrast:>10.2f}{noise:>9.4f}{slope:>8.2f}")
    histograms.save(options.out.with_name(options.out.stem + "_histograms.png"))
    spectra.save(options.out.with_name(options.out.stem + "_spectra.png"))


if __name__ == "__main__":
    main()
