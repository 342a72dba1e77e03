"""The phantom's spine: an articulated chain of vertebrae T1 to L5 with discs, on a sacrum.

Frame: x left, y back, z up, mm. A vertebra's own frame has its origin in the middle of its body. Sizes follow published
averages of adults within a few millimetres; each phantom varies them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from .phantom_canvas import Canvas, capsule, smooth_intersection, smooth_union
from .poses import rotation_from_euler

# name, body height, half width, half depth, disc below, sagittal slope dy/ds going up, transverse and spinous lengths.
_LEVELS = (
    ("L5", 27.5, 26.0, 17.5, 9.5, -0.55, 40.0, 26.0),
    ("L4", 28.0, 25.0, 17.5, 11.0, -0.25, 42.0, 31.0),
    ("L3", 28.0, 24.0, 17.2, 10.5, 0.02, 45.0, 33.0),
    ("L2", 27.5, 23.0, 17.0, 9.5, 0.20, 42.0, 33.0),
    ("L1", 26.5, 22.0, 16.5, 8.5, 0.30, 38.0, 31.0),
    ("T12", 25.5, 21.5, 16.0, 7.5, 0.33, 28.0, 28.0),
    ("T11", 24.0, 20.0, 15.5, 6.0, 0.31, 26.0, 28.0),
    ("T10", 23.0, 18.3, 15.0, 5.5, 0.27, 29.0, 30.0),
    ("T9", 22.0, 17.3, 14.8, 5.0, 0.20, 31.0, 33.0),
    ("T8", 21.0, 16.3, 14.5, 4.8, 0.11, 32.0, 35.0),
    ("T7", 20.5, 15.7, 14.0, 4.6, 0.02, 32.5, 35.0),
    ("T6", 20.0, 15.2, 13.3, 4.5, -0.08, 33.0, 34.0),
    ("T5", 19.3, 14.7, 12.5, 4.4, -0.18, 33.0, 33.0),
    ("T4", 18.8, 14.5, 11.5, 4.4, -0.27, 33.0, 32.0),
    ("T3", 18.3, 14.5, 10.8, 4.4, -0.36, 33.5, 31.0),
    ("T2", 17.8, 15.0, 10.0, 4.4, -0.45, 35.0, 31.0),
    ("T1", 17.0, 16.0, 9.5, 4.4, -0.52, 37.0, 30.0),
)


@dataclass(frozen=True)
class Vertebra:
    """One vertebra: middle of the body, axes (columns left, back, up), sizes in mm."""

    name: str
    centre: tuple[float, float, float]
    axes: Tensor
    height: float
    half_width: float
    half_depth: float
    disc: float
    transverse: float
    spinous: float

    @property
    def thoracic(self) -> bool:
        """True for T1 to T12."""
        return self.name.startswith("T")

    def world(self, x: float, y: float, z: float) -> list[float]:
        """A point of the vertebra's own frame in the phantom's."""
        moved = self.axes @ torch.tensor([x, y, z], dtype=self.axes.dtype)
        return [self.centre[i] + float(moved[i]) for i in range(3)]


@dataclass(frozen=True)
class Spine:
    """Vertebrae from L5 up, and the frame of the first sacral segment (origin: the middle of its upper endplate)."""

    vertebrae: list[Vertebra]
    sacrum: Vertebra

    def position(self, name: str) -> tuple[float, float, float]:
        """The middle of a vertebra's body."""
        return next(v.centre for v in self.vertebrae if v.name == name)


def make_spine(r: random.Random) -> Spine:
    """A spine with its own size, lordosis, kyphosis, scoliosis, rotations and discs; L3 lies at about (0, 12, 0)."""
    size = r.gauss(1.0, 0.05)
    sagittal = r.uniform(0.45, 0.8)
    lean, period, phase = r.gauss(0, 0.06), r.uniform(200, 420), r.uniform(0, 6.28)
    turn = r.gauss(0, 0.05)
    thin_disc = r.choice([None, None, "L5", "L4", "L3", "L2", "T12"])
    vertebrae: list[Vertebra] = []
    at = torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64)
    sacrum = None
    for name, height, half_width, half_depth, disc, slope, transverse, spinous in _LEVELS:
        s = size * r.gauss(1.0, 0.015)
        disc = disc * size * r.uniform(0.8, 1.15) * (0.45 if name == thin_disc else 1.0)
        wave = torch.tensor(6.2832 * float(at[2]) / period + phase)
        angles = torch.tensor(
            [
                # Turning about x by a positive angle moves the upper end forward (to -y).
                -sagittal * slope + r.gauss(0, 0.02),
                lean * float(wave.cos()) + r.gauss(0, 0.012),
                turn * float(wave.sin()) + r.gauss(0, 0.02),
            ],
            dtype=torch.float64,
        )
        axes = rotation_from_euler(angles)
        if sacrum is None:
            tilt = rotation_from_euler(angles + torch.tensor([r.uniform(0.1, 0.3), 0.0, 0.0], dtype=torch.float64))
            sacrum = Vertebra("S1", (0.0, 0.0, 0.0), tilt, 30.0 * s, 27.0 * s, 17.0 * s, 0.0, 0.0, 0.0)
        up = axes[:, 2]
        at = at + up * (disc + height * s / 2)
        vertebrae.append(
            Vertebra(
                name,
                tuple(at.tolist()),
                axes,
                height * s,
                half_width * s,
                half_depth * s,
                disc,
                transverse * s * r.gauss(1, 0.05),
                spinous * s * r.gauss(1, 0.07),
            )
        )
        at = at + up * (height * s / 2)
    origin = torch.tensor(next(v.centre for v in vertebrae if v.name == "L3")) - torch.tensor([0.0, 12.0, 0.0])

    def shifted(v: Vertebra) -> Vertebra:
        centre = tuple((torch.tensor(v.centre) - origin).tolist())
        return Vertebra(**{**v.__dict__, "centre": centre})

    return Spine([shifted(v) for v in vertebrae], shifted(sacrum))


def _body(p: tuple[Tensor, Tensor, Tensor], v: Vertebra, wedge: float) -> Tensor:
    """Signed distance to a vertebral body: waisted, kidney-shaped from above, with concave endplates."""
    x, y, z = p
    a, b, half = v.half_width, v.half_depth, v.height / 2
    u = (z / half).clamp(-1.2, 1.2)
    waist = 1 - 0.12 * (1 - u * u)
    # The back wall is hollow: points behind are pushed out in the middle.
    hollow = 0.22 * b * torch.exp(-((x / (0.5 * a)) ** 2))
    yy = torch.where(y > 0, y + hollow * (y / b).clamp(0, 1), y)
    radial = ((x.abs() / (a * waist)) ** 2.5 + (yy.abs() / (b * waist)) ** 2.5 + 1e-6) ** 0.4
    side = (radial - 1) * (b * waist)
    rim = radial.clamp_max(1)
    height = half * (1 - 0.16 * (1 - rim * rim) + wedge * y / b)
    return smooth_intersection(side, z.abs() - height, 3.0)


def _arch(p: tuple[Tensor, Tensor, Tensor], v: Vertebra, r: random.Random) -> Tensor:
    """Signed distance to the posterior elements: pedicles, laminae, articular, transverse and spinous processes."""
    x, y, z = p
    b, half = v.half_depth, v.height / 2
    lumbar = not v.thoracic
    canal = 11.5 if lumbar else 8.5  # half width
    depth = 15.0 if lumbar else 14.0
    scale = v.half_width / (24.0 if lumbar else 17.0)
    arch = None

    def add(other: Tensor, blend: float = 3.0) -> None:
        nonlocal arch
        arch = other if arch is None else smooth_union(arch, other, blend)

    mirrored = (x.abs(), y, z)  # left and right alike but for the transverse processes
    high = 0.22 * half if lumbar else 0.4 * half
    radius = (4.4 if lumbar else 3.0) * scale
    add(capsule(mirrored, (canal + 3.0, 0.55 * b, high), (canal + 3.0, b + 9.0, high), radius, radius, (1, 1, 1.6)))
    # Lamina: a tall plate from the pedicle to the root of the spinous process.
    add(capsule(mirrored, (canal + 2.5, b + 9.0, -1.0), (0.0, b + depth + 4.0, -5.0), 3.6, 3.2, (1, 1, 2.0)))
    # Articular processes; the lower pair lies behind and between the upper pair of the next level.
    side = canal + (6.5 if lumbar else 5.0)
    add(capsule(mirrored, (side, b + 10.0, 0.0), (side + 1.5, b + 9.0, half + 6.0), 4.6 * scale, 3.6 * scale))
    add(capsule(mirrored, (side - 1.0, b + 13.0, 0.0), (side - 3.0, b + 15.0, -half - 8.0), 4.4 * scale, 3.4 * scale))
    for sign in (-1, 1):
        long = v.transverse * r.gauss(1, 0.06)
        back, up = (b + 9.0, 2.0) if lumbar else (b + 18.0, 3.0)
        tip = (sign * long, back + r.gauss(2, 2), up + r.gauss(2, 2))
        ends = (3.6, 2.8) if lumbar else (3.8, 4.2)
        add(capsule(p, (sign * (canal + 3.0), b + 8.0, 1.0), tip, *ends, (1, 1, 1.5 if lumbar else 1.0)))
    if lumbar:
        root, tip = (0.0, b + depth + 5.0, -5.0), (0.0, b + depth + 5.0 + v.spinous * 0.75, -9.0)
        add(capsule(p, root, tip, 2.4, 3.2, (1, 1, 3.4)), 2.0)
    else:
        drop = {"T11": 10.0, "T12": 8.0}.get(v.name, 26.0 if v.name in ("T5", "T6", "T7", "T8", "T9") else 16.0)
        root, tip = (0.0, b + depth + 3.0, -4.0), (0.0, b + depth + 3.0 + v.spinous * 0.8, -4.0 - drop)
        add(capsule(p, root, tip, 2.6, 2.8, (1, 1, 1.8)), 2.0)
    # The canal stays open.
    inside = ((x / canal) ** 2 + ((y - b - 0.5 * depth - 0.5) / (0.5 * depth + 1)) ** 2).sqrt()
    return torch.maximum(arch, (1 - inside) * 7.0)


def paint_spine(canvas: Canvas, spine: Spine, r: random.Random, density: float) -> None:
    """Discs and vertebrae. density: factor on trabecular HU (0.6 porous ... 1.4 dense)."""
    for v in spine.vertebrae:
        wedge = r.gauss(-0.03 if v.thoracic else 0.05, 0.02)
        marks = [
            v.world(x, y, z)
            for x in (-v.transverse - 6, v.transverse + 6)
            for y in (-v.half_depth - 4, v.half_depth + 60)
            for z in (-v.height / 2 - 34, v.height / 2 + 14)
        ]
        block = canvas.around(marks, 0.0)
        if block is None:
            continue
        p = block.local(v.centre, v.axes)
        lower = v.world(0.0, 0.0, -(v.height + v.disc) / 2)
        q = block.local(lower, v.axes)
        radial = ((q[0] / v.half_width).abs() ** 2.4 + (q[1] / v.half_depth).abs() ** 2.4 + 1e-6) ** (1 / 2.4)
        disc = torch.maximum((radial - 1.0) * v.half_depth, q[2].abs() - v.disc / 2 - 1.0)
        canvas.fill(block, disc, 95.0)
        canvas.bone(block, _body(p, v, wedge), 1.0, 720.0, 150.0 * density)
        canvas.bone(block, _arch(p, v, r), 1.5, 850.0, 190.0 * density)
