"""Slice views that show an X-ray as it is: row 0 at the top, column 0 at the left, the whole image in sight."""

from __future__ import annotations

import numpy as np
import vtk

from .frames import matrix_from_vtk, vtk_from_matrix

# The plane and the two axes of each orientation in RAS, for the field of view.
_AXES = {"Axial": (0, 1), "Sagittal": (1, 2), "Coronal": (0, 2)}

# A little air around the image, as Slicer's own fit leaves.
_MARGIN = 1.02
_3D_FROM = np.array([-0.35, 0.9, 0.26])
_3D_FROM = _3D_FROM / np.linalg.norm(_3D_FROM)
_3D_MARGIN = 0.6
# A plane that is turned by less, and nearer than this, is the same.
_SAME, _SAME_MM = 1e-5, 1e-3


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
    slice_node.SetXYZOrigin(0.0, 0.0, 0.0)
    slice_node.SetFieldOfView(*_fitting(slice_node, xray_node), 1.0)
    slice_node.UpdateMatrices()


def _fitting(slice_node, xray_node) -> tuple[float, float]:
    """The field of view (width, height), mm, that shows the whole image."""
    grid = vtk.vtkMatrix4x4()
    xray_node.GetIJKToRASMatrix(grid)
    matrix = matrix_from_vtk(grid)
    columns, rows, _ = xray_node.GetImageData().GetDimensions()
    image = np.array([columns * np.linalg.norm(matrix[:3, 0]), rows * np.linalg.norm(matrix[:3, 1])]) * _MARGIN
    width, height = (max(1, n) for n in slice_node.GetDimensions()[:2])
    per_pixel = max(image[0] / width, image[1] / height)
    return width * per_pixel, height * per_pixel


class PinnedView:
    """Keeps a slice view on its X-ray's plane, and the whole X-ray in it; panning and zooming stay free.

    Slicer moves slices in many ways (arrow keys, the slider above the view, the crosshair, "fit to window"), and off
    its only plane an X-ray isn't seen. A view that gets another size keeps its height in mm and cuts the sides off.
    """

    def __init__(self, slice_node, xray_node) -> None:
        self._slice_node, self._xray_node = slice_node, xray_node
        self._busy = False
        self._size, self._whole = slice_node.GetDimensions()[:2], self._is_whole()
        self._tag = slice_node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_modified)

    def remove(self) -> None:
        """Let go of the view."""
        self._slice_node.RemoveObserver(self._tag)

    def _on_modified(self, *_) -> None:
        if self._busy or self._xray_node.GetScene() is None or self._xray_node.GetImageData() is None:
            return
        self._busy = True
        try:
            self._put_back()
            if self._size != self._slice_node.GetDimensions()[:2] and self._whole:
                refit(self._slice_node, self._xray_node)
        finally:
            self._busy = False
        self._size, self._whole = self._slice_node.GetDimensions()[:2], self._is_whole()

    def _is_whole(self) -> bool:
        """Nobody has panned or zoomed."""
        if self._xray_node.GetImageData() is None:
            return True
        wanted = (*_fitting(self._slice_node, self._xray_node), 0.0, 0.0)
        present = (*self._slice_node.GetFieldOfView()[:2], *self._slice_node.GetXYZOrigin()[:2])
        return np.allclose(present, wanted, rtol=1e-3, atol=1e-3)

    def _put_back(self) -> None:
        wanted, present = slice_to_ras(self._xray_node), matrix_from_vtk(self._slice_node.GetSliceToRAS())
        normal = wanted[:3, 2]
        off = float(normal @ (present[:3, 3] - wanted[:3, 3]))
        turned = not np.allclose(present[:3, :3], wanted[:3, :3], rtol=0, atol=_SAME)
        if turned:
            place_slice_view(self._slice_node, self._xray_node)
        elif abs(off) > _SAME_MM:
            present[:3, 3] -= off * normal
            self._slice_node.GetSliceToRAS().DeepCopy(vtk_from_matrix(present))
            self._slice_node.UpdateMatrices()


def place_ct_slice(slice_node, ct_node, orientation: str) -> None:
    """Turn a slice view to a plane of the patient, through the CT's middle as it lies now, all of it in sight."""
    bounds = [0.0] * 6
    ct_node.GetRASBounds(bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    across, along = _AXES[orientation]
    width, height = (max(1, n) for n in slice_node.GetDimensions()[:2])
    per_pixel = max((high[across] - low[across]) / width, (high[along] - low[along]) / height) * _MARGIN
    was_modified = slice_node.StartModify()
    slice_node.SetOrientation(orientation)
    slice_node.SetXYZOrigin(0.0, 0.0, 0.0)
    slice_node.SetFieldOfView(width * per_pixel, height * per_pixel, slice_node.GetFieldOfView()[2])
    slice_node.JumpSliceByCentering(*(0.5 * (low + high)))
    slice_node.UpdateMatrices()
    slice_node.EndModify(was_modified)


def frame_3d(scene, view_node, points: np.ndarray) -> bool:
    """Aim a 3D view's camera at world points (N, 3) RAS, from the patient's left front and above; False without one."""
    camera = next(
        (
            scene.GetNthNodeByClass(index, "vtkMRMLCameraNode")
            for index in range(scene.GetNumberOfNodesByClass("vtkMRMLCameraNode"))
            if scene.GetNthNodeByClass(index, "vtkMRMLCameraNode").GetLayoutName() == view_node.GetLayoutName()
        ),
        None,
    )
    if camera is None or len(points) == 0:
        return False
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
    radius = max(1.0, float(np.linalg.norm(points - middle, axis=1).max()))
    distance = _3D_MARGIN * radius / np.sin(0.5 * np.radians(camera.GetViewAngle()))
    was_modified = camera.StartModify()
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle + distance * _3D_FROM))
    camera.SetViewUp(0.0, 0.0, 1.0)
    camera.EndModify(was_modified)
    camera.ResetClippingRange()
    return True


def zoom(slice_node, factor: float) -> None:
    """Show ``factor`` times as much of the plane as now, about the middle of the view."""
    width, height, depth = slice_node.GetFieldOfView()
    slice_node.SetFieldOfView(width * factor, height * factor, depth)
    slice_node.UpdateMatrices()


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
