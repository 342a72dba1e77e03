"""Training volumes from bone surface meshes: a skeleton posed anew for every seed, voxelised, in a body of soft tissue.

The meshes are watertight bones in one frame (x left, y back, z up, mm), one ``<name>__v`` (N, 3) and ``<name>__f``
(M, 3) a bone. The spine is articulated: every vertebra is moved by the motion of a random bent rod, with its ribs.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from ..engine.errors import InputError
from ..engine.phantom_canvas import Block, Canvas, interpolated
from ..engine.poses import exp_rotation, rotation_from_euler
from ..engine.volume import Volume

_SPINE = [f"L{n}" for n in (5, 4, 3, 2, 1)] + [f"T{n}" for n in range(12, 0, -1)] + [f"C{n}" for n in range(7, 2, -1)]
_PELVIS = ("sacrum_coccyx", "hip_left", "hip_right", "femur_left", "femur_right")


def load_skeleton(folder: str | Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Bones (vertices (N, 3) float64 mm, triangles (M, 3) int64) of ``skeleton_main.npz`` in a folder, by name."""
    path = Path(folder) / "skeleton_main.npz"
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of bone meshes.")
    with np.load(path, allow_pickle=False) as stored:
        names = sorted(key[:-3] for key in stored.files if key.endswith("__v"))
        return {
            name: (
                torch.from_numpy(stored[f"{name}__v"].astype(np.float64)),
                torch.from_numpy(stored[f"{name}__f"].astype(np.int64)),
            )
            for name in names
        }


def voxelised(vertices: Tensor, triangles: Tensor, block: Block) -> Tensor:
    """Inside of a watertight mesh, (nz, ny, nx) bool on the voxels of a block, by the parity of crossings along z.

    vertices: (N, 3) mm; triangles: (M, 3). Every triangle meets the voxel columns under it; in each column the number
    of crossings below a voxel tells whether it lies inside.
    """
    x, y, z = block.x.flatten(), block.y.flatten(), block.z.flatten()
    step = float(z[1] - z[0]) if len(z) > 1 else 1.0
    # A tiny shift keeps columns off vertices and edges, where a crossing would count twice or not at all, and faces
    # off the voxel planes.
    corners = vertices[triangles].to(torch.float64) + torch.tensor([1.3e-4, 2.7e-4, 3.1e-4], dtype=torch.float64)
    low, high = corners[..., :2].amin(1), corners[..., :2].amax(1)
    spacing = (float(x[1] - x[0]), float(y[1] - y[0]))
    first = torch.stack([torch.ceil((low[:, a] - float(c[0])) / spacing[a]) for a, c in ((0, x), (1, y))], 1).long()
    last = torch.stack([torch.floor((high[:, a] - float(c[0])) / spacing[a]) for a, c in ((0, x), (1, y))], 1).long()
    first = first.clamp_min(0)
    last = torch.minimum(last, torch.tensor([len(x) - 1, len(y) - 1]))
    count = (last - first + 1).clamp_min(0)
    total = count[:, 0] * count[:, 1]
    which = torch.repeat_interleave(torch.arange(len(total)), total)
    start = torch.cumsum(total, 0) - total
    rank = torch.arange(len(which)) - start[which]
    i = first[which, 0] + rank % count[which, 0].clamp_min(1)
    j = first[which, 1] + torch.div(rank, count[which, 0].clamp_min(1), rounding_mode="floor")
    a, b, c = corners[which].unbind(1)
    px, py = float(x[0]) + i * spacing[0], float(y[0]) + j * spacing[1]

    def side(p: Tensor, q: Tensor) -> Tensor:
        return (q[:, 0] - p[:, 0]) * (py - p[:, 1]) - (q[:, 1] - p[:, 1]) * (px - p[:, 0])

    wa, wb, wc = side(b, c), side(c, a), side(a, b)
    area = wa + wb + wc
    hit = (((wa > 0) & (wb > 0) & (wc > 0)) | ((wa < 0) & (wb < 0) & (wc < 0))) & (area.abs() > 1e-12)
    height = (wa * a[:, 2] + wb * b[:, 2] + wc * c[:, 2]) / torch.where(hit, area, torch.ones_like(area))
    k = torch.ceil((height - float(z[0])) / step).long().clamp(0, len(z))[hit]
    crossings = torch.zeros(len(z) + 1, len(y), len(x), dtype=torch.int16)
    crossings.index_put_((k, j[hit], i[hit]), torch.ones((), dtype=torch.int16), accumulate=True)
    return crossings[:-1].cumsum(0) % 2 == 1


def _signed_distance(inside: Tensor, spacing: float) -> Tensor:
    """Signed distance in mm, negative inside, good to a fraction of a voxel near the surface."""
    image = sitk.GetImageFromArray(inside.to(torch.uint8).numpy())
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=False)
    smooth = sitk.DiscreteGaussian(distance, 0.5)
    return torch.from_numpy(sitk.GetArrayFromImage(smooth)) * spacing


def _owner(name: str) -> str | None:
    """The vertebra with which a bone moves, or None for the pelvis."""
    if name in _SPINE:
        return name
    if name.startswith("rib_"):
        return f"T{name.rsplit('_', 1)[1]}"
    if name in ("C1", "C2", "skull", "mandible"):
        return "C3"
    if name in _PELVIS:
        return None
    return "T4"  # sternum and shoulder girdle


def posed_skeleton(
    bones: dict[str, tuple[Tensor, Tensor]], r: random.Random
) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    """Bones of another posture, size and proportions, and the middles (K, 3) of the vertebrae from L5 up."""
    size = torch.tensor([r.gauss(1.0, 0.06), r.gauss(1.0, 0.06), r.gauss(1.0, 0.05)], dtype=torch.float64)
    mirror = torch.tensor([-1.0 if r.random() < 0.5 else 1.0, 1.0, 1.0], dtype=torch.float64)
    flex, lean, turn = r.gauss(0, 0.02), r.gauss(0, 0.035), r.gauss(0, 0.02)
    phase, waves = r.uniform(0, 2 * math.pi), r.uniform(0.5, 1.5)
    rotation, shift = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    motion: dict[str | None, tuple[Tensor, Tensor]] = {None: (rotation, shift)}
    for rank, name in enumerate(n for n in _SPINE if n in bones):
        along = 2 * math.pi * waves * rank / 17 + phase
        angles = [flex + r.gauss(0, 0.012), lean * math.cos(along) + r.gauss(0, 0.01), turn * math.sin(along)]
        hinge = bones[name][0].mean(0)
        hinge = torch.stack([hinge[0], bones[name][0][:, 1].amin() + 17, bones[name][0][:, 2].amin()])
        step = rotation_from_euler(torch.tensor(angles, dtype=torch.float64))
        # Each level turns about its disc; everything above goes along.
        moved = rotation @ hinge + shift
        rotation = step @ rotation
        shift = moved - rotation @ hinge
        motion[name] = (rotation, shift)
    posed = {}
    for name, (vertices, triangles) in bones.items():
        turned, moved = motion.get(_owner(name), motion[None])
        placed = vertices @ turned.T + moved
        if name.startswith("femur"):
            head = placed[placed[:, 2] > placed[:, 2].amax() - 45].mean(0)
            swing = exp_rotation(
                torch.tensor([r.gauss(0, 0.08), r.gauss(0, 0.05), r.gauss(0, 0.1)], dtype=torch.float64)
            )
            placed = (placed - head) @ swing.T + head
        posed[name] = (placed * size * mirror, triangles)
    middles = torch.stack([posed[n][0].mean(0) for n in _SPINE if n in posed])
    return posed, middles


def make_skeleton_phantom(
    seed: int, folder: str | Path, spacing_mm: float = 1.5, length_mm: float | None = None
) -> Volume:
    """A CT of a posed skeleton in soft tissue, int16 HU, the same for the same arguments.

    It covers ``length_mm`` of the trunk (drawn between 300 and 450 where None) somewhere between hips and neck.
    """
    r = random.Random(seed)
    generator = torch.Generator().manual_seed(seed % 2**62)
    bones, middles = posed_skeleton(load_skeleton(folder), r)
    length = length_mm or r.uniform(300.0, 450.0)
    lowest = float(bones["hip_left"][0][:, 2].amin()) + 20
    highest = float(middles[16 if len(middles) > 16 else -1, 2]) + 25
    bottom = lowest + r.random() * max(0.0, highest - lowest - length)
    top = min(bottom + length, highest)
    outline = _Outline(bones, middles, r)
    low = (-outline.half - 8, outline.front - 8, bottom)
    counts = [int((b - a) / spacing_mm) for a, b in zip(low, (outline.half + 8, outline.back + 8, top), strict=True)]
    canvas = Canvas(low, tuple(reversed(counts)), spacing_mm, generator)
    outline.paint(canvas, generator, r)
    density = r.uniform(0.6, 1.4)
    for name, (vertices, triangles) in bones.items():
        if name.startswith("humerus"):
            continue  # arms are raised in a CT of the trunk
        margin = 3 * spacing_mm
        block = canvas.block((vertices.amin(0) - margin).tolist(), (vertices.amax(0) + margin).tolist())
        if block is None or min(s.stop - s.start for s in block.index) < 2:
            continue
        inside = voxelised(vertices, triangles, block)
        if not bool(inside.any()):
            continue
        distance = _signed_distance(inside, spacing_mm)
        if name == "sternum_costal_cartilage":
            canvas.fill(block, distance, 130.0)
        elif name.startswith(("femur", "clavicle")):
            canvas.bone(block, distance, r.uniform(2.5, 5.0), 1250.0, 120.0 * density)
        else:
            canvas.bone(block, distance, r.uniform(0.9, 1.9), r.uniform(750, 1100), 180.0 * density)
    hu = canvas.hu + r.uniform(5, 25) * torch.randn(canvas.shape, generator=generator)
    matrix = torch.diag(torch.tensor([spacing_mm, spacing_mm, spacing_mm, 1.0], dtype=torch.float64))
    matrix[:3, 3] = torch.tensor(low, dtype=torch.float64)
    return Volume(hu.clamp(-1000, 3000).round().to(torch.int16), matrix, f"skeleton_{seed}")


class _Outline:
    """Skin, muscle, fat and lungs about a posed skeleton: elliptic sections that follow the ribs and the pelvis."""

    def __init__(self, bones: dict[str, tuple[Tensor, Tensor]], middles: Tensor, r: random.Random) -> None:
        cage = torch.cat([v for n, (v, _) in bones.items() if n.startswith(("rib_", "sternum"))])
        hips = torch.cat([bones["hip_left"][0], bones["hip_right"][0]])
        self.fat = r.uniform(10, 35)
        self.cage_bottom, self.cage_top = float(cage[:, 2].amin()), float(cage[:, 2].amax())
        self.width, self.depth, self.middle = [], [], []
        self.lung_width, self.lung_depth = [], []
        waist = 0.5 * (float(hips[:, 2].amax()) + self.cage_bottom)
        hip_z = float(hips[:, 2].amin())
        hip_w, hip_d = float(hips[:, 0].abs().amax()), float(hips[:, 1].amax() - hips[:, 1].amin()) / 2
        hip_m = float(hips[:, 1].amax() + hips[:, 1].amin()) / 2
        spine_back = float(middles[2, 1]) + 62 + 0.5 * self.fat
        for z, w, d, m in (
            (hip_z, hip_w + 40, hip_d + 40, hip_m + 10),
            (hip_z + 100, hip_w + 30, hip_d + 35, hip_m + 5),
            (waist, hip_w * r.uniform(0.85, 1.1), hip_d + 30, spine_back - (hip_d + 30 + 0.6 * self.fat)),
        ):
            self._add(z, w, d, m)
        for share in (0.15, 0.4, 0.65, 0.85, 1.0):
            z = self.cage_bottom + share * (self.cage_top - self.cage_bottom)
            near = cage[(cage[:, 2] - z).abs() < 25]
            w = float(near[:, 0].abs().amax())
            front, back = float(near[:, 1].amin()), float(near[:, 1].amax())
            self._add(z, w + 12 + 20 * (share > 0.6), (back - front) / 2 + 16, (back + front) / 2 + 4)
            self.lung_width.append((z, w - 5))
            self.lung_depth.append((z, (back - front) / 2 - 7))
        self.width.sort()
        self.depth.sort()
        self.middle.sort()
        self.half = max(w for _, w in self.width)
        self.front = min(m - d for (_, d), (_, m) in zip(self.depth, self.middle, strict=True))
        self.back = max(m + d for (_, d), (_, m) in zip(self.depth, self.middle, strict=True))
        self.spine = sorted((float(z), float(x), float(y)) for x, y, z in middles)
        self.dome = self.cage_bottom + r.uniform(0.3, 0.5) * (self.cage_top - self.cage_bottom)

    def _add(self, z: float, width: float, depth: float, middle: float) -> None:
        self.width.append((z, width + self.fat))
        self.depth.append((z, depth + 0.6 * self.fat))
        self.middle.append((z, middle))

    def paint(self, canvas: Canvas, generator: torch.Generator, r: random.Random) -> None:
        """Onto an empty canvas."""
        x, y, z = canvas.axes[0][None, None, :], canvas.axes[1][None, :, None], canvas.axes[2]
        width, depth, middle = (interpolated(t, z)[:, None, None] for t in (self.width, self.depth, self.middle))
        n = canvas.shape
        coarse = torch.randn(1, 1, *(k // 8 + 3 for k in n), generator=generator)
        lumps = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="trilinear")[0, 0, : n[0], : n[1], : n[2]]
        radial = ((x / width) ** 2 + ((y - middle) / depth) ** 2).sqrt()
        skin = (radial - 1) * torch.minimum(width, depth)
        whole = canvas.block([-1e4] * 3, [1e4] * 3)
        canvas.fill(whole, skin, -100.0 + 10 * lumps)
        canvas.fill(whole, skin + self.fat + 4 * lumps, 50.0 + 8 * lumps)
        below = z[:, None, None] - self.dome + 20
        fat = -100.0 + 150 * torch.sigmoid(4 * (lumps - r.uniform(-0.3, 0.5)))
        canvas.fill(whole, torch.maximum(skin + self.fat + 18, below), fat, 3.0)
        # Lungs within the cage, above the diaphragm, beside spine and heart.
        lung_w, lung_d = (interpolated(t, z)[:, None, None] for t in (self.lung_width, self.lung_depth))
        spine_x = interpolated([(a, b) for a, b, _ in self.spine], z)[:, None, None]
        spine_y = interpolated([(a, c) for a, _, c in self.spine], z)[:, None, None]
        cage = (((x / lung_w) ** 2 + ((y - middle) / lung_d) ** 2).sqrt() - 1) * torch.minimum(lung_w, lung_d)
        dome = self.dome - 60 * (((x.abs() - 70) / 90) ** 2 + ((y - middle) / 90) ** 2)
        lung = torch.maximum(cage, dome - z[:, None, None])
        between = r.uniform(26, 38) - (x - spine_x).abs() + torch.zeros_like(y)
        heart = 58 - ((x - 30) ** 2 + (y - middle + 35) ** 2 + (z[:, None, None] - self.dome - 35) ** 2).sqrt()
        spine = 26 - ((x - spine_x) ** 2 + (y - spine_y + 8) ** 2).sqrt()
        lung = torch.maximum(lung, torch.where(y > spine_y, spine, torch.maximum(between, heart)))
        canvas.fill(whole, torch.maximum(lung, z[:, None, None] - self.cage_top - 5), -830.0 + 30 * lumps)
