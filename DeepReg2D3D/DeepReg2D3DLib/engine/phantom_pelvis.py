"""The phantom's pelvis: sacrum, hip bones and the upper femora. Frame: x left, y back, z up, mm."""

from __future__ import annotations

import math
import random

import torch

from .phantom_canvas import Block, Canvas, capsule, curve, ellipsoid, smooth_union
from .phantom_spine import Spine, Vertebra


class Solid:
    """The union of capsules in one block: each is evaluated only near itself."""

    def __init__(self, canvas: Canvas, points: list, margin: float) -> None:
        self.canvas = canvas
        self.block: Block | None = canvas.around(points, margin)
        if self.block is not None:
            shape = [s.stop - s.start for s in self.block.index]
            self.distance = torch.full(shape, 20.0)

    def add(self, a, b, ra: float, rb: float, stretch=(1, 1, 1), blend: float = 3.0) -> None:
        """A capsule, blended into what is there."""
        if self.block is None:
            return
        near = self.canvas.around([a, b], max(ra, rb) * max(stretch) + 8.0)
        if near is None:
            return
        index, ends = [], []
        for whole, part in zip(self.block.index, near.index, strict=True):
            first, last = max(whole.start, part.start), min(whole.stop, part.stop)
            if first >= last:
                return
            index.append(slice(first - whole.start, last - whole.start))
            ends.append(slice(first - part.start, last - part.start))
        p = (near.x[:, :, ends[2]], near.y[:, ends[1]], near.z[ends[0]])
        view = self.distance[tuple(index)]
        view.copy_(smooth_union(view, capsule(p, a, b, ra, rb, stretch), blend))

    def paint(self, cortex_mm: float, cortex_hu: float, marrow_hu: float) -> None:
        """Onto the canvas, as bone."""
        if self.block is not None:
            self.canvas.bone(self.block, self.distance, cortex_mm, cortex_hu, marrow_hu)


def hip_joint(spine: Spine, side: int) -> list[float]:
    """Centre of a femoral head, mm; side +1 is left."""
    x, y, z = spine.sacrum.centre
    return [x + side * 88.0, y - 30.0, z - 92.0]


def paint_pelvis(canvas: Canvas, spine: Spine, r: random.Random, density: float) -> None:
    """Sacrum, hip bones, femora."""
    _paint_sacrum(canvas, spine.sacrum, density)
    flare = r.gauss(1.0, 0.06)
    for side in (-1, 1):
        _paint_hip(canvas, spine, side, flare, density)
        _paint_femur(canvas, spine, side, r, density)


def _paint_sacrum(canvas: Canvas, s1: Vertebra, density: float) -> None:
    """Five fused segments on a curve, wings to the sacro-iliac joints, foramina, a median crest."""
    # Positions in the frame of the first segment (y back, z up).
    path = [(0.0, 0.0, -13.0), (0.0, 5.0, -38.0), (0.0, 13.0, -60.0), (0.0, 17.0, -79.0), (0.0, 14.0, -95.0)]
    half = [27.0, 21.0, 17.0, 13.0, 9.0]
    wing = [54.0, 44.0, 32.0, 23.0, 14.0]
    depth = [15.0, 11.5, 9.0, 7.0, 5.5]
    corners = [s1.world(x, y, z) for x in (-62, 62) for y in (-20, 45) for z in (-105, 4)]
    block = canvas.around(corners, 0.0)
    if block is None:
        return
    p = block.local(s1.centre, s1.axes)
    solid = None
    for i in range(5):
        c = path[i]
        tall = 13.0 - 1.6 * i
        body = ellipsoid(p, c, (half[i] * 1.15, depth[i] * 1.25, tall * 1.35))
        body = torch.maximum(body, (p[2] - c[2]).abs() - tall)
        ala = capsule(
            (p[0].abs(), p[1], p[2]), (half[i] * 0.7, c[1] + 5, c[2]), (wing[i] - 9, c[1] + 8, c[2] - 4), 9, 8
        )
        part = smooth_union(body, ala * 0.9, 4.0)
        back = capsule(p, (-half[i] * 0.6, c[1] + depth[i] + 9, c[2]), (half[i] * 0.6, c[1] + depth[i] + 9, c[2]), 4, 4)
        part = smooth_union(part, back, 3.0)
        spinous = capsule(p, (0, c[1] + depth[i] + 8, c[2]), (0, c[1] + depth[i] + 17 - 2 * i, c[2] - 3), 3.0, 2.5)
        part = smooth_union(part, spinous, 2.0)
        solid = part if solid is None else smooth_union(solid, part, 4.0)
    for i in range(4):
        c, d = path[i], path[i + 1]
        mid = (half[i + 1] + 3.0, 0.5 * (c[1] + d[1]), 0.5 * (c[2] + d[2]))
        hole = capsule((p[0].abs(), p[1], p[2]), (mid[0], mid[1] - 20, mid[2]), (mid[0], mid[1] + 25, mid[2]), 5.0, 4.0)
        solid = torch.maximum(solid, -hole)
    canvas.bone(block, solid, 1.2, 700.0, 140.0 * density)


def _paint_hip(canvas: Canvas, spine: Spine, side: int, flare: float, density: float) -> None:
    sx, sy, sz = spine.sacrum.centre
    hx, hy, hz = hip_joint(spine, side)

    def at(x: float, y: float, z: float) -> list[float]:
        return [sx + side * x, sy + y, sz + z]

    crest = curve(
        [
            at(44, 44, -28),
            at(58 * flare, 42, 12),
            at(90 * flare, 18, 34),
            at(122 * flare, -22, 36),
            at(132 * flare, -52, 18),
            at(122 * flare, -76, -12),
        ],
        5.5,
    )
    lower = at(112 * flare, -74, -40)  # anterior inferior iliac spine
    solid = Solid(canvas, [*crest, at(70, -60, -160), at(2, -105, -135), at(100, 10, -100)], 14.0)
    count = len(crest)
    front = [[hx + side * 8, hy + 4, hz + 33], [hx + side * 18, hy - 14, hz + 30]]
    roof = curve([at(56, 28, -42), at(70, 10, -62), *front], 3)
    for k, top in enumerate(crest):
        base = roof[min(len(roof) - 1, int(k / count * len(roof)))]
        # The wing bends in: its middle lies towards the midline from the straight line.
        mid = [0.5 * (top[i] + base[i]) for i in range(3)]
        mid[0] -= side * 7.0
        solid.add(top, mid, 5.0, 2.9, blend=1.5)
        solid.add(mid, base, 2.9, 6.5, blend=1.5)
    solid.add(crest[-1], lower, 5.0, 5.5)
    solid.add(lower, [hx + side * 12, hy - 16, hz + 28], 6.0, 9.0)
    # Acetabulum: a thick ring of bone about the head.
    for k in range(12):
        turns = [2 * math.pi * t / 12 for t in (k, k + 1)]
        ring = [[hx - side * 6, hy + 29 * math.cos(t), hz + 29 * math.sin(t)] for t in turns]
        solid.add(*ring, 7.0, 7.0, blend=4.0)
    solid.add([hx - side * 22, hy, hz + 18], [hx - side * 22, hy, hz - 14], 5.5, 5.5)
    symphysis = at(9, -92, -112)
    tuber = at(62, -8, -152)
    solid.add([hx - side * 10, hy - 24, hz + 2], symphysis, 8.5, 7.0)
    solid.add([symphysis[0], symphysis[1], symphysis[2]], [symphysis[0], symphysis[1] + 8, symphysis[2] - 26], 8.0, 6.5)
    solid.add([symphysis[0], symphysis[1] + 8, symphysis[2] - 26], tuber, 5.5, 9.0)
    solid.add([hx - side * 8, hy + 26, hz - 8], tuber, 11.0, 13.0)
    solid.paint(1.9, 1050.0, 190.0 * density)
    _carve_socket(canvas, [hx, hy, hz])


def _carve_socket(canvas: Canvas, centre: list[float]) -> None:
    block = canvas.around([centre], 29.0)
    if block is not None:
        p = block.local((0.0, 0.0, 0.0))
        canvas.fill(block, ellipsoid(p, centre, (27.0, 27.0, 27.0)), 60.0)


def _paint_femur(canvas: Canvas, spine: Spine, side: int, r: random.Random, density: float) -> None:
    x, y, z = hip_joint(spine, side)
    turned = r.gauss(-8.0, 6.0)
    neck = [x + side * 40.0, y + 6.0 + 0.4 * turned, z - 28.0]
    greater = [x + side * 52.0, y + 14.0 + 0.4 * turned, z - 8.0]
    lesser = [x + side * 30.0, y + 18.0, z - 66.0]
    shaft = [x + side * 40.0, y + 4.0, z - 75.0]
    low = [x + side * 30.0, y - 2.0, z - 260.0]
    solid = Solid(canvas, [[x, y, z], greater, low], 30.0)
    solid.add([x, y, z], [x + 0.5, y, z], 24.0, 24.0)
    solid.add([x, y, z], neck, 15.0, 17.0, blend=6.0)
    solid.add(neck, greater, 16.0, 12.0, blend=6.0)
    solid.add(neck, shaft, 17.0, 15.5, blend=6.0)
    solid.add(shaft, lesser, 9.0, 6.0, blend=4.0)
    solid.paint(1.6, 950.0, 190.0 * density)
    tube = Solid(canvas, [shaft, low], 18.0)
    tube.add([shaft[0], shaft[1], shaft[2] + 5], low, 15.0, 14.0)
    tube.paint(5.0, 1350.0, 20.0)
