"""The module `qt` as Slicer has it: every Qt class in one namespace, Qt properties of widgets as Python attributes."""

from __future__ import annotations

import sys
import types
from typing import ClassVar

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

# Virtual methods that happen to be properties too: Qt would take a Python property for an override.
_VIRTUAL = {"sizeHint", "minimumSizeHint"}


def _expose_properties(cls: type) -> None:
    """Makes each Qt property that `cls` adds an attribute for reading and writing, as PythonQt does."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = str(meta.property(index).name())
        if name not in _VIRTUAL:
            setattr(cls, name, property(_reader(name), _writer(name)))


def _reader(name: str):
    def read(self):
        return self.property(name)

    return read


def _writer(name: str):
    def write(self, value):
        self.setProperty(name, value)

    return write


def _connect(self, signal: str, slot) -> bool:
    """`widget.connect("clicked(bool)", f)`, PythonQt's way."""
    getattr(self, signal.split("(")[0]).connect(slot)
    return True


def _disconnect(self, signal: str, slot) -> bool:
    getattr(self, signal.split("(")[0]).disconnect(slot)
    return True


class Loader(QtUiTools.QUiLoader):
    """Reads .ui files; the classes of ctk and of qMRML widgets come from `custom`."""

    custom: ClassVar[dict[str, type]] = {}

    def createWidget(self, class_name, parent=None, name=""):
        made = self.custom.get(class_name)
        if made is None:
            return super().createWidget(class_name, parent, name)
        widget = made(parent)
        widget.setObjectName(name)
        return widget


def install() -> types.ModuleType:
    """Builds the module, puts it into `sys.modules` as `qt` and returns it."""
    module = types.ModuleType("qt", __doc__)
    for library in (QtCore, QtGui, QtWidgets):
        for name in dir(library):
            if not name.startswith("_"):
                setattr(module, name, getattr(library, name))
    seen = set()
    for library in (QtWidgets, QtGui):
        for value in vars(library).values():
            if isinstance(value, type) and issubclass(value, (QtWidgets.QWidget, QtGui.QAction)) and value not in seen:
                seen.add(value)
                _expose_properties(value)
    QtCore.QObject.name = property(lambda self: QtCore.QObject.objectName(self))
    QtWidgets.QWidget.connect = _connect
    QtWidgets.QWidget.disconnect = _disconnect
    QtGui.QAction.connect = _connect
    module.QUiLoader = Loader
    module.Signal, module.Slot, module.Property = QtCore.Signal, QtCore.Slot, QtCore.Property
    sys.modules["qt"] = module
    return module
