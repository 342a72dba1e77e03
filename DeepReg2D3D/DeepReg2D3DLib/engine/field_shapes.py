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

    def depth(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Distance in pixels from (u, v) to the nearest shape, positive inside; infinite where there is none."""
        depths = [u * nu + v * nv - c for nu, nv, c in self.lines]
        if self.circle is not None:
            depths.append(self.circle[2] - np.hypot(u - self.circle[0], v - self.circle[1]))
        return np.minimum.reduce(depths) if depths else np.full(np.broadcast(u, v).shape, np.inf)


def find_shapes(points: np.ndarray, middle: np.ndarray, tolerance: float) -> Shapes:
    """The circle and the up to four straight lines on which edge points (N, 2) lie, to ``tolerance`` pixels.

    middle: (2,) a place inside the field. Drawn by RANSAC (Fischler and Bolles, 1981) with a fixed seed, so that the
    same image always gives the same answer.
    """
    generator = np.random.default_rng(0)
    few = points[generator.permutation(len(points))[:_LONGEST_LIST]]
    straight = _with_lines(points, few, None, middle, tolerance, generator)
    circle = _ransac(few, 3, _circle, _circle_distance, tolerance, generator)
    if circle is None or np.hypot(*(middle - circle[:2])) > circle[2]:
        return straight
    round_ = _with_lines(points, few, circle, middle, tolerance, generator)
    return straight if straight.explained.mean() >= round_.explained.mean() - 0.02 else round_


def _with_lines(points, few, circle, middle, tolerance, generator) -> Shapes:
    """``circle`` (or None) and the lines that hold what it leaves."""
    found = np.zeros(len(points), bool)
    if circle is not None:
        found = _circle_distance(points, circle) < tolerance
        few = few[_circle_distance(few, circle) >= tolerance]
    roundness, lines = float(found.mean()), []
    for _ in range(_MAX_LINES):
        line = _ransac(few, 2, _line, _line_distance, tolerance, generator)
        if line is None:
            break
        new = (_line_distance(points, line) < tolerance) & ~found
        if new.sum() < max(4, _LEAST_LINE * len(points)):
            break
        found |= new
        few = few[_line_distance(few, line) >= tolerance]
        lines.append(line if middle @ line[:2] > line[2] else -line)
    return Shapes(circle, tuple(lines), found, roundness)


def _ransac(points, needed, fit, distance, tolerance, generator):
    """The model through ``needed`` points that has most of the points within ``tolerance``, or None."""
    if len(points) < 4 * needed:
        return None
    best, most = None, 0
    for _ in range(_DRAWS):
        model = fit(points[generator.choice(len(points), needed, replace=False)])
        if model is None:
            continue
        count = int((distance(points, model) < tolerance).sum())
        if count > most:
            best, most = model, count
    for _ in range(2):
        if best is None:
            return None
        better = fit(points[distance(points, best) < tolerance])
        if better is None or (distance(points, better) < tolerance).sum() < most:
            break
        best, most = better, int((distance(points, better) < tolerance).sum())
    return best


def _circle(points: np.ndarray) -> np.ndarray | None:
    """(u, v, radius) of the circle through points (N, 2), N >= 3, by linear least squares (Kasa, 1976)."""
    middle = points.mean(0)
    shifted = points - middle
    design = np.concatenate([2 * shifted, np.ones((len(points), 1))], 1)
    if np.linalg.cond(design) > 1e9:
        return None
    u, v, c = np.linalg.lstsq(design, (shifted**2).sum(1), rcond=None)[0]
    squared = c + u * u + v * v
    return np.array([u + middle[0], v + middle[1], np.sqrt(squared)]) if squared > 0 else None


def _circle_distance(points: np.ndarray, circle: np.ndarray) -> np.ndarray:
    return np.abs(np.linalg.norm(points - circle[:2], axis=1) - circle[2])


def _line(points: np.ndarray) -> np.ndarray | None:
    """(nu, nv, c) with nu u + nv v = c, of the line through points (N, 2), N >= 2, by least squared distances."""
    middle = points.mean(0)
    normal = np.linalg.svd(points - middle)[2][-1]
    return np.array([*normal, normal @ middle])


def _line_distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    return np.abs(points @ line[:2] - line[2])


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
