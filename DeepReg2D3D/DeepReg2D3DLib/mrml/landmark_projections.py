"""Where the CT's landmarks fall in the X-rays at the present pose, beside what was clicked there."""

from __future__ import annotations

import numpy as np
import vtk

from ..worker.signals import Signal
from .cleanup import add, remove, tag
from .frames import ras_from_lps
from .landmark_lists import LandmarkLists
from .marks import flat_model
from .pose import PoseController
from .xray_camera import XRayCamera
from .xray_node import camera_of

_CLASS = "vtkMRMLMarkupsFiducialNode"
_COLOR = (1.0, 0.72, 0.1)
# The arms of the cross are seen around the dot of a click in the same place.
_TEXT_SCALE, _GLYPH_SCALE, _LINE_WIDTH = 2.5, 4.0, 2.0


class LandmarkProjections:
    """Draws the projections in the X-ray views: a cross, a line to the click, and how far apart they are.

    Args:
        scene: the MRML scene.
        landmarks: the landmarks.
        pose: the CT's pose.
    """

    def __init__(self, scene, landmarks: LandmarkLists, pose: PoseController) -> None:
        self._scene, self._landmarks, self._pose = scene, landmarks, pose
        self.changed = Signal()
        self.residuals: dict[tuple[str, str], tuple[float, float]] = {}
        """By name and id of the X-ray: from the click to the projection, pixels, and mm at the landmark's depth."""
        self._shown: list[tuple] = []
        self._visible = True
        self._drawn: dict[str, _Drawing] = {}
        landmarks.changed.connect(self.update)
        pose.changed.connect(lambda *_: self.update())

    def set_visible(self, visible: bool) -> None:
        """Draw them, or only keep count."""
        if visible != self._visible:
            self._visible = visible
            self.update()

    def show_in(self, shown: list[tuple]) -> None:
        """The X-ray views on the screen: (X-ray, slice node) pairs."""
        self._shown = list(shown)
        wanted = {(xray.GetID(), view.GetID()) for xray, view in shown}
        for identity in [i for i, drawing in self._drawn.items() if (i, drawing.view_id) not in wanted]:
            self._drawn.pop(identity).remove()
        self.update()

    def update(self) -> None:
        """Follow the pose, the landmarks and the geometry."""
        before, self.residuals = self.residuals, {}
        points = self._landmarks.ct_points() if self._pose.node is not None else {}
        pose = self._pose.pose
        views = {xray.GetID(): view for xray, view in self._shown}
        for column, xray in enumerate(self._landmarks.xrays, start=1):
            camera, identity = camera_of(xray), xray.GetID()
            marks = self._project(xray, column, camera, pose, points) if camera is not None else []
            view = views.get(identity)
            if view is not None and self._visible and marks:
                if identity not in self._drawn:
                    self._drawn[identity] = _Drawing(self._scene, xray.GetName(), view)
                self._drawn[identity].draw(camera, marks)
            elif identity in self._drawn:
                self._drawn.pop(identity).remove()
            # The drawn ones bear their names, too: twice the same in the same place can't be read.
            drawn = {name for name, *_rest in marks} if identity in self._drawn else set()
            self._landmarks.show_names(column, not drawn >= set(self._landmarks.clicks(column)))
        if self.residuals != before:
            self.changed.emit()

    def _project(self, xray, column: int, camera: XRayCamera, pose: np.ndarray, points: dict) -> list[tuple]:
        """(name, text, pixel, click or None) of each landmark that falls into the image."""
        marks = []
        clicks = self._landmarks.clicks(column)
        for name, point in points.items():
            place = (pose @ np.append(point, 1.0))[:3]
            depth = camera.depth(place)
            if depth <= 0:
                continue
            pixel, click, text = camera.project(place), clicks.get(name), name
            if click is not None:
                off = np.asarray(click) - pixel
                mm = float(np.linalg.norm(off * camera.pixel_spacing)) * depth / camera.source_to_detector
                self.residuals[name, xray.GetID()] = float(np.linalg.norm(off)), mm
                text = f"{name} {mm:.1f} mm"
            if -0.5 <= pixel[0] < camera.columns and -0.5 <= pixel[1] < camera.rows:
                marks.append((name, text, pixel, click))
        return marks

    def close(self) -> None:
        """Take everything out of the views."""
        for drawing in self._drawn.values():
            drawing.remove()
        for column in range(1, len(self._landmarks.xrays) + 1):
            self._landmarks.show_names(column, True)
        self._drawn, self._shown, self.residuals = {}, [], {}


class _Drawing:
    """What is drawn over one X-ray: points that nobody can move, and lines."""

    def __init__(self, scene, name: str, slice_node) -> None:
        self._scene, self.view_id = scene, slice_node.GetID()
        self._points = _add_points(scene, f"{name} projected landmarks")
        self._points.SetLocked(True)
        display = tag(self._points.GetDisplayNode(), "landmarks-projected")
        display.SetGlyphTypeFromString("Cross2D")
        display.SetGlyphScale(_GLYPH_SCALE)
        display.SetTextScale(_TEXT_SCALE)
        display.SetColor(*_COLOR)
        display.SetSelectedColor(*_COLOR)
        display.SetVisibility3D(False)
        display.AddViewNodeID(self.view_id)
        self._lines = flat_model(scene, f"{name} landmark residuals", slice_node, _LINE_WIDTH)
        self._lines.GetDisplayNode().SetColor(*_COLOR)
        self._lines.GetDisplayNode().SetVisibility(True)

    def draw(self, camera: XRayCamera, marks: list[tuple]) -> None:
        """marks: (name, text, pixel, click or None)."""
        points = self._points
        was_modified = points.StartModify()
        while points.GetNumberOfControlPoints() > len(marks):
            points.RemoveNthControlPoint(points.GetNumberOfControlPoints() - 1)
        for index, (_name, text, pixel, _click) in enumerate(marks):
            place = ras_from_lps(camera.detector_points(pixel)).tolist()
            if index >= points.GetNumberOfControlPoints():
                points.AddControlPoint(place, text)
            points.SetNthControlPointPosition(index, *place)
            if points.GetNthControlPointLabel(index) != text:
                points.SetNthControlPointLabel(index, text)
        points.EndModify(was_modified)
        ends = [(pixel, click) for _name, _text, pixel, click in marks if click is not None]
        self._lines.SetAndObservePolyData(_segments(camera, ends))

    def remove(self) -> None:
        """Take it out of the view and the scene."""
        remove(self._scene, self._points, self._lines)


def _add_points(scene, name: str):
    """A points list; Slicer makes each new one the list that clicks go to, which must stay what it was."""
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    if selection is not None:
        before = selection.GetActivePlaceNodeClassName(), selection.GetActivePlaceNodeID()
    points = add(scene, _CLASS, name, "landmarks-projected")
    points.CreateDefaultDisplayNodes()
    if selection is not None:
        selection.SetReferenceActivePlaceNodeClassName(before[0])
        selection.SetActivePlaceNodeID(before[1])
    return points


def _segments(camera: XRayCamera, ends: list[tuple]) -> vtk.vtkPolyData:
    """Lines on the detector between pairs of pixels."""
    data, points, lines = vtk.vtkPolyData(), vtk.vtkPoints(), vtk.vtkCellArray()
    for pair in ends:
        lines.InsertNextCell(2)
        for pixel in pair:
            lines.InsertCellPoint(points.InsertNextPoint(*ras_from_lps(camera.detector_points(pixel)).tolist()))
    data.SetPoints(points)
    data.SetLines(lines)
    return data
