"""A row of seven blocks of bone that look alike but for their widths, in a cylinder of tissue, and an X-ray of it."""

import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.surface import extract_surface_points
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.xray import XRay

PITCH = 24.0
"""mm from block to block, along z."""
TRUTH = torch.eye(4, dtype=torch.float64)


def column() -> Volume:
    """The blocks, on 2 mm voxels."""
    z, y, x = torch.meshgrid(*(2.0 * (torch.arange(n) - (n - 1) / 2) for n in (100, 48, 48)), indexing="ij")
    hu = torch.where(x**2 + y**2 < 44**2, 30.0, -1000.0)
    for index in range(7):
        middle = (index - 3) * PITCH
        block = ((z - middle).abs() < 9) & (x.abs() < 12 + 1.5 * index) & (y.abs() < 14)
        hu = torch.where(block, 500.0, hu)
    affine = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-47.0, -47.0, -99.0])
    return Volume(hu=hu.to(torch.int16), ijk_to_ct=affine, name="column")


def setup_of(volume: Volume) -> RegistrationSetup:
    """Without cropping it to a body."""
    return RegistrationSetup(volume, extract_surface_points(volume), torch.device("cpu"))


def column_xray() -> XRay:
    """Seen from 700 mm away along y, the column upright."""
    camera = Camera.from_parameters(
        source_to_detector=1000.0,
        pixel_spacing=(1.5, 1.5),
        principal_point=(80.0, 110.0),
        world_to_camera=torch.tensor([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 700], [0, 0, 0, 1]], dtype=torch.float64),
        columns=160,
        rows=220,
        name="AP",
    )
    image = DrrRenderer.from_volume(column())(camera.ct_to_camera(TRUTH)[None], camera.intrinsics, camera.size)
    return XRay(image.float(), torch.ones(image.shape, dtype=torch.bool), camera, "AP")
