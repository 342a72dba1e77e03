"""Each X-ray in 3D: its source, the frustum of its beam, its detector with the picture on it, and the C-arm.

The picture is a texture of a flat model and not the slice view's own: a slice shown in 3D would draw the 3D view again
with each new overlay.
"""

from __future__ import annotations

import numpy as np
import vtk

from .cleanup import add, remove
from .frames import ras_from_lps
from .xray_camera import XRayCamera
from .xray_node import camera_of

SOURCE_RADIUS_MM = 12.0
_SOURCE_COLOR = (1.0, 0.85, 0.2)
_BEAM_COLOR = (0.95, 0.8, 0.3)
_ARM_COLOR = (0.55, 0.6, 0.68)
_ARM_RADIUS_MM = 22.0
_ARM_STEPS = 32


class BeamModels:
    """Source, beam and detector of one X-ray node, in the 3D views only."""

    def __init__(self, scene, xray_node) -> None:
        self._scene, self._xray = scene, xray_node
        name = xray_node.GetName()
        self._source = self._model(f"{name} source", _SOURCE_COLOR, 1.0)
        self._beam = self._model(f"{name} beam", _BEAM_COLOR, 0.8)
        self._detector = self._model(f"{name} detector", (1.0, 1.0, 1.0), 1.0)
        self._arm = self._model(f"{name} C-arm", _ARM_COLOR, 0.35)
        self._colors = vtk.vtkImageMapToWindowLevelColors()
        self.update()

    def _model(self, name: str, color, opacity: float):
        model = add(self._scene, "vtkMRMLModelNode", name, "beam")
        model.SetSelectable(False)
        display = add(self._scene, "vtkMRMLModelDisplayNode", f"{name} display", "beam")
        display.SetColor(*color)
        display.SetOpacity(opacity)
        display.SetLighting(False)
        display.SetBackfaceCulling(False)
        display.SetVisibility2D(False)
        display.SetLineWidth(2.0)
        model.SetAndObserveDisplayNodeID(display.GetID())
        return model

    def update(self, camera: XRayCamera | None = None) -> None:
        """Draw again after the camera, the picture or its window changed; camera: another one than the X-ray's own."""
        camera = camera if camera is not None else camera_of(self._xray)
        self.set_visible(camera is not None and self._xray.GetImageData() is not None)
        if camera is None or self._xray.GetImageData() is None:
            return
        source, corners = ras_from_lps(camera.source), ras_from_lps(camera.corners())
        sphere = vtk.vtkSphereSource()
        sphere.SetCenter(*source)
        sphere.SetRadius(SOURCE_RADIUS_MM)
        sphere.SetThetaResolution(24)
        sphere.SetPhiResolution(16)
        sphere.Update()
        self._source.SetAndObservePolyData(sphere.GetOutput())
        self._beam.SetAndObservePolyData(_frustum(source, corners))
        self._detector.SetAndObservePolyData(_quad(corners))
        self._arm.SetAndObservePolyData(_arm(source, ras_from_lps(camera.detector_points(_middle(camera)))))
        shown = self._xray.GetDisplayNode()
        self._colors.SetInputData(self._xray.GetImageData())
        if shown is not None:
            self._colors.SetWindow(shown.GetWindow())
            self._colors.SetLevel(shown.GetLevel())
        self._colors.SetOutputFormatToRGB()
        self._detector.GetDisplayNode().SetTextureImageDataConnection(self._colors.GetOutputPort())

    def set_visible(self, visible: bool) -> None:
        """Show or hide all of it."""
        for model in (self._source, self._beam, self._detector, self._arm):
            model.GetDisplayNode().SetVisibility(bool(visible))

    def remove(self) -> None:
        """Take the models out of the scene."""
        if self._detector.GetDisplayNode() is not None:
            self._detector.GetDisplayNode().SetTextureImageDataConnection(None)
        remove(self._scene, self._source, self._beam, self._detector, self._arm)


def _middle(camera: XRayCamera) -> np.ndarray:
    return np.array([0.5 * (camera.columns - 1), 0.5 * (camera.rows - 1)])


def _arc(source: np.ndarray, detector: np.ndarray) -> np.ndarray:
    """Points (N, 3) of a half circle from the source to the detector's middle, all in world RAS.

    It lies in the plane of the beam's axis and the patient's long axis, round the feet, as the C does when its stand is
    there; a beam along the patient has it at the side.
    """
    axis = detector - source
    length = np.linalg.norm(axis)
    axis = axis / length
    away = np.array([0.0, 0.0, -1.0]) if abs(axis[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    away = away - (away @ axis) * axis
    away /= np.linalg.norm(away)
    angles = np.linspace(0.0, np.pi, _ARM_STEPS)[:, None]
    return 0.5 * (source + detector) - 0.5 * length * (np.cos(angles) * axis - np.sin(angles) * away)


def _arm(source: np.ndarray, detector: np.ndarray) -> vtk.vtkPolyData:
    line = vtk.vtkPolyData()
    line.SetPoints(_points(_arc(source, detector)))
    cells = vtk.vtkCellArray()
    cells.InsertNextCell(_ARM_STEPS)
    for index in range(_ARM_STEPS):
        cells.InsertCellPoint(index)
    line.SetLines(cells)
    tube = vtk.vtkTubeFilter()
    tube.SetInputData(line)
    tube.SetRadius(_ARM_RADIUS_MM)
    tube.SetNumberOfSides(12)
    tube.CappingOn()
    tube.Update()
    return tube.GetOutput()


def extent_of(xray_nodes) -> np.ndarray:
    """World points (N, 3) RAS that a look at the whole has to hold: sources, detectors' corners, C-arms."""
    places = [np.zeros((0, 3))]
    for camera in map(camera_of, xray_nodes):
        if camera is not None:
            source = ras_from_lps(camera.source)
            places += [ras_from_lps(camera.corners())]
            places += [_arc(source, ras_from_lps(camera.detector_points(_middle(camera))))]
    return np.concatenate(places)


def _points(places) -> vtk.vtkPoints:
    points = vtk.vtkPoints()
    for place in places:
        points.InsertNextPoint(*(float(x) for x in place))
    return points


def _frustum(source: np.ndarray, corners: np.ndarray) -> vtk.vtkPolyData:
    """Lines from the source to the detector's corners and around the detector."""
    data = vtk.vtkPolyData()
    data.SetPoints(_points([source, *corners]))
    lines = vtk.vtkCellArray()
    for index in range(4):
        for a, b in ((0, index + 1), (index + 1, (index + 1) % 4 + 1)):
            lines.InsertNextCell(2)
            lines.InsertCellPoint(a)
            lines.InsertCellPoint(b)
    data.SetLines(lines)
    return data


def _quad(corners: np.ndarray) -> vtk.vtkPolyData:
    """The detector, with the picture's row 0 along its first edge."""
    data = vtk.vtkPolyData()
    data.SetPoints(_points(corners))
    faces = vtk.vtkCellArray()
    faces.InsertNextCell(4)
    for index in range(4):
        faces.InsertCellPoint(index)
    data.SetPolys(faces)
    texture = vtk.vtkFloatArray()
    texture.SetName("TextureCoordinates")
    texture.SetNumberOfComponents(2)
    for u, v in ((0, 0), (1, 0), (1, 1), (0, 1)):
        texture.InsertNextTuple2(u, v)
    data.GetPointData().SetTCoords(texture)
    return data
