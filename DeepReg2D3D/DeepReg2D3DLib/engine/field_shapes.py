"""Circles and straight lines in a set of edge points, and convex masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_DRAWS = 120
_LONGEST_LIST = 400
_MAX_LINES = 4
_LEAST_LINE = 0.08  # of the edge: shorter straight pieces are found in anything


@dataclass(frozen=True)
class Shapes:
    """What the edge of a field is made of.

    circle: (u, v, radius) in pixels, or None.  lines: (nu, nv, c) each, with nu u + nv v > c inside the field.
    explained: (N,) bool, the edge points that lie on one of them.  roundness: share of the points on the circle.
    """

    circle: np.ndarray | None
    lines: tuple[np.ndarray, ...]
    explained: np.ndarray
    roundness: float

    def depths(self, u: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
        """Distance in pixels from (u, v) to each shape, positive inside."""
        depths = [u * nu + v * nv - c for nu, nv, c in self.lines]
        if self.circle is not None:
            depths.append(self.circle[2] - np.hypot(u - self.circle[0], v - self.circle[1]))
        return depths


def find_shapes(points: np.ndarray, middle: np.ndarray, tolerance: float) -> Shapes:
    """The circle and the up to four straight lines on which edge points (N, 2) lie, to ``tolerance`` pixels.

    middle: (2,) a place inside the field. Drawn by RANSAC (Fischler and Bolles, 1981) with a fixed seed, so that the
    same image always gives the same answer.
    """
    generator = np.random.default_rng(0)
    few = points[generator.permutation(len(points))[:_LONGEST_LIST]]
    straight = _with_lines(points, few, None, middle, tolerance, generator)
    circle = _ransac(few, 3, _circle, _circles_through, _circle_distance, tolerance, generator)
    if circle is None or np.hypot(*(middle - circle[:2])) > circle[2]:
        return straight
    round_ = _with_lines(points, few, circle, middle, tolerance, generator)
    return straight if straight.explained.mean() >= round_.explained.mean() - 0.02 else round_


def _with_lines(points, few, circle, middle, tolerance, generator) -> Shapes:
    """``circle`` (or None) and the lines that hold what it leaves."""
    found = np.zeros(len(points), bool)
    if circle is not None:
        found = _circle_distance(points, circle[None])[0] < tolerance
        few = few[_circle_distance(few, circle[None])[0] >= tolerance]
    roundness, lines = float(found.mean()), []
    for _ in range(_MAX_LINES):
        line = _ransac(few, 2, _line, _lines_through, _line_distance, tolerance, generator)
        if line is None:
            break
        new = (_line_distance(points, line[None])[0] < tolerance) & ~found
        if new.sum() < max(4, _LEAST_LINE * len(points)):
            break
        found |= new
        few = few[_line_distance(few, line[None])[0] >= tolerance]
        lines.append(line if middle @ line[:2] > line[2] else -line)
    return Shapes(circle, tuple(lines), found, roundness)


def _ransac(points, needed, fit, through, distance, tolerance, generator) -> np.ndarray | None:
    """The model (M,) that has most of the points (N, 2) within ``tolerance``, refined on these, or None.

    through: (K, needed, 2) points -> (K, M) models through them.  fit: (N, 2) points -> (M,) model, or None.
    distance: points (N, 2) and models (K, M) -> (K, N).
    """
    if len(points) < 4 * needed:
        return None
    draws = points[generator.integers(len(points), size=(_DRAWS, needed))]
    models = through(draws)
    models = models[np.isfinite(models).all(1)]
    if len(models) == 0:
        return None
    near = distance(points, models) < tolerance
    best = int(near.sum(1).argmax())
    model, held = models[best], near[best]
    for _ in range(2):
        better = fit(points[held])
        if better is None:
            break
        now = distance(points, better[None])[0] < tolerance
        if now.sum() < held.sum():
            break
        model, held = better, now
    return model


def _circles_through(points: np.ndarray) -> np.ndarray:
    """(u, v, radius) of the circles through three points each, (K, 3, 2) -> (K, 3); not finite where on a line."""
    first = points[:, 0]
    (bu, bv), (cu, cv) = (points[:, 1] - first).T, (points[:, 2] - first).T
    twice_area = 2 * (bu * cv - bv * cu)
    twice_area = np.where(np.abs(twice_area) > 1e-6, twice_area, np.nan)
    b, c = bu**2 + bv**2, cu**2 + cv**2
    u, v = (cv * b - bv * c) / twice_area, (bu * c - cu * b) / twice_area
    return np.stack([u + first[:, 0], v + first[:, 1], np.hypot(u, v)], 1)


def _circle(points: np.ndarray) -> np.ndarray | None:
    """(u, v, radius) of the circle nearest to points (N, 2), by linear least squares (Kasa, 1976)."""
    middle = points.mean(0)
    shifted = points - middle
    design = np.concatenate([2 * shifted, np.ones((len(points), 1))], 1)
    (u, v, c), _, rank, _ = np.linalg.lstsq(design, (shifted**2).sum(1), rcond=1e-9)
    squared = c + u * u + v * v
    return np.array([u + middle[0], v + middle[1], np.sqrt(squared)]) if rank == 3 and squared > 0 else None


def _circle_distance(points: np.ndarray, circles: np.ndarray) -> np.ndarray:
    across = points[None, :, 0] - circles[:, 0, None]
    along = points[None, :, 1] - circles[:, 1, None]
    return np.abs(np.hypot(across, along) - circles[:, 2, None])


def _lines_through(points: np.ndarray) -> np.ndarray:
    """(nu, nv, c) with nu u + nv v = c, of the lines through two points each, (K, 2, 2) -> (K, 3)."""
    du, dv = (points[:, 1] - points[:, 0]).T
    length = np.hypot(du, dv)
    length = np.where(length > 0, length, np.nan)
    normal = np.stack([-dv / length, du / length], 1)
    return np.concatenate([normal, (normal * points[:, 0]).sum(1, keepdims=True)], 1)


def _line(points: np.ndarray) -> np.ndarray:
    """(nu, nv, c) of the line nearest to points (N, 2), by least squared distances."""
    middle = points.mean(0)
    normal = np.linalg.svd(points - middle, full_matrices=False)[2][-1]
    return np.array([*normal, normal @ middle])


def _line_distance(points: np.ndarray, lines: np.ndarray) -> np.ndarray:
    return np.abs(lines[:, :2] @ points.T - lines[:, 2, None])


def convex_mask(mask: np.ndarray) -> np.ndarray:
    """The convex hull of a mask (rows, columns) bool, as a mask of the pixels whose centres it holds."""
    columns = mask.shape[1]
    filled = np.nonzero(mask.any(1))[0]
    left = _lower_hull(filled, mask.argmax(1)[filled])
    right = -_lower_hull(filled, -(columns - 1 - mask[:, ::-1].argmax(1)[filled]))
    result = np.zeros_like(mask)
    between = np.arange(filled[0], filled[-1] + 1)
    first, last = np.interp(between, filled, left), np.interp(between, filled, right)
    u = np.arange(columns)
    result[between] = (u >= first[:, None] - 1e-9) & (u <= last[:, None] + 1e-9)
    return result


def _lower_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """At every x (rising), the height of the lower convex hull of the points (x, y) (Andrew's monotone chain)."""
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (y[b] - y[a]) * (x[i] - x[a]) < (y[i] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(i)
    return np.interp(x, x[hull], y[hull])
