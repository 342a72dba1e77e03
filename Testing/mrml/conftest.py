"""A real MRML scene and real views, off screen, from slicer-core. Skips where slicer-core isn't installed."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
HAVE_SLICER = importlib.util.find_spec("slicer") is not None and importlib.util.find_spec("vtk") is not None
NEEDS_SLICER = "needs the package slicer-core (pip install 'slicer-core==5.12.*')"
# Without slicer-core the test files themselves can't be imported.
collect_ignore_glob = [] if HAVE_SLICER else ["test_[!n]*.py"]

if HAVE_SLICER:
    import slicer
    import vtk
    from DeepReg2D3DLib.mrml.xray_camera import XRayCamera
    from DeepReg2D3DLib.mrml.xray_node import create_xray_node
    from vtk.util.numpy_support import vtk_to_numpy


def pytest_report_header() -> str:
    return "MRML tests: slicer-core found" if HAVE_SLICER else f"MRML tests skipped: {NEEDS_SLICER}"


@pytest.fixture
def scene():
    """An empty scene with the logics that the application would have."""
    before = getattr(slicer, "mrmlScene", None)  # the stand-in application's, where a test of the panel came first
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    application = slicer.vtkMRMLApplicationLogic()
    application.SetMRMLScene(scene)
    application.SetSliceLogics(vtk.vtkCollection())
    color = slicer.vtkMRMLColorLogic()
    color.SetMRMLScene(scene)
    application.SetColorLogic(color)
    sequences = slicer.vtkSlicerSequencesLogic()
    sequences.SetMRMLScene(scene)
    layout = slicer.vtkMRMLLayoutLogic()
    layout.SetMRMLScene(scene)
    scene.logics = (application, color, sequences, layout)
    yield scene
    layout.SetMRMLScene(None)
    sequences.SetMRMLScene(None)
    scene.Clear(1)
    slicer.mrmlScene = before


def camera(angle_deg=0.0, mirrored=False, columns=80, rows=60, name="AP", spacing=(4.0, 4.0)):
    """A C-arm turned about the patient's long axis; the isocentre is the world's origin, SOD 700, SDD 1000."""
    a = np.radians(angle_deg)
    z = np.array([np.sin(a), np.cos(a), 0.0])  # at 0 degrees from the front to the back
    y = np.array([0.0, 0.0, -1.0])  # image rows run to the feet
    x = np.cross(y, z)
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = [x, y, z]
    world_to_camera[2, 3] = 700.0
    fu, fv = 1000 / spacing[0], 1000 / spacing[1]
    k = [[-fu if mirrored else fu, 0, (columns - 1) / 2], [0, fv, (rows - 1) / 2], [0, 0, 1]]
    return XRayCamera(k, world_to_camera, columns, rows, spacing, name)


@pytest.fixture
def make_camera():
    return camera


@pytest.fixture
def an_xray(scene):
    """An X-ray whose pixel values are u + 100 v."""
    view = camera()
    v, u = np.mgrid[: view.rows, : view.columns]
    return create_xray_node(scene, (u + 100 * v).astype(np.float32), view)


class SliceView:
    """A slice view that draws off screen, as Slicer's qMRMLSliceView does."""

    def __init__(self, scene, slice_node, size=(320, 240)) -> None:
        self.node, self._scene = slice_node, scene
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(scene.logics[0])
        self._logic.SetMRMLScene(scene)
        self._logic.SetSliceNode(slice_node)
        scene.logics[0].GetSliceLogics().AddItem(self._logic)
        slice_node.SetDimensions(size[0], size[1], 1)
        self._renderer, self._window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*size)
        self._window.AddRenderer(self._renderer)
        interactor = vtk.vtkGenericRenderWindowInteractor()
        interactor.SetRenderWindow(self._window)
        self._interactor = interactor
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        name = "vtkMRMLModelSliceDisplayableManager"
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
        factory.SetMRMLApplicationLogic(scene.logics[0])
        self._group = factory.InstantiateDisplayableManagers(self._renderer)
        self._group.SetMRMLDisplayableNode(slice_node)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(actor)

    def picture(self) -> np.ndarray:
        """(height, width, 3) uint8, row 0 at the top."""
        self._logic.UpdatePipeline()
        self._mapper.SetInputConnection(self._logic.GetImageDataConnection())
        self._window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()

    def resize(self, width: int, height: int) -> None:
        """As the window of the view does."""
        self._logic.ResizeSliceNode(width, height)

    def close(self) -> None:
        self._group.SetMRMLDisplayableNode(None)
        self._logic.SetMRMLScene(None)
        self._window.Finalize()


@functools.cache
def can_draw() -> bool:
    """Whether VTK draws off screen here. Asked in a process of its own: where the driver is missing VTK may crash."""
    program = "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.Render(); print('drawn')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode == 0 and "drawn" in done.stdout


@pytest.fixture
def open_view(scene):
    """open_view(slice_node, size) -> SliceView; closed at the end of the test."""
    if not can_draw():
        pytest.skip("VTK can't draw off screen on this machine (no EGL driver)")
    views = []

    def make(slice_node, size=(320, 240)):
        views.append(SliceView(scene, slice_node, size))
        return views[-1]

    yield make
    for view in views:
        view.close()
