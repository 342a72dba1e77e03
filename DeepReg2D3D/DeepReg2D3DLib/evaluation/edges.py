"""Thin, smooth outlines of a DRR, to be drawn over the X-ray: J. Canny's edges (IEEE PAMI 8(6), 1986), anti-aliased."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

_FINER = 2  # Edges are found on a grid this much finer than the picture, so that they come out anti-aliased.
_SHORTEST = 14  # pixels; shorter pieces distract more than they show


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """A float32 image (H, W) smoothed by a Gaussian of ``sigma`` pixels."""
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(image), [float(sigma)] * 2))


def edge_opacity(drr: np.ndarray, shown: np.ndarray, *, share: float = 0.12, sigma: float = 1.7) -> np.ndarray:
    """Opacity (H, W) float32 in 0 to 1 of the outlines in a DRR (H, W); lines are about a pixel wide.

    shown: (H, W) bool, where outlines may be drawn (the X-ray's valid field). Outlines start at the ``share`` of the
    DRR's pixels with the steepest slope, and go on where the slope stays above 0.4 of that. ``sigma`` in pixels
    smooths the DRR first, so that noise and voxel steps draw no lines.
    """
    rows, columns = drr.shape
    seen = (drr > 1e-4 * max(float(drr.max()), 1e-6)) & shown
    if min(rows, columns) < 8 or not seen.any() or not np.isfinite(drr).all():
        return np.zeros((rows, columns), np.float32)
    finer = smooth(_magnified(drr.astype(np.float32)), sigma * _FINER)
    slope_v, slope_u = np.gradient(finer)
    slope = np.hypot(slope_u, slope_v)
    high = float(np.quantile(slope[np.kron(seen, np.ones((_FINER, _FINER), bool))], 1 - share))
    ridges = _ridges(slope, slope_u, slope_v, 0.4 * high)
    strong, weak = (sitk.GetImageFromArray(part.astype(np.uint8)) for part in (ridges & (slope > high), ridges))
    lines = sitk.GetArrayFromImage(sitk.BinaryReconstructionByDilation(strong, weak, 0.0, 1.0, True))
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(lines), True)
    lines = sitk.GetArrayFromImage(sitk.RelabelComponent(pieces, _SHORTEST * _FINER)) > 0
    # A line one fine pixel wide covers half of each coarse pixel it crosses: that is full ink.
    cover = lines.reshape(rows, _FINER, columns, _FINER).mean((1, 3)) * _FINER
    return np.clip(cover, 0, 1).astype(np.float32) * shown


def _magnified(image: np.ndarray) -> np.ndarray:
    rows, columns = image.shape
    source = sitk.GetImageFromArray(image)
    # The border pixels are repeated by hand: outside, the resampler would invent a step down to zero.
    padded = sitk.MirrorPad(source, [1, 1], [1, 1])
    first = 0.5 / _FINER - 0.5
    finer = sitk.Resample(
        padded, [columns * _FINER, rows * _FINER], sitk.Transform(2, sitk.sitkIdentity), sitk.sitkLinear,
        [first, first], [1 / _FINER, 1 / _FINER], source.GetDirection(),
    )  # fmt: skip
    return sitk.GetArrayFromImage(finer)


def _ridges(slope: np.ndarray, slope_u: np.ndarray, slope_v: np.ndarray, least: float) -> np.ndarray:
    """Where the slope (H, W) exceeds ``least`` and is largest along its own direction, a pixel to either side."""
    rows, columns = slope.shape
    v, u = np.nonzero(slope > least)
    here = slope[v, u]
    step_u, step_v = slope_u[v, u] / here, slope_v[v, u] / here

    def beside(sign: int) -> np.ndarray:
        x = np.clip(u + sign * step_u, 0, columns - 1.001)
        y = np.clip(v + sign * step_v, 0, rows - 1.001)
        i, j = x.astype(int), y.astype(int)
        x, y = x - i, y - j
        top = slope[j, i] * (1 - x) + slope[j, i + 1] * x
        bottom = slope[j + 1, i] * (1 - x) + slope[j + 1, i + 1] * x
        return top * (1 - y) + bottom * y

    ridges = np.zeros((rows, columns), bool)
    ridges[v, u] = (here > beside(1)) & (here >= beside(-1))
    return ridges
