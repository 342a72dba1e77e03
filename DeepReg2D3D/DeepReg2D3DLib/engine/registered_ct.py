"""The registered CT as an image: moved as it is, or resampled onto a grid along the world's axes."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from .errors import InputError
from .poses import check_rigid, invert_pose, transform_points
from .volume import AIR_HU, Volume

MOST_VOXELS = 1_000_000_000


def moved_ct(volume: Volume, ct_to_world: Tensor) -> Volume:
    """The same voxels, placed in world by the pose (4, 4): only the grid's origin and direction change."""
    pose = check_rigid(ct_to_world, "The pose")
    return Volume(volume.hu, pose @ volume.ijk_to_ct, volume.name, transform_points(pose, volume.centre[None])[0])


def resampled_ct(volume: Volume, ct_to_world: Tensor) -> Volume:
    """The CT at a pose (4, 4) on a grid along the world's LPS axes that holds all of it; air (-1000 HU) outside.

    Its voxels are as fine as the CT's along the axis that each world axis is nearest to. Raises InputError where
    that would be more than a thousand million voxels.
    """
    placed = moved_ct(volume, ct_to_world)
    share = (placed.ijk_to_ct[:3, :3] / torch.tensor(volume.spacing, dtype=torch.float64)).abs()
    spacing = [volume.spacing[int(axis)] for axis in share.argmax(dim=1)]
    low, high = placed.corners.amin(0), placed.corners.amax(0)
    counts = [max(1, round(float(length) / step)) for length, step in zip(high - low, spacing, strict=True)]
    if np.prod([float(n) for n in counts]) > MOST_VOXELS:
        size = " x ".join(map(str, counts))
        raise InputError(f"The resampled CT would have {size} voxels; save the moved CT instead.")
    first = 0.5 * (low + high) - 0.5 * torch.tensor([s * (n - 1) for s, n in zip(spacing, counts, strict=True)])
    source = sitk.GetImageFromArray(volume.hu.numpy())
    steps = torch.tensor(volume.spacing, dtype=torch.float64)
    source.SetSpacing(steps.tolist())
    source.SetOrigin(volume.ijk_to_ct[:3, 3].tolist())
    source.SetDirection((volume.ijk_to_ct[:3, :3] / steps).flatten().tolist())
    world_to_ct = invert_pose(check_rigid(ct_to_world, "The pose"))
    motion = sitk.AffineTransform(3)
    motion.SetMatrix(world_to_ct[:3, :3].flatten().tolist())
    motion.SetTranslation(world_to_ct[:3, 3].tolist())
    image = sitk.Resample(
        source, counts, motion, sitk.sitkLinear, first.tolist(), spacing, np.eye(3).ravel().tolist(), AIR_HU
    )
    matrix = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    matrix[:3, 3] = first
    return Volume(torch.from_numpy(sitk.GetArrayFromImage(image)), matrix, volume.name, placed.centre)
