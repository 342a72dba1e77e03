"""The stand-in's layout manager: slice and 3D views drawn off screen by the real MRML displayable managers."""

from __future__ import annotations

import slicer
import vtk

# As Slicer's qMRMLSliceView and qMRMLThreeDView register them, those that the module's nodes need.
SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
)
THREED_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLLinearTransformsDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
)

# Of every view, pixels.
SIZE = (320, 320)


class _View:
    """A render window with an interactor, filled by the displayable managers of a kind of view."""

    def __init__(self, factory, managers, node, application_logic, size, style, observer):
        for manager in managers:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        self._interactor.SetSize(*size)
        self._interactor.Enable()  # else it swallows every event
        factory.SetMRMLApplicationLogic(application_logic)
        self.group = factory.InstantiateDisplayableManagers(self.renderer)
        self.group.SetMRMLDisplayableNode(node)
        # As Slicer's views do it: the style proper does nothing, an observer hands the events to the managers.
        self._interactor.SetInteractorStyle(style)
        self.style, self.observer = style, observer
        observer.SetInteractor(self._interactor)
        observer.SetDisplayableManagers(self.group)
        self.node = node
        self.before_picture = lambda: None

    def interactor(self):
        return self._interactor

    def renderWindow(self):
        return self.window

    def resize(self, width: int, height: int) -> None:
        self.window.SetSize(width, height)
        self._interactor.SetSize(width, height)

    def picture(self, path: str) -> None:
        """Draws the view into a PNG file."""
        self.before_picture()
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(path)
        writer.SetInputConnection(grab.GetOutputPort())
        writer.Write()


class SliceWidget:
    """`layoutManager().sliceWidget(name)`."""

    def __init__(self, node, logic, application_logic):
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        size = SIZE
        self._view = _View(factory, SLICE_MANAGERS, node, application_logic, size,
                           vtk.vtkInteractorStyleUser(), slicer.vtkMRMLSliceViewInteractorStyle())  # fmt: skip
        self._view.observer.SetSliceLogic(logic)
        self._logic = logic
        self._node = node
        # As the renderers of Slicer's slice views have it: the handles of markups take their size from it.
        self._view.renderer.GetActiveCamera().ParallelProjectionOn()
        node.SetDimensions(size[0], size[1], 1)
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self._mapper = mapper
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()  # under the models of the slice view
        self._view.renderer.AddViewProp(self._image)
        self._view.before_picture = self._connect

    def _connect(self):
        # The logic's port changes with the layers; Slicer's slice controller follows it the same way.
        self._mapper.SetInputConnection(self._logic.GetImageDataConnection())

    def sliceView(self):
        return self._view

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._node


class ThreeDWidget:
    """`layoutManager().threeDWidget(index)`."""

    def __init__(self, node, application_logic):
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self._view = _View(factory, THREED_MANAGERS, node, application_logic, SIZE,
                           vtk.vtkInteractorStyle3D(), slicer.vtkMRMLThreeDViewInteractorStyle())  # fmt: skip
        self._node = node

    def threeDView(self):
        return self._view

    def mrmlViewNode(self):
        return self._node


class LayoutManager:
    """`slicer.app.layoutManager()`: the layout logic is the real one; views are made when asked for."""

    def __init__(self, scene, application_logic):
        self.paused = 0
        self._scene, self._application_logic = scene, application_logic
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        self._logic.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
        self._slices: dict[str, SliceWidget] = {}
        self._threeD: dict[str, ThreeDWidget] = {}

    def layoutLogic(self):
        return self._logic

    @property
    def layout(self):
        return self._logic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, identity):
        self._logic.GetLayoutNode().SetViewArrangement(identity)

    def _view_nodes(self, cls):
        nodes = self._logic.GetViewNodes()
        found = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
        return [node for node in found if node is not None and node.IsA(cls)]

    def sliceViewNames(self):
        return [node.GetLayoutName() for node in self._view_nodes("vtkMRMLSliceNode")]

    def sliceWidget(self, name):
        node = next((n for n in self._view_nodes("vtkMRMLSliceNode") if n.GetLayoutName() == name), None)
        if node is None:
            return None
        if name not in self._slices or self._slices[name].mrmlSliceNode() is not node:
            logic = self._application_logic.GetSliceLogic(node)
            if logic is None:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLScene(self._scene)
                logic.SetMRMLApplicationLogic(self._application_logic)
                logic.SetSliceNode(node)
            self._slices[name] = SliceWidget(node, logic, self._application_logic)
        return self._slices[name]

    @property
    def threeDViewCount(self):
        return len(self._view_nodes("vtkMRMLViewNode"))

    def threeDWidget(self, index):
        nodes = self._view_nodes("vtkMRMLViewNode")
        if index >= len(nodes):
            return None
        node = nodes[index]
        if node.GetID() not in self._threeD:
            self._threeD[node.GetID()] = ThreeDWidget(node, self._application_logic)
        return self._threeD[node.GetID()]
