"""DeepReg2D3D: interactive registration of a CT to X-ray images. The parts are in DeepReg2D3DLib; this is glue."""

import gc
import os
import sys
from typing import Annotated

import qt
import slicer
import vtk
from DeepReg2D3DLib.gui.choices import CtDisplay, Device, Method, OverlayMode, Preset, defaultMethod
from DeepReg2D3DLib.gui.registration_logic import RegistrationLogic
from DeepReg2D3DLib.mrml.layout import RegistrationLayout
from slicer import vtkMRMLLinearTransformNode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


def resourceFile(modulePath: str, name: str) -> str:
    """A file of Resources: beside the installed module, or at the top of the source tree."""
    folder = os.path.dirname(os.path.abspath(modulePath))
    installed = os.path.join(folder, "Resources", name)
    return installed if os.path.exists(installed) else os.path.join(os.path.dirname(folder), "Resources", name)


def requirementsFile(modulePath: str) -> str:
    """requirements.txt: in Resources of the installed module, or at the top of the source tree."""
    installed = resourceFile(modulePath, "requirements.txt")
    top = os.path.dirname(os.path.dirname(os.path.abspath(modulePath)))
    return installed if os.path.exists(installed) else os.path.join(top, "requirements.txt")


class DeepReg2D3D(ScriptedLoadableModule):
    """What Slicer shows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("DeepReg2D3D")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        parent.dependencies = []
        parent.contributors = ["DeepReg2D3D contributors"]
        parent.helpText = _(
            "Registers a CT to one or more X-ray images of the same patient (2D/3D registration), so that the CT can "
            "be overlaid on them. Load a CT and X-rays, place the CT roughly, press Register."
        )
        parent.acknowledgementText = _(
            "After S. Jaganathan, J. Wang, A. Borsdorf, K. Shetty, A. Maier: Deep Iterative 2D/3D Registration, "
            "MICCAI 2021."
        )
        parent.icon = qt.QIcon(resourceFile(parent.path, "Icons/DeepReg2D3D.png"))
        # Sample Data may be found later than this module; the scene may have no layout before.
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", registerLayout)

    def resourcePath(self, filename):
        return resourceFile(self.parent.path, filename)


def registerSampleData():
    """The phantom in the Sample Data module; it is made on the spot, by the panel's engine."""
    try:
        import SampleData
    except ImportError:
        return
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="DeepReg2D3D",
        sampleName="DeepReg2D3D phantom",
        thumbnailFileName=resourceFile(__file__, "Icons/DeepReg2D3D.png"),
        # Nothing is downloaded; without these lists (of one length) the source is refused.
        uris=[],
        fileNames=[],
        nodeNames=[],
        customDownloader=downloadSample,
    )


def registerLayout():
    """Makes the X-ray layout known, so that a scene that was saved with it opens before this module is entered."""
    RegistrationLayout(slicer.mrmlScene).register()


def downloadSample(source=None):
    """Opens the module and makes the sample there; returns the CT's node."""
    slicer.util.selectModule("DeepReg2D3D")
    return slicer.modules.DeepReg2D3DWidget.logic.loadSample()[0]


@parameterNodeWrapper
class DeepReg2D3DParameterNode:
    """What a saved scene keeps. Pose and geometry live in their own nodes (transform, X-ray images).

    Further references of the underlying node: the record of the last run and the region, whose classes come with
    modules of Slicer that may be loaded after this one.
    """

    ct: vtkMRMLScalarVolumeNode
    xrays: list[vtkMRMLScalarVolumeNode]
    poseTransform: vtkMRMLLinearTransformNode
    regionSegment: str = ""
    handles3D: bool = False
    handles2D: bool = False
    dragOverlay: bool = True
    showProjections: bool = True
    method: Method = defaultMethod()
    preset: Preset = Preset.ACCURATE
    device: Device = Device.AUTO
    showPlot: bool = True
    overlayMode: OverlayMode = OverlayMode.BLEND
    overlayOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    showPoints: bool = False
    showFlow: bool = False
    autoWindow: bool = True
    windowLow: Annotated[float, WithinRange(0.0, 100.0)] = 0.0
    windowHigh: Annotated[float, WithinRange(0.0, 100.0)] = 5.0
    ctDisplay: CtDisplay = CtDisplay.SURFACE
    showBeams: bool = True
    showLayout: bool = True
    showCtSlices: bool = False
    result: str = ""
    weights: str = ""
    adaptMinutes: Annotated[float, WithinRange(1.0, 120.0)] = 5.0
    selectedXray: vtkMRMLScalarVolumeNode
    editGeometry: bool = False
    studyFolder: str = ""
    studyStarts: Annotated[int, WithinRange(1, 2000)] = 60
    studyLimit: Annotated[int, WithinRange(5, 200)] = 60
    runFile: str = ""
    toggled: str = ""


class DeepReg2D3DLogic(RegistrationLogic, ScriptedLoadableModuleLogic):
    """What the module can do, with or without its panel. See `RegistrationLogic` for the methods.

    In scripts::

        logic = slicer.util.getModuleWidget("DeepReg2D3D").logic   # the panel's; or DeepReg2D3DLogic() of your own
        logic.loadCT("ct.nrrd")
        logic.loadGeometry("geometry.json")
        result = logic.register()                  # blocks, with events processed
        logic.savePose("pose.tfm")
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        RegistrationLogic.__init__(self, requirementsFile(__file__))
        self._observed = []
        self.useParameters(self.getParameterNode())

    def getParameterNode(self):
        return DeepReg2D3DParameterNode(super().getParameterNode())

    def useParameters(self, parameters):
        for owner, tag in self._observed:
            owner.RemoveObserver(tag)
        self._observed = []
        RegistrationLogic.useParameters(self, parameters)
        if parameters is not None:
            scene = slicer.mrmlScene
            self._observed = [
                (parameters, parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_args: self.sync())),
                (scene, scene.AddObserver(scene.NodeRemovedEvent, lambda *_args: self.syncSoon())),
            ]

    def close(self):
        for owner, tag in self._observed:
            owner.RemoveObserver(tag)
        self._observed = []
        RegistrationLogic.close(self)


class DeepReg2D3DWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel."""

    def __init__(self, parent=None):
        # Before the base class: without a parent it sets the panel up at once.
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def resourcePath(self, filename):
        return resourceFile(slicer.util.modulePath(self.moduleName), filename)

    def setup(self):
        from DeepReg2D3DLib.gui.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = DeepReg2D3DLogic()
        self.panel = Panel(self.logic, self.layout, self.resourcePath)
        self.panel.bind(self.logic.parameters)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEnd)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEnd)
        if self.isOpen():  # reloaded while it is open: nobody enters it again
            self.enter()

    def isOpen(self):
        """The module is the one that is open; a panel of its own, outside the application's, never is."""
        return bool(getattr(self.parent, "isEntered", False))

    def cleanup(self):
        """The application ends, or the module is reloaded."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()
            self.panel = None
        if self.logic is not None:
            self.logic.close()
            self.logic = None
        # The parts know each other, and hold pictures: Python would find out much later that nobody else needs them.
        gc.collect()

    def enter(self):
        if self.logic is None:
            return
        if self.logic.parameters is None:
            self.useParameters()
        self.logic.checkMissingRequirements()
        self.logic.session.enter_views()
        self.panel.update()

    def exit(self):
        if self.logic is not None:
            self.logic.session.leave_views()

    def useParameters(self):
        """Follows the scene's parameter node, a new one if need be."""
        self.logic.useParameters(self.logic.getParameterNode())
        self.panel.bind(self.logic.parameters)

    def onSceneStartClose(self, caller, event):
        self.panel.bind(None)
        self.logic.useParameters(None)

    def onSceneEnd(self, caller, event):
        # Not entered: the parameter node is made when the module is opened again.
        if self.isOpen():
            self.useParameters()

    def onReload(self):
        """Reloads the parts as well, not this file alone."""
        for name in [name for name in sys.modules if name.split(".")[0] == "DeepReg2D3DLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class DeepReg2D3DTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer (self-test button): the sample, registered."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_sample()

    def test_sample(self):
        """The sample is registered from its start to within 3 mm of the truth at the CT's centre."""
        from DeepReg2D3DLib.gui.results import motion

        self.delayDisplay("Making the sample")
        # The panel's logic where there is a panel: two would follow the same parameter node with two engines.
        widget = getattr(slicer.modules, "DeepReg2D3DWidget", None)
        if widget is None or widget.logic is None:
            widget, logic = None, DeepReg2D3DLogic()
        else:
            logic = widget.logic
            if logic.parameters is None:
                widget.useParameters()
        try:
            if logic.missingRequirements():
                self.delayDisplay("Skipped: the engine is not installed")
                return
            _ct, _xrays, start, truth = logic.loadSample()
            before, _turned = motion(start, truth, logic.session.pose.centre)
            self.delayDisplay("Registering")
            result = logic.register(method="dppc", preset="fast")
            after, _turned = motion(logic.pose(), truth, logic.session.pose.centre)
            self.assertLess(
                after, min(before, 3.0), f"{result['status']}: {before:.1f} mm before, {after:.1f} mm after"
            )
            self.delayDisplay(f"Test passed: {before:.1f} mm off at the start, {after:.2f} mm after registration")
        finally:
            if widget is None:
                logic.close()
