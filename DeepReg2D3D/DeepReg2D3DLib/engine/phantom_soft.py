"""The phantom's soft tissue: skin, fat, muscle, organs, lungs with vessels and airways, heart, gas.

It is painted on a grid of twice the voxel size, since it has no fine detail but the vessels, and interpolated.
Frame: x left, y back, z up, mm.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from .phantom_canvas import Canvas, capsule, curve, ellipsoid, interpolated, smooth_union
from .phantom_pelvis import hip_joint
from .phantom_spine import Spine
from .phantom_thorax import Cage


def _noise(shape: tuple[int, int, int], cell: int, generator: torch.Generator) -> Tensor:
    """Smooth noise of unit deviation, correlated over about ``cell`` voxels."""
    coarse = torch.randn(1, 1, *(n // cell + 3 for n in shape), generator=generator)
    field = functional.interpolate(coarse, scale_factor=cell, mode="trilinear", align_corners=False)
    return field[0, 0, : shape[0], : shape[1], : shape[2]] * 1.6


class Body:
    """Everything that shapes one phantom's soft tissue, drawn once."""

    def __init__(self, spine: Spine, cage: Cage, r: random.Random) -> None:
        self.spine, self.cage = spine, cage
        self.fat = r.uniform(7.0, 30.0)
        self.girth = r.gauss(1.0, 0.07)
        hip = hip_joint(spine, 1)
        top, bottom = cage.top, cage.bottom
        waist = spine.position("L3")
        chest_w = max(w for _, w in cage.width) + 14.0 + 0.8 * self.fat
        chest_d = max(d for _, d in cage.depth) + 10.0 + 0.6 * self.fat
        g, f = self.girth, self.fat
        self.width = [
            (hip[2] - 120, (168 + 0.8 * f) * g),
            (hip[2], (176 + 0.8 * f) * g),
            (waist[2] - 10, (136 + f) * g),
            (bottom + 40, chest_w * 0.98),
            (bottom + 0.6 * (top - bottom), chest_w),
            (top - 25, 168.0),
            (top + 35, 85.0),
            (top + 70, 65.0),
        ]
        waist_d = (98 + 1.1 * f) * g
        self.depth = [
            (hip[2] - 120, (98 + 0.6 * f) * g),
            (hip[2] + 10, (108 + 0.8 * f) * g),
            (waist[2], waist_d),
            (bottom + 20, 0.5 * (waist_d + chest_d)),
            (bottom + 0.5 * (top - bottom), chest_d),
            (top, 72.0),
            (top + 60, 62.0),
        ]
        back = waist[1] + 17 + 15 + 34 + 0.45 * f
        self.middle = [
            (hip[2], hip[1] + 18.0),
            (waist[2], back - waist_d),
            (bottom + 60, cage.middle),
            (top - 40, cage.middle + 4),
            (top + 40, spine.position("T1")[1] - 10),
        ]
        self.liver_dome = bottom + (0.32 + r.gauss(0, 0.03)) * (top - bottom)
        self.contrast = r.choice([0.0, 0.0, 120.0])
        self.visceral_fat = r.uniform(0.2, 0.8)


def paint_soft_tissue(canvas: Canvas, body: Body, r: random.Random, generator: torch.Generator) -> None:
    """Fill the canvas with everything but bone."""
    shape = tuple((n + 1) // 2 + 1 for n in canvas.shape)
    low = [float(axis[0]) for axis in canvas.axes]
    coarse = Canvas(low, shape, 2 * canvas.spacing, generator)
    x = coarse.axes[0][None, None, :]
    y = coarse.axes[1][None, :, None]
    z = coarse.axes[2]
    column = z[:, None, None]
    width, depth, middle = (interpolated(t, z)[:, None, None] for t in (body.width, body.depth, body.middle))
    radial = ((x.abs() / width) ** 2.4 + ((y - middle).abs() / depth) ** 2.4 + 1e-6) ** (1 / 2.4)
    skin = (radial - 1) * torch.minimum(width, depth)  # mm, negative inside
    whole = coarse.block([-1e4] * 3, [1e4] * 3)
    lumps = _noise(shape, 5, generator)
    coarse.fill(whole, skin, 10.0, 1.0)
    coarse.fill(whole, skin + 2.5, -105.0 + 10 * lumps, 1.0)
    muscle_depth = body.fat * (1 + 0.35 * _noise(shape, 24, generator)) + 4.0
    coarse.fill(whole, skin + muscle_depth, 52.0 + 10 * lumps - 40 * (lumps - 1.5).clamp_min(0), 1.0)
    _paint_abdomen(coarse, whole, body, skin + muscle_depth + 13.0, lumps, r)
    _paint_back_muscles(coarse, body)
    _paint_chest(coarse, whole, body, x, y, column, lumps, r)
    fine = functional.interpolate(
        coarse.hu[None, None], size=[2 * (n - 1) + 1 for n in shape], mode="trilinear", align_corners=True
    )[0, 0]
    canvas.hu.copy_(fine[: canvas.shape[0], : canvas.shape[1], : canvas.shape[2]])
    _paint_lung_tree(canvas, body, r)


def _paint_abdomen(canvas: Canvas, whole, body: Body, wall: Tensor, lumps: Tensor, r: random.Random) -> None:
    """Visceral fat and bowel within the muscular wall, kidneys, stomach, aorta, gas."""
    spine, cage = body.spine, body.cage
    below = (body.liver_dome - whole.z).clamp(-20, 20) / 10
    bowel = torch.sigmoid(3.0 * (lumps - body.visceral_fat + 0.3))
    content = -100.0 + 140.0 * bowel
    inside = torch.maximum(wall, -below * 10)
    canvas.fill(whole, inside, content, 2.0)
    waist, hip = spine.position("L3"), hip_joint(spine, 1)
    p = whole.local((0.0, 0.0, 0.0))
    for side in (-1, 1):
        centre = (side * 62.0, waist[1] + 14.0, waist[2] + 40.0 - 8 * (side < 0))
        canvas.fill(whole, ellipsoid(p, centre, (27.0, 23.0, 54.0)), 38.0 + body.contrast)
        psoas = [[side * 26.0, waist[1] + 8, waist[2] + 60], [side * 46.0, waist[1] - 2, waist[2] - 60], hip]
        psoas[2] = [side * 80.0, hip[1] - 35, hip[2] + 10]
        for a, b in pairwise(psoas):
            canvas.fill(whole, capsule(p, a, b, 13.0, 20.0), 56.0)
    line = [[v.centre[0] + 10, v.centre[1] - v.half_depth - 13, v.centre[2]] for v in spine.vertebrae[1:14]]
    for a, b in pairwise(line):
        block = canvas.around([a, b], 16.0)
        if block is not None:
            canvas.fill(block, capsule(block.local((0, 0, 0)), a, b, 9.5, 10.5), 45.0 + body.contrast)
    # Liver under the right dome, spleen and stomach under the left.
    liver = ellipsoid(p, (-58.0, cage.middle - 8, body.liver_dome - 72), (95.0, 88.0, 80.0))
    canvas.fill(whole, torch.maximum(liver, wall), 60.0 + 0.4 * body.contrast)
    canvas.fill(whole, ellipsoid(p, (92.0, cage.middle + 38, body.liver_dome - 62), (28.0, 34.0, 48.0)), 50.0)
    stomach = (55.0, cage.middle - 34, body.liver_dome - 55)
    canvas.fill(whole, ellipsoid(p, stomach, (48.0, 36.0, 38.0)), 25.0)
    gas = [(stomach[0], stomach[1] - 12, stomach[2] + 12, 22 * r.random() + 8)] if r.random() < 0.8 else []
    frame = [(-105.0, 0.0), (105.0, 0.0), (-100.0, -60.0), (100.0, -70.0), (0.0, 30.0), (40.0, 25.0), (20.0, -110.0)]
    for _ in range(r.randint(4, 14)):
        if r.random() < 0.6:
            gx, gz = r.choice(frame)
        else:
            gx, gz = r.uniform(-80, 80), r.uniform(-110, 40)
        gas.append(
            (gx + r.gauss(0, 12), waist[1] - 62 + r.gauss(0, 22), waist[2] + gz + r.gauss(0, 14), r.uniform(6, 22))
        )
    for gx, gy, gz, radius in gas:
        radii = (radius * r.uniform(0.8, 1.6), radius * r.uniform(0.6, 1.0), radius * r.uniform(0.7, 1.3))
        block = canvas.around([[gx, gy, gz]], 40.0)
        if block is not None:
            q = block.local((0.0, 0.0, 0.0))
            ball = ellipsoid(q, (gx, gy, gz), radii)
            # Folds of the gut: the outline wanders by some mm.
            ball = ball + 5.0 * lumps[block.index]
            canvas.fill(block, torch.maximum(ball, wall[block.index]), -980.0)
    bladder = (0.0, hip[1] - 38.0, hip[2] + 8.0)
    canvas.fill(whole, ellipsoid(p, bladder, (40.0, 30.0, r.uniform(18, 40))), 12.0)


def _paint_back_muscles(canvas: Canvas, body: Body) -> None:
    for side in (-1, 1):
        line = [
            [v.centre[0] + side * 30, v.centre[1] + v.half_depth + 24, v.centre[2]] for v in body.spine.vertebrae[::3]
        ]
        line.insert(0, [side * 26.0, body.spine.sacrum.centre[1] + 34, body.spine.sacrum.centre[2] - 50])
        for a, b in pairwise(line):
            block = canvas.around([a, b], 36.0)
            if block is not None:
                canvas.fill(block, capsule(block.local((0, 0, 0)), a, b, 21.0, 19.0, (1.2, 1, 1)), 54.0)


def _paint_chest(canvas: Canvas, whole, body: Body, x, y, z, lumps: Tensor, r: random.Random) -> None:
    """Mediastinum, heart and lungs within the cage, above the diaphragm."""
    cage, spine = body.cage, body.spine
    half_width, half_depth = (a[:, None, None] for a in cage.at(z.flatten()))
    radial = ((x.abs() / half_width) ** 2.2 + ((y - cage.middle).abs() / half_depth) ** 2.2 + 1e-6) ** (1 / 2.2)
    wall = (radial - 1) * torch.minimum(half_width, half_depth)
    wall = torch.maximum(wall, z - cage.top - 8.0)
    levels = sorted((v.centre[2], v.centre[0], v.centre[1]) for v in spine.vertebrae)
    spine_x = interpolated([(a, b) for a, b, _ in levels], z.flatten())[:, None, None]
    spine_y = interpolated([(a, c) for a, _, c in levels], z.flatten())[:, None, None]
    dome = body.liver_dome - 12.0 * (x > 0)
    reach = 1 - ((x.abs() - 70) / 88) ** 2 * 0.9 - (((y - cage.middle + 18) / half_depth.clamp_min(60)) ** 2) * 1.5
    diaphragm = dome - 95 + 95 * reach.clamp(-0.6, 1)
    chest = torch.maximum(wall + 5.0, diaphragm - z)
    # Chest wall muscle and the mediastinum first, then the lungs in it.
    canvas.fill(whole, chest, 40.0 + 8 * lumps)
    p = whole.local((0.0, 0.0, 0.0))
    # A heart leans: base behind the sternum on the right, apex at the left dome; great vessels above it.
    base = (4.0, cage.middle - 26, body.liver_dome + 62)
    apex = (42.0 + r.gauss(0, 5), cage.middle - 46, body.liver_dome + 14 + r.gauss(0, 5))
    heart = capsule(p, base, apex, 38.0 + r.gauss(0, 3), 31.0 + r.gauss(0, 3), (1.1, 1.0, 1.0))
    aorta = capsule(p, base, (10.0, cage.middle - 8, body.liver_dome + 128), 26.0, 17.0)
    heart = smooth_union(heart, aorta, 30.0)
    canvas.fill(whole, heart, 45.0 + body.contrast)
    thick = r.uniform(24.0, 34.0)
    between = (x - spine_x * 0.5).abs() - thick - 8 * torch.sin(z / 31.0)
    between = torch.where(y > spine_y - 6, (x - spine_x).abs() - 23.0, between)
    behind = 24.0 - ((x - spine_x) ** 2 + (y - spine_y) ** 2).sqrt()
    lung = torch.maximum(torch.maximum(chest + 1.5, -between), torch.maximum(-heart + 1.0, behind))
    density = r.uniform(-870, -790) + 45 * ((y - cage.middle) / 80).clamp(-1, 1)
    canvas.fill(whole, lung, density + 22 * lumps, 1.0)
    top = spine.position("T1")
    carina = spine.position("T5")
    windpipe = [
        [top[0], top[1] - 34, top[2] + 60],
        [top[0], top[1] - 30, top[2]],
        [carina[0] - 2, carina[1] - 36, carina[2]],
    ]
    for a, b in pairwise(windpipe):
        block = canvas.around([a, b], 12.0)
        if block is not None:
            canvas.fill(block, capsule(block.local((0, 0, 0)), a, b, 8.5, 8.5), -990.0)


def _paint_lung_tree(canvas: Canvas, body: Body, r: random.Random) -> None:
    """Vessels that branch from the hila into the lungs; they show only where there is lung."""
    carina = body.spine.position("T6")
    for side in (-1, 1):
        hilum = [carina[0] + side * 34.0, carina[1] - 30.0, carina[2] - 8.0]
        bronchus = [[carina[0], carina[1] - 34, carina[2] + 16], hilum]
        block = canvas.around(bronchus, 9.0)
        if block is not None:
            canvas.fill(block, capsule(block.local((0, 0, 0)), *bronchus, 6.5, 5.0), -970.0)
        for _ in range(13):
            theta, phi = r.uniform(-1.35, 1.25), r.uniform(-1.2, 1.2)
            direction = [side * math.cos(theta) * math.cos(phi), math.sin(phi), math.sin(theta)]
            direction = torch.tensor(direction)
            _branch(canvas, hilum, direction, r.uniform(3.0, 5.0), 38.0, 4, r)


def _branch(canvas: Canvas, start, direction: Tensor, radius: float, length: float, depth: int, r) -> None:
    bend = direction + 0.25 * torch.tensor([r.gauss(0, 1) for _ in range(3)])
    end = [start[i] + length * float(bend[i] / bend.norm()) for i in range(3)]
    points = curve([start, [0.5 * (s + e) + r.gauss(0, 2) for s, e in zip(start, end, strict=True)], end], length / 2)
    for a, b in pairwise(points):
        block = canvas.around([a, b], radius + 1.0)
        if block is None:
            return
        view = canvas.hu[block.index]
        share = (0.5 - capsule(block.local((0, 0, 0)), a, b, radius, 0.85 * radius) / canvas.spacing).clamp(0, 1)
        view.copy_(torch.where(view < -300, torch.maximum(view, view + share * (30 - view)), view))
    if depth > 0:
        for _ in range(2):
            turned = direction + 0.65 * torch.tensor([r.gauss(0, 1) for _ in range(3)])
            _branch(canvas, end, turned / turned.norm(), radius * 0.7, length * 0.78, depth - 1, r)
