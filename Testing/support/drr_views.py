"""Views of a CT that tests of the DRR share: directions, poses, intrinsics, grids."""

import torch
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose
from torch import Tensor

# CT axes (LPS) to camera axes, so that the principal ray runs along +y, -x and +z of the CT.
FRONT = torch.tensor([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
LEFT = torch.tensor([[0, 1, 0], [0, 0, -1], [-1, 0, 0]], dtype=torch.float64)
FEET = torch.eye(3, dtype=torch.float64)


def turned(rotation: Tensor, degrees: tuple[float, float, float]) -> Tensor:
    """``rotation`` followed by a turn (rotation vector in degrees) of the camera frame."""
    return exp_rotation(torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))) @ rotation


OBLIQUE = turned(FRONT, (0.0, 45.0, 0.0))
TILTED = turned(turned(FRONT, (0.0, 45.0, 0.0)), (35.0, 5.0, 20.0))
DIRECTIONS = {"front": FRONT, "left": LEFT, "feet": FEET, "oblique": OBLIQUE, "tilted": TILTED}


def pose_at(rotation: Tensor, depth: float, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """(1, 4, 4) ct_to_camera with the CT's origin at (shift, depth) in the camera frame."""
    return make_pose(rotation, torch.tensor([*shift, depth], dtype=torch.float64))[None]


def intrinsics(focal: float, size: tuple[int, int], mirrored: bool = False) -> Tensor:
    """K with the principal point in the middle of the image."""
    f = -focal if mirrored else focal
    k = [[f, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]]
    return torch.tensor(k, dtype=torch.float64)


def centred(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Tensor:
    """ijk_to_ct of a grid (slices, rows, columns) whose centre is the CT's origin; spacing along i, j, k."""
    matrix = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    middle = torch.tensor([(n - 1) / 2 for n in reversed(shape)], dtype=torch.float64)
    matrix[:3, 3] = -matrix[:3, :3] @ middle
    return matrix
