"""The frames of ``lps_ras``, with VTK's matrices."""

from __future__ import annotations

import numpy as np
import vtk

from ..lps_ras import (
    PoseNumbers,
    grid_to_lps,
    grid_to_ras,
    lps_from_ras,
    numbers_from_pose,
    pose_from_numbers,
    ras_from_lps,
    transform_to_lps,
    transform_to_ras,
)

__all__ = [
    "PoseNumbers",
    "grid_to_lps",
    "grid_to_ras",
    "lps_from_ras",
    "matrix_from_vtk",
    "numbers_from_pose",
    "pose_from_numbers",
    "ras_from_lps",
    "transform_to_lps",
    "transform_to_ras",
    "vtk_from_matrix",
]


def matrix_from_vtk(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """(4, 4) float64 of a vtkMatrix4x4."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def vtk_from_matrix(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    """vtkMatrix4x4 of (4, 4)."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, dtype=np.float64).ravel().tolist())
    return result
