"""Slice views that show an X-ray as it is: row 0 at the top, column 0 at the left, the whole image in sight."""

from __future__ import annotations

import numpy as np
import vtk

from .frames import matrix_from_vtk, vtk_from_matrix

# A little air around the image, as Slicer's own fit leaves.
_MARGIN = 1.02


def slice_to_ras(xray_node) -> np.ndarray:
    """(4, 4): view axes x = +u, y = -v, origin in the middle of the image, RAS mm.

    Slicer's own RotateToVolumePlane flips or turns X-rays, depending on where their detector stands.
    """
    grid = vtk.vtkMatrix4x4()
    xray_node.GetIJKToRASMatrix(grid)
    matrix = matrix_from_vtk(grid)
    columns, rows, _ = xray_node.GetImageData().GetDimensions()
    result = np.eye(4)
    result[:3, 0] = _unit(matrix[:3, 0])
    result[:3, 1] = _unit(-matrix[:3, 1])
    result[:3, 2] = np.cross(result[:3, 0], result[:3, 1])
    result[:3, 3] = (matrix @ np.array([0.5 * (columns - 1), 0.5 * (rows - 1), 0.0, 1.0]))[:3]
    return result


def place_slice_view(slice_node, xray_node) -> None:
    """Turn a slice view to an X-ray and fit the image into it."""
    was_modified = slice_node.StartModify()
    slice_node.GetSliceToRAS().DeepCopy(vtk_from_matrix(slice_to_ras(xray_node)))
    slice_node.SetXYZOrigin(0.0, 0.0, 0.0)
    slice_node.UpdateMatrices()
    refit(slice_node, xray_node)
    slice_node.EndModify(was_modified)


def refit(slice_node, xray_node) -> None:
    """Fit the image into the view at the size that the view has now."""
    grid = vtk.vtkMatrix4x4()
    xray_node.GetIJKToRASMatrix(grid)
    matrix = matrix_from_vtk(grid)
    columns, rows, _ = xray_node.GetImageData().GetDimensions()
    image = np.array([columns * np.linalg.norm(matrix[:3, 0]), rows * np.linalg.norm(matrix[:3, 1])]) * _MARGIN
    width, height = (max(1, n) for n in slice_node.GetDimensions()[:2])
    per_pixel = max(image[0] / width, image[1] / height)
    slice_node.SetXYZOrigin(0.0, 0.0, 0.0)
    slice_node.SetFieldOfView(width * per_pixel, height * per_pixel, 1.0)
    slice_node.UpdateMatrices()


def zoom(slice_node, factor: float) -> None:
    """Show ``factor`` times as much of the plane as now, about the middle of the view."""
    width, height, depth = slice_node.GetFieldOfView()
    slice_node.SetFieldOfView(width * factor, height * factor, depth)
    slice_node.UpdateMatrices()


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
