"""A torso by formula, different for every seed: the demo's patient and part of the training set.

Bones have cortex and textured trabeculae, the spine is articulated and bent, soft tissue, lungs and gas have HU like a
person's. The frame is LPS (x left, y back, z up); the third lumbar vertebra lies near the origin.
"""

from __future__ import annotations

import random

import torch

from .errors import InputError
from .phantom_canvas import Canvas, interpolated
from .phantom_pelvis import hip_joint, paint_pelvis
from .phantom_soft import Body, paint_soft_tissue
from .phantom_spine import make_spine, paint_spine
from .phantom_thorax import make_cage, paint_chest
from .volume import Volume

REGIONS = ("trunk", "thorax", "lumbar", "thoracolumbar")


def make_phantom(seed: int, spacing_mm: float = 1.5, region: str = "thoracolumbar", noise_hu: float = 18.0) -> Volume:
    """A phantom CT with voxels of ``spacing_mm``, int16 HU, the same for the same arguments.

    region: "trunk" (T1 to the hips), "thorax" (T1 to L1), "lumbar" (T11 to the hips) or "thoracolumbar" (T6 to S1).
    noise_hu: standard deviation of the scanner's noise. Raises InputError for an unknown region or a spacing outside
    0.5 to 6 mm.
    """
    if region not in REGIONS:
        raise InputError(f"The phantom's region '{region}' is not one of {', '.join(REGIONS)}.")
    if not 0.5 <= spacing_mm <= 6.0:
        raise InputError(f"The phantom's spacing {spacing_mm} mm is not between 0.5 and 6 mm.")
    r = random.Random(seed)
    generator = torch.Generator().manual_seed(seed % 2**62)
    spine = make_spine(r)
    cage = make_cage(spine, r)
    body = Body(spine, cage, r)
    bottom = {
        "trunk": hip_joint(spine, 1)[2] - 80,
        "thorax": spine.position("L1")[2] - 25,
        "lumbar": hip_joint(spine, 1)[2] - 50,
        "thoracolumbar": spine.sacrum.centre[2] - 45,
    }[region]
    top = {
        "trunk": spine.position("T1")[2] + 15,
        "thorax": spine.position("T1")[2] + 15,
        "lumbar": spine.position("T11")[2],
        "thoracolumbar": spine.position("T6")[2] + 10,
    }[region]
    heights = torch.linspace(bottom, top, 20)
    half = max(float(v) for v in interpolated(body.width, heights)) + 8.0
    depth, middle = interpolated(body.depth, heights), interpolated(body.middle, heights)
    front, back = float((middle - depth).min()) - 8.0, float((middle + depth).max()) + 8.0
    low = (-half, front, bottom)
    counts = [max(8, int((b - a) / spacing_mm)) for a, b in zip(low, (half, back, top), strict=True)]
    canvas = Canvas(low, tuple(reversed(counts)), spacing_mm, generator)
    paint_soft_tissue(canvas, body, r, generator)
    density = r.uniform(0.6, 1.35)
    paint_chest(canvas, spine, cage, r, density)
    paint_pelvis(canvas, spine, r, density)
    paint_spine(canvas, spine, r, density)
    hu = canvas.hu
    if noise_hu > 0:
        grain = canvas.grain
        smooth = grain.clone()
        for axis in range(3):
            smooth += grain.roll(1, axis)
        hu = hu + smooth * (0.5 * noise_hu)
    matrix = torch.diag(torch.tensor([spacing_mm, spacing_mm, spacing_mm, 1.0], dtype=torch.float64))
    matrix[:3, 3] = torch.tensor(low, dtype=torch.float64)
    return Volume(hu.clamp(-1000, 3000).round().to(torch.int16), matrix, f"phantom_{seed}")
