"""Stand-ins for the qMRML widgets that the module's .ui files name."""

from __future__ import annotations

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from . import ctk_widgets


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that hands the scene on; a section's top-level widget."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene):
        self._scene = scene
        # In Slicer the .ui file's connections do this.
        for child in self.findChildren(QtWidgets.QWidget):
            if hasattr(child, "setMRMLScene"):
                child.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene


def _let_go(observed):
    """Removes observers (object, tag), and forgets them."""
    while observed:
        watched, tag = observed.pop()
        watched.RemoveObserver(tag)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node of given classes; follows the scene."""

    currentNodeChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.box = QtWidgets.QComboBox(self)
        row.addWidget(self.box)
        self._types, self._scene, self._ids = [], None, []
        self._observed = observed = []  # (scene, tag)
        self.destroyed.connect(lambda *_: _let_go(observed))  # as Slicer's connections end with their widget
        self._options = {"addEnabled": True, "removeEnabled": True, "noneEnabled": False, "renameEnabled": False}
        self._emitted = None
        self.box.currentIndexChanged.connect(self._emit)

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        _let_go(self._observed)
        self._scene = scene
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent):
                self._observed.append((scene, scene.AddObserver(event, lambda *_: self._refill())))
        self._refill()

    def _nodes(self):
        nodes = []
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            if node.GetClassName() in self._types and not node.GetHideFromEditors():
                nodes.append(node)
        return nodes

    def _refill(self):
        if self._scene is None:
            return
        wanted = self.currentNodeID
        self.box.blockSignals(True)
        self.box.clear()
        self._ids = []
        if self._options["noneEnabled"]:
            self.box.addItem("None")
            self._ids.append("")
        for node in self._nodes():
            self.box.addItem(node.GetName())
            self._ids.append(node.GetID())
        if wanted in self._ids:
            self.box.setCurrentIndex(self._ids.index(wanted))
        self.box.blockSignals(False)
        self._emit()

    def _emit(self, _index=None):
        node = self.currentNode()
        identity = node.GetID() if node else ""
        if identity != self._emitted:
            self._emitted = identity
            self.currentNodeChanged.emit(node)

    def currentNode(self):
        return self._scene.GetNodeByID(self.currentNodeID) if self._scene and self.currentNodeID else None

    def setCurrentNode(self, node):
        identity = node.GetID() if node else ""
        if identity in self._ids:
            self.box.setCurrentIndex(self._ids.index(identity))
        elif not identity:
            self.box.setCurrentIndex(-1)

    def addNode(self):
        node = self._scene.AddNewNodeByClass(self._types[0])
        self.setCurrentNode(node)
        return node

    def _get_id(self):
        index = self.box.property("currentIndex")
        return self._ids[index] if 0 <= index < len(self._ids) else ""

    def _set_types(self, types):
        self._types = list(types)
        self._refill()

    def _option(name):
        def write(self, value):
            self._options[name] = value
            self._refill()

        return Property(bool, lambda self: self._options[name], write)

    currentNodeID = Property(str, _get_id)
    nodeTypes = Property("QStringList", lambda self: self._types, _set_types)
    noneEnabled = _option("noneEnabled")
    addEnabled = _option("addEnabled")
    removeEnabled = _option("removeEnabled")
    renameEnabled = _option("renameEnabled")
    showHidden = Property(bool, lambda self: False, lambda self, value: None)
    showChildNodeTypes = Property(bool, lambda self: False, lambda self, value: None)
    selectNodeUponCreation = Property(bool, lambda self: True, lambda self, value: None)
    noneDisplay = Property(str, lambda self: "None", lambda self, value: None)


class qMRMLSliderWidget(ctk_widgets.ctkSliderWidget):
    def setMRMLScene(self, scene):
        pass


class qMRMLSpinBox(ctk_widgets.ctkDoubleSpinBox):
    def setMRMLScene(self, scene):
        pass


class qMRMLRangeWidget(ctk_widgets.ctkRangeWidget):
    def setMRMLScene(self, scene):
        pass


def install(custom: dict[str, type]) -> None:
    """Puts the widgets into the module `slicer` and into the .ui loader's table `custom`."""
    for name, value in list(globals().items()):
        if name.startswith("qMRML"):
            setattr(slicer, name, value)
            custom[name] = value
    slicer.qSlicerWidget = qMRMLWidget
    custom["qSlicerWidget"] = qMRMLWidget
