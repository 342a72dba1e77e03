"""A small training volume that every test of samples shares."""

import pytest
import torch
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.surface import extract_surface_points
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.training.samples import TrainingVolume
from DeepReg2D3DLib.training.spectrum import split_materials


@pytest.fixture(scope="session")
def training_volume() -> TrainingVolume:
    """Nine tilted bony ellipsoids in a body of water, 3 mm voxels."""
    size, spacing = 72, 3.0
    axis = (torch.arange(size) - (size - 1) / 2) * spacing
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    hu = torch.where((x / 90) ** 2 + (y / 75) ** 2 + (z / 104) ** 2 < 1, 20.0, -1000.0)
    for n in range(9):
        cx, cy, cz = 22 * (n % 3 - 1), 15 * (n % 2) - 8, 21.0 * (n - 4)
        body = ((x - cx) / 17) ** 2 + ((y - cy) / 12) ** 2 + ((z - cz + 0.2 * x) / 8) ** 2 < 1
        hu = torch.where(body, 500.0 + 30 * n, hu)
    ijk_to_ct = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
    ijk_to_ct[:3, 3] = axis[0]
    volume = Volume(hu.to(torch.int16), ijk_to_ct, "ellipsoids")
    return TrainingVolume(
        "ellipsoids",
        DrrRenderer(volume.attenuation(), ijk_to_ct),
        DrrRenderer(split_materials(hu), ijk_to_ct),
        extract_surface_points(volume),
        torch.zeros(1, 3, dtype=torch.float64),
    )
