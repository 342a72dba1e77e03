"""The part of an X-ray image that the collimator leaves open: round, rectangular, turned, or any mix of the two.

The shadow of a collimator is flat, lies at one end of the image's values, touches the image's border, and ends in
circles and straight lines. Anatomy does not do all of that at once, and is told apart by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from .field_shapes import Shapes, convex_mask, find_shapes
from .resampling import resized_taps

# Lengths are shares of the working image's shorter side, values are shares of its range (1st to 99th percentile).
_WORKING_SIZE = 512
_LEVELS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.07, 0.12, 0.2, 0.3)
_SMALLEST_PIECE = 1e-4  # of the image's area: the corner that a round field cuts off
_LARGEST_SHADOW = 0.7  # beyond it, bodies with a corner of open beam look like small fields
_TOLERANCE = 0.008
_LEAST_EXPLAINED = 0.75
_LEAST_CONTRAST = 0.8
_FLAT = 0.08
_VERY_FLAT = 0.02
_VERY_SHARP, _SHARP, _NOT_WIDE = 0.85, 0.65, 0.3
_NEAR, _FAR = 3.0, 10.0  # pixels on either side of the edge between which its sharpness is measured
_SPLIT = 0.1  # a second bright piece of this share of the largest: what lies between them is a bone, not a shadow
_STEP_OVER_SPREAD = 1.5
_CUT_BY_SHAPE = 0.01  # of the field: a shape that cuts off more was drawn through a chance row of edge points
_WIDEST_RIM = 0.08
_SHORTEST_EDGE = 0.15
_SHORTEST_SHARP_EDGE = 0.5


@dataclass(frozen=True)
class Field:
    """A collimated field: ``mask`` (rows, columns) bool of the valid pixels; ``shadow``, 'low' or 'high': at which end
    of the image's values the collimator's shadow lies; ``score`` 0 to 1, the share of the edge that shapes explain."""

    mask: Tensor
    shadow: str
    score: float


@dataclass(frozen=True)
class _Candidate:
    inside: np.ndarray  # (rows, columns) bool
    shapes: Shapes
    score: float


def find_field(values: Tensor, shadow: str = "low", sharp_only: bool = False) -> Field | None:
    """The collimated field of an image (rows, columns), or None where no collimator is seen.

    shadow: 'low' looks for shadows darker than the image, 'high' for brighter ones.
    sharp_only: take no field whose edge is soft, as those of image intensifiers are. Needed where the open beam lies
        at the same end of the values as the shadow, because a body outline is soft as well.
    """
    rows, columns = values.shape
    scale = min(1.0, _WORKING_SIZE / max(rows, columns))
    size = max(8, round(rows * scale)), max(8, round(columns * scale))
    image = values if shadow == "low" else -values
    small = resized_taps(columns, size[1]).apply(resized_taps(rows, size[0]).apply(image, 0), 1)
    best = _best_candidate(small, sharp_only)
    if best is None:
        return None
    depth, score = best
    full = resized_taps(size[1], columns).apply(resized_taps(size[0], rows).apply(depth, 0), 1)
    return Field(full > 0, shadow, score)


def _best_candidate(image: Tensor, sharp_only: bool) -> tuple[Tensor, float] | None:
    """Depth (rows, columns) below the rim of the best field, in pixels and positive inside, and its score."""
    bottom = float(image.min())
    top = float(torch.quantile(image.flatten(), 0.99))
    if not top > bottom:
        return None
    share = ((image - bottom) / (top - bottom)).numpy()
    best: _Candidate | None = None
    tried: list[int] = []
    for level in _LEVELS:
        outside = _touching_border(share <= level)
        count = int(outside.sum())
        if count == 0 or count > _LARGEST_SHADOW * outside.size or count in tried:
            continue
        tried.append(count)
        found = _judge(share, outside, sharp_only)
        if found is not None and (best is None or found.score > best.score + 0.01):
            best = found
    if best is None:
        return None
    return torch.from_numpy(_below_rim(share, best)), best.score


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8))))
    return labels, np.bincount(labels.ravel())


def _touching_border(mask: np.ndarray) -> np.ndarray:
    """The connected pieces of a mask that touch the image's border and are large enough to count."""
    labels, sizes = _components(mask)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    keep = np.zeros(len(sizes), bool)
    keep[edge] = True
    keep &= sizes >= max(12.0, _SMALLEST_PIECE * mask.size)
    keep[0] = False
    return keep[labels]


def _judge(share: np.ndarray, outside: np.ndarray, sharp_only: bool) -> _Candidate | None:
    """The convex field that leaves ``outside`` in shadow; None where it is no collimator's work."""
    labels, sizes = _components(~outside)
    sizes[0] = 0
    inside = labels == int(sizes.argmax())  # letters and marks in the shadow are not part of the field
    if len(sizes) > 2 and np.sort(sizes)[-2] > _SPLIT * sizes.max():
        return None
    shadow = share[outside]
    spread = float(np.subtract(*np.percentile(shadow, [90, 10])))
    if np.median(shadow) > 0.15 or spread > _FLAT:
        return None
    edge = _edge_points(inside)
    shortest = (_SHORTEST_SHARP_EDGE if sharp_only else _SHORTEST_EDGE) * min(share.shape)
    if len(edge) < max(12.0, shortest):
        return None
    tolerance = max(1.5, _TOLERANCE * min(share.shape))
    middle = np.array([axis.mean() for axis in np.nonzero(inside)[::-1]])
    shapes = find_shapes(edge, middle, tolerance)
    explained = shapes.explained.mean()
    if explained < _LEAST_EXPLAINED:
        return None
    contrast, sharpness, step = _step(share, inside, edge[shapes.explained])
    if contrast < _LEAST_CONTRAST or step < _STEP_OVER_SPREAD * spread:
        return None
    # The soft edge of an image intensifier is a circle, and nothing in a body is as round as that; a blurred edge that
    # circles and lines explain without a rest is no body's either.
    flawless = min(explained, contrast) > 0.95 and sharpness > _NOT_WIDE
    intensifier = shapes.roundness > 0.9 or (shapes.roundness > 0.5 and spread < _VERY_FLAT)
    if sharpness < _VERY_SHARP and (sharp_only or not (sharpness >= _SHARP or flawless or intensifier)):
        return None
    return _Candidate(convex_mask(inside), shapes, float(explained * contrast))


def _edge_points(inside: np.ndarray) -> np.ndarray:
    """(N, 2) pixels (u, v) of the field's edge that are not merely the image's border."""
    padded = np.pad(inside, 1, mode="edge")
    covered = padded[1:-1, :-2] & padded[1:-1, 2:] & padded[:-2, 1:-1] & padded[2:, 1:-1]
    v, u = np.nonzero(inside & ~covered)
    rows, columns = inside.shape
    free = (u > 1) & (v > 1) & (u < columns - 2) & (v < rows - 2)
    return np.stack([u[free], v[free]], 1).astype(np.float64)


def _step(share: np.ndarray, inside: np.ndarray, edge: np.ndarray) -> tuple[float, float, float]:
    """(share of edge points where the image steps up towards the inside, median sharpness and height of that step)."""
    depth = _depth(inside)
    normal_v, normal_u = np.gradient(depth)
    u, v = edge.astype(int).T
    normal = np.stack([normal_u[v, u], normal_v[v, u]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    rows, columns = share.shape

    def at(distance: float) -> np.ndarray:
        place = np.rint(edge + distance * normal).astype(int)
        return share[place[:, 1].clip(0, rows - 1), place[:, 0].clip(0, columns - 1)]

    near, far = at(_NEAR) - at(-_NEAR), at(_FAR) - at(-_FAR)
    # Half a per cent of the range is less than the darkest anatomy differs from a shadow.
    up = (near > 0.005) & (far > 0.005)
    if not up.any():
        return 0.0, 0.0, 0.0
    sharpness = np.median(near[up] / np.maximum(far[up], 1e-6))
    return float(up.mean()), float(sharpness), float(np.median(far))


def _depth(inside: np.ndarray) -> np.ndarray:
    """Signed distance in pixels to the edge of a mask, positive inside."""
    image = sitk.GetImageFromArray(inside.astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=False)
    return sitk.GetArrayFromImage(distance)


def _below_rim(share: np.ndarray, field: _Candidate) -> np.ndarray:
    """Depth of the pixels below the soft rim of a field, positive where the rim is over.

    The rim (blur, and the vignetting of image intensifiers) is over where the image rises towards the inside at less
    than a fifth of the rim's steepest rise: anatomy may go on rising slowly. The shapes know how deep a pixel lies
    where they run beside the image, which the mask does not.
    """
    rows, columns = share.shape
    v, u = np.mgrid[:rows, :columns]
    depth = _depth(field.inside)
    for shape in field.shapes.depths(u, v):
        if (field.inside & (shape < -2.0)).sum() <= _CUT_BY_SHAPE * field.inside.sum():
            depth = np.minimum(depth, shape)
    depth = depth.astype(np.float32)
    widest = max(2, int(_WIDEST_RIM * min(share.shape)))
    bright = []
    for distance in range(-2, widest + 3):
        ring = share[(depth > distance - 0.5) & (depth <= distance + 0.5)]
        if len(ring) < 12:
            break
        bright.append(np.percentile(ring, 75))
    rise = np.diff(bright)
    steepest = int(rise.argmax()) if len(rise) else 0
    over = [i for i in range(steepest + 1, len(rise)) if rise[i] < 0.2 * rise[steepest]]
    rim = over[0] - 2 if over else widest
    return depth - min(rim + 1.0, widest)
