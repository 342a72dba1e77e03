"""Contour points and flow arrows over an X-ray: models flat on the detector, seen in one slice view only."""

from __future__ import annotations

import math

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

from .cleanup import add, remove
from .colors import color_table
from .frames import ras_from_lps
from .xray_camera import XRayCamera

MAX_POINTS = 3000
MAX_ARROWS = 400
_HEAD = 0.3  # an arrow's head, as a share of its length
_HEAD_ANGLE = math.radians(25)
_POINT_SIZE = 4.0
_LINE_WIDTH = 2.0
# Weight 0 red, 0.5 yellow, 1 green.
WEIGHT_STOPS = ((0.0, (1, 0, 0.15, 1)), (0.5, (1, 1, 0.15, 1)), (1.0, (0, 1, 0.15, 1)))


def strongest(weights: np.ndarray, count: int) -> np.ndarray:
    """Indices of at most ``count`` items, evenly spread over all but never without the heaviest."""
    if len(weights) <= count:
        return np.arange(len(weights))
    order = np.argsort(-np.nan_to_num(weights), kind="stable")
    return np.sort(order[np.linspace(0, len(order) - 1, count).astype(int)])


def arrow_lines(pixels: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Arrows from ``pixels`` (M, 2) along ``flow`` (M, 2): vertices (4 M, 2) and segments (3 M, 2) between them."""
    tips = pixels + flow
    vertices = [pixels, tips]
    for angle in (math.pi - _HEAD_ANGLE, math.pi + _HEAD_ANGLE):
        cosine, sine = math.cos(angle) * _HEAD, math.sin(angle) * _HEAD
        barb = np.stack([cosine * flow[:, 0] - sine * flow[:, 1], sine * flow[:, 0] + cosine * flow[:, 1]], axis=1)
        vertices.append(tips + barb)
    count = len(pixels)
    first = np.arange(count)
    segments = [np.stack([first + a * count, first + b * count], axis=1) for a, b in ((0, 1), (1, 2), (1, 3))]
    return np.concatenate(vertices), np.concatenate(segments)


def flat_model(scene, name: str, slice_node, thickness: float):
    """A model of points and lines that lie in the plane of one slice view, hidden at first; thickness in pixels."""
    model = add(scene, "vtkMRMLModelNode", name, "marks")
    model.SetSelectable(False)
    display = add(scene, "vtkMRMLModelDisplayNode", f"{name} display", "marks")
    display.SetVisibility(False)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.AddViewNodeID(slice_node.GetID())
    # The intersection of a plane with points in it is empty; the projection onto it is the points.
    display.SetSliceDisplayModeToProjection()
    # In slice views it is the size of points as well as the width of lines.
    display.SetSliceIntersectionThickness(int(thickness))
    model.SetAndObserveDisplayNodeID(display.GetID())
    return model


class ViewMarks:
    """Two models, points and arrows, for one slice view."""

    def __init__(self, scene, name: str, slice_node) -> None:
        self._scene = scene
        self._points = self._model(f"{name} contour points", slice_node, _POINT_SIZE)
        self._arrows = self._model(f"{name} flow", slice_node, _LINE_WIDTH)

    def _model(self, name: str, slice_node, thickness: float):
        model = flat_model(self._scene, name, slice_node, thickness)
        display = model.GetDisplayNode()
        display.SetScalarVisibility(True)
        display.SetActiveScalar("weight", vtk.vtkAssignAttribute.POINT_DATA)
        display.SetAndObserveColorNodeID(color_table(self._scene, "DeepReg2D3D weights", WEIGHT_STOPS).GetID())
        display.SetScalarRangeFlag(display.UseManualScalarRange)
        display.SetScalarRange(0.0, 1.0)
        return model

    def show(self, points: bool, arrows: bool) -> None:
        """What is to be seen."""
        self._points.GetDisplayNode().SetVisibility(points)
        self._arrows.GetDisplayNode().SetVisibility(arrows)

    def set(self, camera: XRayCamera, pixels: np.ndarray, weights: np.ndarray, flow: np.ndarray | None) -> None:
        """Draw contour points (M, 2), coloured by weight (M,), and their flow (M, 2); all in pixels of ``camera``."""
        if self._points.GetDisplayNode().GetVisibility():
            chosen = strongest(weights, MAX_POINTS)
            data = _polydata(camera, pixels[chosen], weights[chosen])
            count = len(chosen)
            cells = np.stack([np.ones(count, np.int64), np.arange(count)], axis=1)
            data.SetVerts(_cells(cells))
            self._points.SetAndObservePolyData(data)
        if self._arrows.GetDisplayNode().GetVisibility() and flow is not None:
            chosen = strongest(weights, MAX_ARROWS)
            vertices, segments = arrow_lines(pixels[chosen], flow[chosen])
            data = _polydata(camera, vertices, np.tile(weights[chosen], 4))
            data.SetLines(_cells(np.concatenate([np.full((len(segments), 1), 2), segments], axis=1)))
            self._arrows.SetAndObservePolyData(data)

    def clear(self) -> None:
        """Draw nothing."""
        for model in (self._points, self._arrows):
            if model.GetPolyData() is not None and model.GetPolyData().GetNumberOfPoints() > 0:
                model.SetAndObservePolyData(vtk.vtkPolyData())

    def remove(self) -> None:
        """Take the models out of the scene."""
        remove(self._scene, self._points, self._arrows)


def _polydata(camera: XRayCamera, pixels: np.ndarray, weights: np.ndarray) -> vtk.vtkPolyData:
    data = vtk.vtkPolyData()
    points = vtk.vtkPoints()
    places = ras_from_lps(camera.detector_points(pixels)).astype(np.float32)
    points.SetData(numpy_to_vtk(np.ascontiguousarray(places), deep=True))
    data.SetPoints(points)
    scalars = numpy_to_vtk(np.ascontiguousarray(np.nan_to_num(weights), dtype=np.float32), deep=True)
    scalars.SetName("weight")
    data.GetPointData().SetScalars(scalars)
    return data


def _cells(cells: np.ndarray) -> vtk.vtkCellArray:
    """A cell array of cells of one size, each row its count followed by its points."""
    array = vtk.vtkCellArray()
    ids = numpy_to_vtkIdTypeArray(np.ascontiguousarray(cells[:, 1:], dtype=np.int64).ravel(), deep=True)
    array.SetData(cells.shape[1] - 1, ids)
    return array
