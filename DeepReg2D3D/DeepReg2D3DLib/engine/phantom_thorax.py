"""The phantom's chest: ribs with costal cartilage, sternum, clavicles and scapulae. Frame: x left, y back, z up, mm."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise

import torch

from .phantom_canvas import Canvas, capsule, curve, interpolated
from .phantom_spine import Spine


@dataclass(frozen=True)
class Cage:
    """The chest wall: half width and half depth (position, value) along z, and its middle from front to back."""

    width: list[tuple[float, float]]
    depth: list[tuple[float, float]]
    middle: float
    top: float
    bottom: float

    def at(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Half width and half depth at heights z."""
        return interpolated(self.width, z), interpolated(self.depth, z)


def make_cage(spine: Spine, r: random.Random) -> Cage:
    """A chest that fits the spine, of its own width and depth."""
    top, bottom = spine.position("T1")[2], spine.position("L1")[2]
    length = top - bottom
    wide, deep = r.gauss(1.0, 0.06), r.gauss(1.0, 0.07)
    back = max(spine.position(n)[1] for n in ("T6", "T7", "T8")) + 44.0
    width = [(0.0, 128.0), (0.25, 139.0), (0.5, 131.0), (0.75, 112.0), (0.92, 78.0), (1.0, 52.0), (1.08, 34.0)]
    depth = [(0.0, 100.0), (0.3, 103.0), (0.55, 94.0), (0.78, 76.0), (0.95, 54.0), (1.08, 38.0)]
    half = max(v for _, v in depth) * deep
    return Cage(
        [(bottom + s * length, w * wide) for s, w in width],
        [(bottom + s * length, d * deep) for s, d in depth],
        back - half,
        top,
        bottom,
    )


def rib_curve(spine: Spine, cage: Cage, number: int, side: int, r: random.Random) -> tuple[list, list]:
    """Points (mm, about every 6) along a rib from its head to its end, and of its cartilage (empty for 11 and 12)."""
    v = next(v for v in spine.vertebrae if v.name == f"T{number}")
    head = v.world(side * (v.half_width + 1.0), 0.55 * v.half_depth, 0.36 * v.height)
    tubercle = v.world(side * (v.transverse - 1.0), v.half_depth + 14.0, 6.0)
    last = {11: 100.0, 12: 62.0}.get(number, 128.0 if number > 7 else 138.0)
    drop = {1: 42.0, 2: 62.0, 3: 78.0, 11: 85.0, 12: 75.0}.get(number, 98.0) * r.gauss(1.0, 0.04)
    points = [head, tubercle]
    for angle in (26.0, 40.0, 57.0, 76.0, 95.0, 113.0, 128.0, 138.0):
        if angle > last:
            break
        phi = torch.deg2rad(torch.tensor(angle))
        z = head[2] - drop * float((1 - phi.cos()) / 2) ** 0.95 * 1.15 + 2.0
        half_width, half_depth = (float(a) for a in cage.at(torch.tensor([z])))
        # Cross-sections are fuller than an ellipse.
        x = half_width * float(phi.sin()) ** 0.8
        y = cage.middle + half_depth * float(phi.cos()) * (1 if angle < 90 else 0.97)
        points.append([side * x + 0.3 * spine.position(f"T{number}")[0], y, z])
    bone = curve(points, 6.0)
    if number > 10:
        return bone, []
    end = bone[-1]
    joined = min(number, 7)
    z = cage.top - (0.16 + 0.085 * joined) * (cage.top - cage.bottom) * 0.95
    _, half_depth = (float(a) for a in cage.at(torch.tensor([z])))
    sternum = [side * 16.0, cage.middle - half_depth * 0.98, z]
    bend = [0.55 * end[0] + 0.45 * sternum[0], 0.5 * (end[1] + sternum[1]) - 6.0, min(end[2], sternum[2]) - 4.0]
    return bone, curve([end, bend, sternum], 8.0)


def paint_chest(canvas: Canvas, spine: Spine, cage: Cage, r: random.Random, density: float) -> None:
    """Ribs, cartilage, sternum, clavicles and scapulae."""
    for number in range(1, 13):
        thick, tall = (2.6, 6.5) if number < 11 else (2.3, 4.8)
        for side in (-1, 1):
            bone, cartilage = rib_curve(spine, cage, number, side, r)
            _tube(canvas, cage, cartilage, 3.6, 5.2, None, density)
            _tube(canvas, cage, bone, thick * 1.25, tall, 1.2, density)
    _paint_sternum(canvas, cage, density)
    for side in (-1, 1):
        _paint_shoulder(canvas, cage, side, r, density)


def _tube(canvas: Canvas, cage: Cage, points: list, thick: float, tall: float, cortex: float | None, density) -> None:
    """A flattened tube along a curve, thin across the chest wall and tall along it, in short pieces."""
    for i in range(0, len(points) - 1, 4):
        piece = points[i : i + 5]
        if len(piece) < 2:
            continue
        block = canvas.around(piece, tall + 2.0)
        if block is None:
            continue
        distance = None
        for a, b in pairwise(piece):
            d = _flat_capsule(block, a, b, cage.middle, thick, tall)
            distance = d if distance is None else torch.minimum(distance, d)
        if cortex is None:
            canvas.fill(block, distance, 110.0)
        else:
            canvas.bone(block, distance, cortex, 1000.0, 190.0 * density)


def _flat_capsule(block, a, b, middle: float, thick: float, tall: float) -> torch.Tensor:
    """Signed distance to a segment whose cross-section is an ellipse, thin along the outward normal of the chest."""
    axis = torch.tensor(b) - torch.tensor(a)
    length = float(axis.norm())
    axis = axis / max(length, 1e-6)
    outward = torch.tensor([a[0], 1.4 * (a[1] - middle), 0.0])
    outward = outward - (outward @ axis) * axis
    outward = outward / outward.norm().clamp_min(1e-6)
    along_wall = torch.linalg.cross(axis, outward)
    frame = torch.stack([axis, outward, along_wall], 1)
    s, n, t = block.local(a, frame)
    beyond = s - s.clamp(0, length)
    return ((n / thick) ** 2 + (t / tall) ** 2 + (beyond / thick) ** 2).sqrt().sub(1).mul(thick)


def _paint_sternum(canvas: Canvas, cage: Cage, density: float) -> None:
    length = cage.top - cage.bottom
    heights = [cage.top - share * length for share in (0.16, 0.28, 0.45, 0.62, 0.72)]
    widths = [24.0, 15.0, 16.0, 17.0, 7.0]
    places = []
    for z in heights:
        _, half_depth = (float(a) for a in cage.at(torch.tensor([z])))
        places.append([0.0, cage.middle - half_depth * 0.99, z])
    for i in range(4):
        block = canvas.around([places[i], places[i + 1]], 32.0)
        if block is None:
            continue
        p = block.local((0.0, 0.0, 0.0))
        wide = 0.5 * (widths[i] + widths[i + 1]) / 5.0
        canvas.bone(block, capsule(p, places[i], places[i + 1], 5.0, 5.0, (wide, 1, 1.2)), 1.0, 700.0, 130.0 * density)


def _paint_shoulder(canvas: Canvas, cage: Cage, side: int, r: random.Random, density: float) -> None:
    length = cage.top - cage.bottom
    _, front = (float(a) for a in cage.at(torch.tensor([cage.top - 0.14 * length])))
    start = [side * 20.0, cage.middle - front, cage.top - 0.12 * length]
    shoulder = [side * 152.0, cage.middle + 18.0, cage.top + r.gauss(6, 8)]
    bend = [side * 75.0, cage.middle - front - 6.0, cage.top - 0.03 * length]
    far = [side * 115.0, cage.middle - 8.0, cage.top + 4.0]
    for a, b in pairwise(curve([start, bend, far, shoulder], 14.0)):
        block = canvas.around([a, b], 12.0)
        if block is not None:
            canvas.bone(block, capsule(block.local((0, 0, 0)), a, b, 6.0, 6.0), 1.8, 1100.0, 200.0 * density)
    # Scapula: a triangular blade on the back of the cage, with a spine and a thick lateral border.
    top = [side * 100.0, cage.middle + 84.0, cage.top - 0.05 * length]
    inner = [side * 72.0, cage.middle + 96.0, cage.top - 0.16 * length]
    tip = [side * 104.0, cage.middle + 92.0, cage.top - 0.58 * length]
    outer = [side * 142.0, cage.middle + 52.0, cage.top - 0.12 * length]
    for a, b, radius in ((tip, outer, 4.5), (inner, outer, 4.0), (outer, shoulder, 6.0), (top, inner, 2.5)):
        block = canvas.around([a, b], 10.0)
        if block is not None:
            canvas.bone(block, capsule(block.local((0, 0, 0)), a, b, radius, radius), 1.6, 950.0, 180.0 * density)
    corners = [torch.tensor(c) for c in (top, tip, outer)]
    block = canvas.around([top, tip, outer, inner], 5.0)
    if block is None:
        return
    normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
    normal = normal / normal.norm()
    distance = None
    p = block.local(top)
    plane = sum(float(normal[i]) * p[i] for i in range(3)).abs() - 1.3
    centroid = sum(corners) / 3
    for i in range(3):
        edge = corners[(i + 1) % 3] - corners[i]
        out = torch.linalg.cross(edge, normal)
        out = out / out.norm()
        if float(out @ (centroid - corners[i])) > 0:
            out = -out
        q = block.local(corners[i].tolist())
        d = sum(float(out[k]) * q[k] for k in range(3))
        distance = d if distance is None else torch.maximum(distance, d)
    canvas.bone(block, torch.maximum(distance, plane), 1.2, 800.0, 200.0 * density)
