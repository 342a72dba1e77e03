"""Metal that only the X-ray sees: rods, screws, wires, ECG leads, needles, beads and polygons, as paths in metal."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from .draws import Draws, as_maps, pixel_grid, python_random, uniform

MAX_CAPSULES = 24
MAX_POLYGONS = 2
POLYGON_SIDES = 6

# A capsule: ends (x0, y0, x1, y1) and radius in units of half the mean image side, thickness in mm (0: a round bar of
# the radius itself; above 0: a flat plate of that thickness), and whether it joins its neighbours (a bent wire).
Capsule = tuple[float, float, float, float, float, float, float]


@dataclass(frozen=True)
class MetalSettings:
    """Probability that an item holds any metal, the number of objects then, and the width of the field in mm."""

    any: float = 0.5
    objects: tuple[int, int] = (1, 4)
    field_mm: tuple[float, float] = (150.0, 380.0)


NO_METAL = MetalSettings(any=0.0)


@dataclass
class Metal(Draws):
    """capsules: (B, K, 7), see ``Capsule``; polygons: (B, P, 3 * sides + 3) normals and offsets of the sides, centre,
    thickness in mm (0: absent); unit_mm: (B,) mm per image unit; kind: (B,) 0 titanium ... 1 steel; count: (B,) number
    of capsules in use."""

    capsules: Tensor
    polygons: Tensor
    unit_mm: Tensor
    kind: Tensor
    count: Tensor


def _bar(r: random.Random, length: float, radius: float, centre=None, angle: float | None = None) -> Capsule:
    cx, cy = centre or (r.uniform(-0.8, 0.8), r.uniform(-0.8, 0.8))
    angle = r.uniform(0, 2 * math.pi) if angle is None else angle
    dx, dy = 0.5 * length * math.cos(angle), 0.5 * length * math.sin(angle)
    return (cx - dx, cy - dy, cx + dx, cy + dy, radius, 0.0, 0.0)


def _screw(r: random.Random, mm: float, centre=None, angle: float | None = None) -> list[Capsule]:
    """A shaft (foreshortened at random) with a tulip head at one end."""
    shaft = _bar(r, r.uniform(8, 50) * mm, r.uniform(1.8, 3.6) * mm, centre, angle)
    head = r.uniform(4, 7) * mm
    return [shaft, (shaft[0], shaft[1], shaft[0], shaft[1], head, r.uniform(4, 10), 0.0)]


def _construct(r: random.Random, mm: float) -> list[Capsule]:
    """Spinal instrumentation: one or two rods with screws along them."""
    shapes: list[Capsule] = []
    angle = math.pi / 2 + r.gauss(0, 0.15)
    length, gap = r.uniform(60, 200) * mm, r.uniform(15, 45) * mm
    x, y = r.uniform(-0.4, 0.4), r.uniform(-0.5, 0.5)
    for side in (-0.5, 0.5) if r.random() < 0.7 else (0.5,):
        rod = _bar(r, length, r.uniform(2.2, 3.2) * mm, (x + side * gap, y), angle)
        shapes.append(rod)
        levels = r.randint(2, 4)
        for level in range(levels):
            t = (level + 0.5) / levels
            place = (rod[0] + t * (rod[2] - rod[0]), rod[1] + t * (rod[3] - rod[1]))
            shapes += _screw(r, mm, place, r.gauss(math.pi / 2 + math.pi / 2 * (side > 0), 0.4))
    return shapes


def _wire(r: random.Random, mm: float, radius_mm: float | None = None) -> list[Capsule]:
    """A quadratic Bezier curve in short joined capsules: guide wire, lead, catheter."""
    radius = (radius_mm or r.uniform(0.3, 1.2)) * mm
    p = [(r.uniform(-1.2, 1.2), r.uniform(-1.2, 1.2)) for _ in range(3)]
    steps = 6
    points = []
    for k in range(steps + 1):
        t = k / steps
        points.append(
            tuple((1 - t) ** 2 * p[0][a] + 2 * t * (1 - t) * p[1][a] + t * t * p[2][a] for a in (0, 1)),
        )
    return [(*points[k], *points[k + 1], radius, 0.0, 1.0) for k in range(steps)]


def _ecg_lead(r: random.Random, mm: float) -> list[Capsule]:
    """An electrode (a thin plate with a snap) and its lead."""
    wire = _wire(r, mm, r.uniform(0.3, 0.7))
    x, y = wire[-1][2:4]
    plate = (x, y, x, y, r.uniform(6, 14) * mm, r.uniform(0.05, 0.25), 0.0)
    return [*wire, plate, (x, y, x, y, r.uniform(2, 4) * mm, r.uniform(0.5, 2.0), 0.0)]


def _beads(r: random.Random, mm: float) -> list[Capsule]:
    """Small spheres: markers, clips, skin beads."""
    radius = r.uniform(0.5, 2.5) * mm
    x, y, spread = r.uniform(-0.6, 0.6), r.uniform(-0.6, 0.6), r.uniform(0.05, 0.5)
    places = [(x + r.gauss(0, spread), y + r.gauss(0, spread)) for _ in range(r.randint(1, 8))]
    return [(a, b, a, b, radius, 0.0, 0.0) for a, b in places]


def _shape(r: random.Random, mm: float) -> list[Capsule]:
    kind = r.random()
    if kind < 0.15:
        return [_bar(r, r.uniform(30, 200) * mm, r.uniform(1.5, 6.0) * mm)]  # rod or instrument shaft
    if kind < 0.35:
        return _screw(r, mm)
    if kind < 0.5:
        return _construct(r, mm)
    if kind < 0.65:
        return _wire(r, mm)
    if kind < 0.78:
        return _ecg_lead(r, mm)
    if kind < 0.9:
        return [_bar(r, r.uniform(50, 180) * mm, r.uniform(0.4, 1.0) * mm)]  # needle
    return _beads(r, mm)


def _polygon(r: random.Random, thickness: float) -> list[float]:
    start, size = r.uniform(0, 2 * math.pi), r.uniform(0.03, 0.3)
    values = []
    for side in range(POLYGON_SIDES):
        angle = start + 2 * math.pi * (side + r.uniform(-0.3, 0.3)) / POLYGON_SIDES
        values += [math.cos(angle), math.sin(angle), size * r.uniform(0.4, 1.0)]
    return [*values, r.uniform(-0.9, 0.9), r.uniform(-0.9, 0.9), thickness]


def draw_metal(generator: torch.Generator, batch: int, settings: MetalSettings) -> Metal:
    """Objects for every item; items without metal have none in use."""
    capsules = torch.zeros(batch, MAX_CAPSULES, 7)
    capsules[..., :4] = 100.0
    polygons = torch.zeros(batch, MAX_POLYGONS, 3 * POLYGON_SIDES + 3)
    count = torch.zeros(batch, dtype=torch.long)
    unit_mm = 0.5 * uniform(generator, batch, *settings.field_mm)
    r = python_random(generator)
    for item in range(batch):
        if r.random() >= settings.any:
            continue
        mm = 1 / float(unit_mm[item])
        shapes: list[Capsule] = []
        flat = 0
        for _ in range(r.randint(*settings.objects)):
            if r.random() < 0.12 and flat < MAX_POLYGONS:
                polygons[item, flat] = torch.tensor(_polygon(r, 10 ** r.uniform(-1.0, 0.8)))
                flat += 1
            else:
                shapes += _shape(r, mm)
        shapes = shapes[:MAX_CAPSULES]
        if shapes:
            capsules[item, : len(shapes)] = torch.tensor(shapes)
            count[item] = len(shapes)
    kind = (uniform(generator, batch, -0.5, 1.5)).clamp(0, 1)
    return Metal(capsules, polygons, unit_mm, kind, count)


def _capsule_path(capsule: Tensor, x: Tensor, y: Tensor, unit: float, unit_mm: Tensor) -> Tensor:
    """Path in mm (B, 1, H, W) through one capsule an item (B, 7)."""
    x0, y0, x1, y1, radius, plate, _ = (as_maps(c) for c in capsule.unbind(1))
    dx, dy = x1 - x0, y1 - y0
    length2 = (dx * dx + dy * dy).clamp_min(1e-12)
    t = (((x - x0) * (dx / length2)) + ((y - y0) * (dy / length2))).clamp_(0, 1)
    px, py = x - x0 - t * dx, y - y0 - t * dy
    squared = px.mul_(px).addcmul_(py, py)
    # Bars thinner than a pixel are widened to it with the same cross-section, so that they neither vanish nor jag.
    wide = (radius**2 + (0.6 / unit) ** 2).sqrt()
    chord = (wide**2 - squared).clamp_min_(0).sqrt_() * (2 * (radius / wide) ** 2 * as_maps(unit_mm))
    if bool((capsule[:, 5] > 0).any()):
        cover = ((radius - squared.sqrt()) * unit + 0.5).clamp(0, 1)
        chord = torch.where(plate > 0, cover * plate, chord)
    return chord


def metal_path(metal: Metal, size: tuple[int, int], device: torch.device) -> Tensor | None:
    """Path in metal in mm, (B, 1, H, W), or None when no item holds any."""
    plates = metal.polygons[..., -1] > 0
    active = ((metal.count > 0) | plates.any(1)).nonzero().squeeze(1)
    if len(active) == 0:
        return None
    x, y, unit = pixel_grid(size, device)
    total = torch.zeros(len(metal), 1, *size, device=device)
    joined = None
    for k in range(int(metal.count.max())):
        items = (metal.count > k).nonzero().squeeze(1).to(device)
        capsule = metal.capsules.to(device)[items, k]
        path = _capsule_path(capsule, x, y, unit, metal.unit_mm.to(device)[items])
        wires = capsule[:, 6] > 0
        total[items] += path * as_maps((~wires).float())
        if bool(wires.any()):
            joined = torch.zeros_like(total) if joined is None else joined
            joined[items] = torch.maximum(joined[items], path * as_maps(wires.float()))
    for p in range(MAX_POLYGONS):
        items = plates[:, p].nonzero().squeeze(1)
        if len(items) == 0:
            continue
        shape = metal.polygons[items, p].to(device)
        cx, cy, thickness = (as_maps(c) for c in shape[:, -3:].unbind(1))
        inside = torch.full((len(items), 1, *size), 1e3, device=device)
        for side in shape[:, :-3].reshape(len(items), POLYGON_SIDES, 3).unbind(1):
            nx, ny, offset = (as_maps(c) for c in side.unbind(1))
            inside = torch.minimum(inside, offset - nx * (x - cx) - ny * (y - cy))
        total[items.to(device)] += (inside * unit + 0.5).clamp(0, 1) * thickness
    return total if joined is None else total + joined
