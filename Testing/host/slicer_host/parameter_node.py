"""A minimal `slicer.parameterNodeWrapper`: the types and widgets that this module uses, bound as strictly as Slicer.

Values live in the wrapped vtkMRMLScriptedModuleNode, nodes as references, so that a saved scene holds them. As in
Slicer, widget types match exactly and sliders refuse unbounded numbers.
"""

from __future__ import annotations

import enum
import json
import sys
import types
import typing
from dataclasses import dataclass

import ctk
import qt
import slicer
import vtk


@dataclass
class WithinRange:
    minimum: float
    maximum: float


@dataclass
class Minimum:
    minimum: float


@dataclass
class Maximum:
    maximum: float


@dataclass
class Choice:
    choices: list


@dataclass
class Default:
    value: object


@dataclass
class Decimals:
    value: int


@dataclass
class SingleStep:
    value: float


def _split(kind):
    """A type hint's type and its annotations."""
    if typing.get_origin(kind) is typing.Annotated:
        base, *notes = typing.get_args(kind)
        return base, notes
    return kind, []


def _find(notes, cls):
    return next((note for note in notes if isinstance(note, cls)), None)


def _is_node(kind) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


class _Field:
    """One parameter: reads and writes it in the node."""

    def __init__(self, name, hint, has_default, default):
        self.name, self.hint = name, hint
        self.kind, self.notes = _split(hint)
        given = _find(self.notes, Default)
        self.default = default if has_default else (given.value if given else self._empty())

    def _item(self):
        return typing.get_args(self.kind)[0]

    def _is_list(self):
        return typing.get_origin(self.kind) is list

    def _empty(self):
        if self._is_list():
            return []
        if _is_node(self.kind):
            return None
        if issubclass(self.kind, enum.Enum):
            return next(iter(self.kind))
        return self.kind()

    def exists(self, node):
        if _is_node(self.kind):
            return True
        return bool(node.GetParameterCount()) and self.name in node.GetParameterNames()

    def write(self, node, value):
        self._check(value)
        if _is_node(self.kind):
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        elif self._is_list() and _is_node(self._item()):
            modified = node.StartModify()
            node.RemoveNodeReferenceIDs(self.name)
            for item in value:
                node.AddNodeReferenceID(self.name, item.GetID())
            node.SetParameter(self.name, str(len(value)))
            node.EndModify(modified)
        elif isinstance(value, enum.Enum):
            node.SetParameter(self.name, value.name)
        else:
            node.SetParameter(self.name, json.dumps(value))

    def read(self, node):
        if _is_node(self.kind):
            return node.GetNodeReference(self.name)
        if self._is_list() and _is_node(self._item()):
            count = node.GetNumberOfNodeReferences(self.name)
            return [node.GetNthNodeReference(self.name, index) for index in range(count)]
        text = node.GetParameter(self.name)
        if isinstance(self.kind, type) and issubclass(self.kind, enum.Enum):
            return self.kind[text]
        return json.loads(text)

    def _check(self, value):
        kind = typing.get_origin(self.kind) or self.kind
        if kind is float and isinstance(value, int):
            return
        if not isinstance(value, kind) and not (value is None and _is_node(self.kind)):
            raise TypeError(f"parameter {self.name}: {value!r} is no {kind.__name__}")
        bounds = _find(self.notes, WithinRange)
        if bounds and not bounds.minimum <= value <= bounds.maximum:
            raise ValueError(f"parameter {self.name}: {value} is outside {bounds.minimum} to {bounds.maximum}")


class _Connector:
    """Binds one widget to one parameter."""

    def __init__(self, widget, field):
        self.widget, self.field, self.changed = widget, field, None
        kind, cls = field.kind, type(widget)
        bounds = _find(field.notes, WithinRange)
        if kind is bool and cls in (qt.QCheckBox, ctk.ctkCheckBox, qt.QPushButton):
            self._bind("checked", widget.toggled)
        elif kind is int and cls in (qt.QSlider, qt.QSpinBox):
            if bounds:
                widget.setRange(bounds.minimum, bounds.maximum)
            self._bind("value", widget.valueChanged)
        elif kind is float and cls in (qt.QDoubleSpinBox, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget):
            if bounds is None and cls is not qt.QDoubleSpinBox:
                raise RuntimeError(f"parameter {field.name}: a slider needs a bounded float")
            if bounds:
                widget.setRange(bounds.minimum, bounds.maximum)
            self._bind("value", widget.valueChanged)
        elif cls in (qt.QComboBox, ctk.ctkComboBox) and isinstance(kind, type) and issubclass(kind, enum.Enum):
            self._members = list(kind)
            label = getattr(kind, "label", lambda member: member.name)
            widget.clear()
            for member in self._members:
                widget.addItem(label(member))
            self.read = lambda: self._members[widget.currentIndex]
            self.write = lambda value: widget.setCurrentIndex(self._members.index(value))
            self.signal = widget.currentIndexChanged
        elif cls is qt.QLineEdit and kind is str:
            self._bind("text", widget.textChanged)
        elif cls is slicer.qMRMLNodeComboBox and _is_node(kind):
            widget.nodeTypes = [kind.__name__]
            self.read, self.write, self.signal = widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged
        else:
            raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget type '{cls}'")

    def _bind(self, name, signal):
        self.read = lambda: getattr(self.widget, name)
        self.write = lambda value: setattr(self.widget, name, value)
        self.signal = signal


def _make_wrapper(cls):
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {n: _Field(n, hint, hasattr(cls, n), getattr(cls, n, None)) for n, hint in hints.items()}

    def init(self, parameterNode, prefix=None):
        self.parameterNode, self._guis, self._updating = parameterNode, {}, False
        for field in fields.values():
            if not field.exists(parameterNode):
                field.write(parameterNode, field.default)

    def connect(self, mapping):
        tag = len(self._guis) + 1
        connectors = [_Connector(widget, fields[name]) for name, widget in mapping.items()]
        for connector in connectors:
            connector.write(connector.field.read(self.parameterNode))
            connector.slot = _callback(self, connector)
            connector.signal.connect(connector.slot)
        observer = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: refresh(self, tag))
        self._guis[tag] = (connectors, observer)
        return tag

    def _callback(self, connector):
        def changed(*_):
            if not self._updating:
                connector.field.write(self.parameterNode, connector.read())

        return changed

    def refresh(self, tag):
        if self._updating or tag not in self._guis:
            return
        self._updating = True
        try:
            for connector in self._guis[tag][0]:
                connector.write(connector.field.read(self.parameterNode))
        finally:
            self._updating = False

    def disconnect(self, tag):
        connectors, observer = self._guis.pop(tag, ([], None))
        for connector in connectors:
            connector.signal.disconnect(connector.slot)
        if observer is not None:
            self.parameterNode.RemoveObserver(observer)

    for name, field in fields.items():
        getter = (lambda f: lambda self: f.read(self.parameterNode))(field)
        setter = (lambda f: lambda self, value: f.write(self.parameterNode, value))(field)
        setattr(cls, name, property(getter, setter))
    cls.__init__ = init
    cls.allParameters = fields
    cls.connectParametersToGui = connect
    cls.disconnectGui = disconnect
    cls.AddObserver = lambda self, event, f, priority=0.0: self.parameterNode.AddObserver(event, f, priority)
    cls.RemoveObserver = lambda self, tag: self.parameterNode.RemoveObserver(tag)
    cls.StartModify = lambda self: self.parameterNode.StartModify()
    cls.EndModify = lambda self, was: self.parameterNode.EndModify(was)
    cls.Modified = lambda self: self.parameterNode.Modified()
    return cls


def parameterNodeWrapper(cls=None):
    """Class decorator, with or without parentheses."""
    return _make_wrapper if cls is None else _make_wrapper(cls)


def install() -> None:
    """Registers the stand-in as `slicer.parameterNodeWrapper`."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    public = (WithinRange, Minimum, Maximum, Choice, Default, Decimals, SingleStep, parameterNodeWrapper)
    for value in public:
        setattr(module, value.__name__, value)
    module.__all__ = [value.__name__ for value in public]
    sys.modules[module.__name__] = module
    slicer.parameterNodeWrapper = module
