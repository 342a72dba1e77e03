"""The stand-in application: scene, layout manager, module manager, and the loading of a scripted module."""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
import time
import types
from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets

from . import ctk_widgets, flat_qt

_host: Host | None = None


class _ModuleManager:
    """Only what Slicer's ScriptedLoadableModuleWidget connects to."""

    def connect(self, *_):
        return True

    def disconnect(self, *_):
        return True


class App:
    """`slicer.app`."""

    def __init__(self, host: Host):
        self._host = host
        self.temporaryPath = tempfile.mkdtemp(prefix="slicer-host-")
        atexit.register(shutil.rmtree, self.temporaryPath, ignore_errors=True)
        self.extensionsInstallPath = self.temporaryPath
        self.documentationBaseUrl = ""
        self._modules = _ModuleManager()

    def connect(self, *_):
        return True

    def processEvents(self, *_):
        QtWidgets.QApplication.processEvents()

    def layoutManager(self):
        return self._host.layout_manager

    def applicationLogic(self):
        return self._host.application_logic

    def mrmlScene(self):
        return slicer.mrmlScene

    def moduleManager(self):
        return self._modules

    def moduleDocumentationUrl(self, _name):
        return ""

    def translate(self, _context, text):
        return text

    def testingEnabled(self):
        return True

    def pauseRender(self):
        self._host.layout_manager.paused += 1

    def resumeRender(self):
        self._host.layout_manager.paused -= 1

    def commandOptions(self):
        return types.SimpleNamespace(testingEnabled=True, noMainWindow=True)


def load_volume(path, properties=None):
    """`slicer.util.loadVolume`, through the storage node of volumes."""
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", Path(path).stem)
    if not storage.ReadData(node):
        slicer.mrmlScene.RemoveNode(node)
        slicer.mrmlScene.RemoveNode(storage)
        raise RuntimeError(f"Failed to load node from file: {path}")
    node.SetAndObserveStorageNodeID(storage.GetID())
    node.CreateDefaultDisplayNodes()
    return node


class Host:
    """The running stand-in application. One a process (`slicer_host.start`)."""

    def __init__(self):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        if not os.environ.get("DISPLAY"):
            os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        self.qt = flat_qt.install()
        self.ctk = ctk_widgets.install(flat_qt.Loader.custom)
        # PySide6 can't know the signal mrmlSceneChanged(vtkMRMLScene*) of the .ui files; qMRMLWidget does its work.
        QtCore.QLoggingCategory.setFilterRules("qt.core.qobject.connect=false")
        self.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
        from . import qmrml_widgets

        qmrml_widgets.install(flat_qt.Loader.custom)
        from .views import LayoutManager

        scene = slicer.vtkMRMLScene()
        slicer.mrmlScene = scene
        self.application_logic = slicer.vtkMRMLApplicationLogic()
        self.application_logic.SetMRMLScene(scene)
        # The default color tables; without them no volume can be shown.
        self.color_logic = slicer.vtkMRMLColorLogic()
        self.color_logic.SetMRMLScene(scene)
        self.application_logic.SetColorLogic(self.color_logic)
        self.sequences_logic = slicer.vtkSlicerSequencesLogic()
        self.sequences_logic.SetMRMLScene(scene)
        self.markups_logic = slicer.vtkSlicerMarkupsLogic()
        self.markups_logic.SetMRMLApplicationLogic(self.application_logic)
        self.application_logic.SetModuleLogic("Markups", self.markups_logic)
        self.markups_logic.SetMRMLScene(scene)
        self.layout_manager = LayoutManager(scene, self.application_logic)
        slicer.app = App(self)
        slicer.modules = types.SimpleNamespace()
        slicer.moduleNames = types.SimpleNamespace()
        slicer.selfTests = {}
        self.uses_slicer_source = self._python_layer()
        slicer.util.mainWindow = lambda: None
        slicer.util.showStatusMessage = lambda message, duration=0: None
        slicer.util.delayDisplay = lambda message, autoCloseMsec=1, **_: self.process_events(0.01)
        slicer.util.loadVolume = load_volume
        slicer.util.settingsValue = lambda key, default, converter=lambda v: v, settings=None: default
        self.widgets: dict[str, object] = {}

    def _python_layer(self) -> bool:
        """Slicer's own scripted-module classes where SLICER_SOURCE names a checkout, else those written here."""
        source = os.environ.get("SLICER_SOURCE")
        folder = Path(source) / "Base" / "Python" / "slicer" if source else None
        if folder and folder.is_dir():
            slicer.__path__.append(str(folder))
            for name in ("i18n", "parameterNodeWrapper", "ScriptedLoadableModule"):
                importlib.import_module(f"slicer.{name}")

            return True
        from . import parameter_node, scripted

        scripted.install()
        parameter_node.install()
        return False

    def load_module(self, path: str | Path):
        """Loads a scripted module as Slicer does and returns its widget, set up and entered.

        Args:
            path: the module's .py file.
        """
        path = Path(path).resolve()
        name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        record = types.SimpleNamespace(path=str(path), name=name, icon=None)
        setattr(slicer.modules, name.lower(), record)
        setattr(slicer.modules, name + "Instance", getattr(module, name)(record))
        record.record = record
        slicer.util.reloadScriptedModule = self._reload_scripted_module
        return self._show(name, module)

    def _show(self, name, module):
        class Representation(QtWidgets.QWidget):
            isEntered = False

            def setMRMLScene(self, scene):
                pass

        parent = Representation()
        QtWidgets.QVBoxLayout(parent)
        widget = self._set_up(name, module, parent)
        self.enter(widget)
        return widget

    def _set_up(self, name, module, parent):
        widget = getattr(module, name + "Widget")(parent)
        setattr(slicer.modules, name + "Widget", widget)
        widget.setup()
        self.widgets[name] = widget
        return widget

    def enter(self, widget) -> None:
        """The user opens the module."""
        widget.parent.isEntered = True
        if hasattr(widget, "enter"):
            widget.enter()

    def exit(self, widget) -> None:
        """The user goes to another module."""
        widget.parent.isEntered = False
        if hasattr(widget, "exit"):
            widget.exit()

    def unload_module(self, widget) -> None:
        """The application ends, or the module is about to be reloaded."""
        if widget.parent.isEntered:
            self.exit(widget)
        widget.cleanup()
        widget.parent.hide()
        widget.parent.deleteLater()
        self.process_events(0.01)

    def reload_module(self, widget):
        """The button Reload: the widget comes anew into the same, open panel, and is not entered again."""
        widget.onReload()
        return self.widgets[widget.moduleName]

    def _reload_scripted_module(self, name):
        """`slicer.util.reloadScriptedModule`, in its order."""
        old = self.widgets[name]
        spec = importlib.util.spec_from_file_location(name, getattr(slicer.modules, name.lower()).path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        parent = old.parent
        for child in parent.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            child.hide()
        old.cleanup()
        while parent.layout().count():
            parent.layout().takeAt(0)
        self._set_up(name, module, parent)

    def process_events(self, seconds: float = 0.0) -> None:
        """Runs the event loop for a while."""
        end = time.monotonic() + seconds
        while True:
            self.application.processEvents(QtCore.QEventLoop.AllEvents, 10)
            # What is to be deleted later waits for a loop that runs; the application's own does that.
            self.application.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
            if time.monotonic() >= end:
                return
            time.sleep(0.001)

    def wait_for(self, condition, seconds: float = 30.0) -> bool:
        """Runs the event loop until `condition()` holds; False when it did not in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self.process_events(0.005)
        return True


def start() -> Host:
    """The one host of this process."""
    global _host
    if _host is None:
        _host = Host()
    return _host
