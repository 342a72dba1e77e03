"""Between the engine's LPS and Slicer's RAS, and between matrices and the numbers that people read.

This is the only place where the two frames meet. Both are right-handed; x and y change their sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_from_lps(points: np.ndarray) -> np.ndarray:
    """Points or vectors (..., 3) in RAS of the same in LPS."""
    return np.asarray(points, dtype=np.float64) * np.array([-1.0, -1.0, 1.0])


# The change of frame is its own inverse; two names keep a reader from having to know.
lps_from_ras = ras_from_lps


def transform_to_ras(matrix: np.ndarray) -> np.ndarray:
    """A motion (4, 4) that takes LPS points to LPS points, as one that takes RAS points to RAS points."""
    return _FLIP @ np.asarray(matrix, dtype=np.float64) @ _FLIP


transform_to_lps = transform_to_ras


def grid_to_ras(ijk_to_lps: np.ndarray) -> np.ndarray:
    """A voxel grid's matrix (4, 4), index to LPS mm, as index to RAS mm."""
    return _FLIP @ np.asarray(ijk_to_lps, dtype=np.float64)


grid_to_lps = grid_to_ras


@dataclass(frozen=True)
class PoseNumbers:
    """A pose as people read it, in Slicer's world RAS.

    translation: displacement of the CT's centre from its place at identity, (3,) mm. angles_deg: (3,) about x, y and z,
    with R = Rz Ry Rx about the CT's centre.
    """

    translation: np.ndarray
    angles_deg: np.ndarray


def numbers_from_pose(ct_to_world: np.ndarray, centre: np.ndarray) -> PoseNumbers:
    """The numbers of a pose (4, 4) LPS; ``centre``: the centre (3,) of the CT's full voxel grid, in the CT's LPS.

    At y = +-90 degrees x and z turn about the same axis; x is then given as 0.
    """
    pose, middle = transform_to_ras(ct_to_world), ras_from_lps(centre)
    r = pose[:3, :3]
    cosine = np.hypot(r[0, 0], r[1, 0])
    y = np.arctan2(-r[2, 0], cosine)
    if cosine > 1e-7:
        x, z = np.arctan2(r[2, 1], r[2, 2]), np.arctan2(r[1, 0], r[0, 0])
    else:
        x, z = 0.0, np.arctan2(-r[0, 1], r[1, 1])
    translation = r @ middle + pose[:3, 3] - middle
    return PoseNumbers(translation, np.degrees([x, y, z]))


def pose_from_numbers(numbers: PoseNumbers, centre: np.ndarray) -> np.ndarray:
    """The pose (4, 4) LPS of its numbers; the inverse of ``numbers_from_pose``."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(np.asarray(numbers.angles_deg, dtype=np.float64))):
        rotation = _axis_rotation(axis, float(angle)) @ rotation
    middle = ras_from_lps(centre)
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = middle - rotation @ middle + np.asarray(numbers.translation, dtype=np.float64)
    return transform_to_lps(pose)


def _axis_rotation(axis: int, angle: float) -> np.ndarray:
    rotation = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation[first, first] = rotation[second, second] = np.cos(angle)
    rotation[second, first] = np.sin(angle)
    rotation[first, second] = -np.sin(angle)
    return rotation
