"""The pictures that are laid over an X-ray, computed in numpy. All images are (rows, columns) float32."""

from __future__ import annotations

import numpy as np

CHECKER_TILES = 8
# Edges: the strongest gradients of the DRR, as a share of its pixels, among those that are so many times as steep as
# the mean around them. Surroundings are a share of the picture's longer side to each side.
_EDGE_SHARE = 0.04
_EDGE_CONTRAST = 1.5
_EDGE_SURROUND = 0.02
_EDGE_FAINTEST = 0.08  # of the steepest
# Fewer edge pixels around than this share of a straight line through the neighbourhood make a speck.
_SPECK_RADIUS = 7
_SPECK_SHARE = 0.9


def sample_grid(image: np.ndarray, to_image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """``image`` on another grid over the same detector: (rows, columns), NaN outside.

    to_image: (3, 3), homogeneous pixels of the new grid to pixels of ``image``. Coarser grids average the pixels that
    they cover (whole blocks of them), so that a small picture of a large X-ray isn't speckled.
    """
    block = max(1, int(min(np.linalg.norm(to_image[:2, 0]), np.linalg.norm(to_image[:2, 1]))))
    source = np.asarray(image, dtype=np.float32)
    matrix = np.array(to_image, dtype=np.float64)
    if block > 1:
        height, width = (n // block * block for n in source.shape)
        source = source[:height, :width].reshape(height // block, block, width // block, block).mean(axis=(1, 3))
        shrink = np.diag([1 / block, 1 / block, 1.0])
        shrink[:2, 2] = 0.5 / block - 0.5
        matrix = shrink @ matrix
    u, v = np.arange(columns, dtype=np.float64), np.arange(rows, dtype=np.float64)
    if abs(matrix[0, 1]) + abs(matrix[1, 0]) + abs(matrix[2, 0]) + abs(matrix[2, 1]) > 1e-9:
        raise ValueError("The two grids must have parallel rows and columns.")
    x = (matrix[0, 0] * u + matrix[0, 2]) / matrix[2, 2]
    y = (matrix[1, 1] * v + matrix[1, 2]) / matrix[2, 2]
    result = _interpolate(_interpolate(source, y, 0), x, 1)
    result[(y < -0.5) | (y > source.shape[0] - 0.5)] = np.nan
    result[:, (x < -0.5) | (x > source.shape[1] - 0.5)] = np.nan
    return result


def _interpolate(image: np.ndarray, at: np.ndarray, axis: int) -> np.ndarray:
    last = image.shape[axis] - 1
    low = np.clip(np.floor(at).astype(np.int64), 0, max(last - 1, 0))
    share = np.clip(at - low, 0.0, 1.0).astype(np.float32)
    share = share[:, None] if axis == 0 else share[None, :]
    first, second = np.take(image, low, axis), np.take(image, np.minimum(low + 1, last), axis)
    return first * (1 - share) + second * share


def matched(drr: np.ndarray, xray: np.ndarray, sign: float | None = None) -> np.ndarray:
    """The DRR in the X-ray's grey values: same mean and contrast over the pixels that both have.

    sign: 1 where the X-ray shows bone bright, -1 where dark, None where the two pictures have to tell.
    """
    valid = np.isfinite(xray)
    for both in (valid & (drr > 0), valid):  # where the CT's picture says nothing by itself, its outline does
        d, x = drr[both].astype(np.float64), xray[both].astype(np.float64)
        if d.size >= 16 and d.std() > 0 and x.std() > 0:
            break
    else:
        return np.full_like(drr, x.mean() if x.size else 0.0)
    spread = d.std()
    # The sign of the correlation, but the X-ray's full contrast: a bad pose must not give a flat picture.
    if sign is None:
        sign = -1.0 if np.mean((d - d.mean()) * (x - x.mean())) < 0 else 1.0
    return ((drr - d.mean()) * (sign * x.std() / spread) + x.mean()).astype(np.float32)


def difference(drr: np.ndarray, xray: np.ndarray, sign: float | None = None) -> np.ndarray:
    """X-ray minus DRR in the X-ray's grey values, in standard deviations of the X-ray; 0 where there is no X-ray."""
    valid = np.isfinite(xray)
    spread = float(xray[valid].std()) if valid.any() else 0.0
    result = (xray - matched(drr, xray, sign)) / (spread or 1.0)
    return np.where(valid, result, 0.0).astype(np.float32)


def checkerboard(rows: int, columns: int, tiles: int = CHECKER_TILES) -> np.ndarray:
    """(rows, columns) bool, True in the tiles that show the DRR; ``tiles`` along the longer side."""
    side = max(1.0, max(rows, columns) / tiles)
    v, u = (np.arange(rows) / side).astype(int), (np.arange(columns) / side).astype(int)
    return (v[:, None] + u[None, :]) % 2 == 1


def edges(drr: np.ndarray) -> np.ndarray:
    """(rows, columns) uint8, 1 on the edges of a DRR: ridges of the gradient's magnitude (Canny's thinning step).

    An edge has to stand out from the slopes around it: on a long slope the voxels' steps are ridges, too, but none is
    steeper than its neighbours.
    """
    smooth = _smoothed(np.asarray(drr, dtype=np.float32))
    gy, gx = np.gradient(smooth)
    magnitude = np.sqrt(gx * gx + gy * gy)
    steepest = float(magnitude.max(initial=0.0))
    if steepest <= 0:
        return np.zeros(drr.shape, np.uint8)
    # Along x or along y, whichever the gradient follows more closely.
    padded = np.pad(magnitude, 1)
    across = np.abs(gx) >= np.abs(gy)
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    above, below = padded[:-2, 1:-1], padded[2:, 1:-1]
    ridge = np.where(across, (magnitude >= left) & (magnitude > right), (magnitude >= above) & (magnitude > below))
    ridge &= magnitude > np.maximum(
        _EDGE_CONTRAST * local_mean(magnitude, _radius(drr, _EDGE_SURROUND)), _EDGE_FAINTEST * steepest
    )
    candidates = magnitude[ridge]
    wanted = max(1, int(_EDGE_SHARE * drr.size))
    limit = np.partition(candidates, -wanted)[-wanted] if candidates.size > wanted else 0.0
    lines = ridge & (magnitude >= limit)
    # A line goes on: alone in its neighbourhood it is a speck.
    side = 2 * _SPECK_RADIUS + 1
    lines &= local_mean(lines, _SPECK_RADIUS) * side**2 > _SPECK_SHARE * side
    # Two pixels wide, so that a view smaller than the picture does not skip them.
    lines[:-1] |= lines[1:]
    lines[:, :-1] |= lines[:, 1:]
    return lines.astype(np.uint8)


def levels(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """(rows, columns) uint8: 0 up to ``low``, 255 from ``high`` on."""
    span = max(high - low, 1e-6)
    return np.clip((np.asarray(image, dtype=np.float32) - low) * np.float32(255 / span), 0, 255).astype(np.uint8)


def local_mean(image: np.ndarray, radius: int) -> np.ndarray:
    """Mean over (2 radius + 1)^2 pixels, of those that exist at the borders; float32."""
    result = np.asarray(image, dtype=np.float32)
    for axis in (0, 1):
        count = result.shape[axis]
        first, end = np.maximum(np.arange(count) - radius, 0), np.minimum(np.arange(count) + radius + 1, count)
        shape = list(result.shape)
        shape[axis] += 1
        sums = np.zeros(shape, np.float32)
        np.cumsum(result, axis=axis, out=sums[1:] if axis == 0 else sums[:, 1:])
        result = np.take(sums, end, axis) - np.take(sums, first, axis)
        result *= (1 / (end - first)).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
    return result


def _radius(image: np.ndarray, share: float) -> int:
    return max(4, round(share * max(image.shape)))


def _smoothed(image: np.ndarray) -> np.ndarray:
    """Binomial 1 2 1 along both axes, three times: about a Gaussian of 1.2 pixels."""
    for _ in range(3):
        padded = np.pad(image, 1, mode="edge")
        rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
        image = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16
    return image
