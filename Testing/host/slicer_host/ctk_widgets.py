"""Stand-ins for the CTK widgets that the module's .ui files name: same properties, methods and signals."""

from __future__ import annotations

import sys
import types

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt, Signal


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A titled section that folds. Its layout lies below the title, as in CTK."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._title = QtWidgets.QToolButton(self)
        self._title.setToolButtonStyle(Qt.ToolButtonTextBesideIcon)
        self._title.setArrowType(Qt.DownArrow)
        self._title.setAutoRaise(False)
        self._title.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._title.clicked.connect(self._toggle)
        self.setContentsMargins(0, 26, 0, 0)
        self._collapsed = False

    def resizeEvent(self, event):
        self._title.setGeometry(0, 0, self.width, 24)
        super().resizeEvent(event)

    def childEvent(self, event):
        if self.__dict__.get("_collapsed") and event.added() and event.child().isWidgetType():
            QtCore.QTimer.singleShot(0, self._show_children)
        super().childEvent(event)

    def _toggle(self, _checked=False):
        self.setCollapsed(not self._collapsed)

    def _show_children(self):
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and child is not self._title:
                hidden = child.property("hostHidden") if self._collapsed else None
                if self._collapsed:
                    if hidden is None:
                        child.setProperty("hostHidden", child.isHidden())
                    child.setVisible(False)
                else:
                    child.setVisible(not child.property("hostHidden"))
                    child.setProperty("hostHidden", None)
        self.setMaximumHeight(26 if self._collapsed else 16777215)

    def isCollapsed(self):
        return self._collapsed

    def setCollapsed(self, value):
        if value == self._collapsed:
            return
        self._collapsed = bool(value)
        self._title.setArrowType(Qt.RightArrow if value else Qt.DownArrow)
        self._show_children()
        self.contentsCollapsed.emit(self._collapsed)

    def getText(self):
        return self._title.property("text")

    def setText(self, text):
        self._title.setText(text)

    collapsed = Property(bool, isCollapsed, setCollapsed)
    text = Property(str, getText, setText)


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that folds when its title is unchecked."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setCheckable(True)
        self.toggled.connect(self._fold)
        self._children = None

    def _fold(self, shown):
        self.setMaximumHeight(16777215 if shown else 24)

    def _is_collapsed(self):
        return not self.isChecked()

    def _set_collapsed(self, value):
        self.setChecked(not value)

    collapsed = Property(bool, _is_collapsed, _set_collapsed)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box for one bounded number."""

    valueChanged = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(Qt.Horizontal, self)
        self._box = QtWidgets.QDoubleSpinBox(self)
        row.addWidget(self._slider, 1)
        row.addWidget(self._box)
        self._box.setRange(0, 100)
        self._guard = False
        self._box.valueChanged.connect(self._from_box)
        self._slider.valueChanged.connect(self._from_slider)
        self.setFocusPolicy(Qt.StrongFocus)
        self.setFocusProxy(self._box)
        self._rescale()

    def _rescale(self):
        self._guard = True
        box = self._box
        span = max(box.maximum - box.minimum, 1e-9)
        self._slider.setRange(0, 1000)
        self._slider.setValue(round(1000 * (box.value - box.minimum) / span))
        self._guard = False

    def _from_box(self, value):
        self._rescale()
        self.valueChanged.emit(value)

    def _from_slider(self, value):
        if not self._guard:
            box = self._box
            box.setValue(box.minimum + value / 1000 * (box.maximum - box.minimum))

    def setValue(self, value):
        self._box.setValue(value)

    def setRange(self, low, high):
        self._box.setRange(low, high)
        self._rescale()

    def _set_minimum(self, value):
        self.setRange(value, self._box.maximum)

    def _set_maximum(self, value):
        self.setRange(self._box.minimum, value)

    value = Property(float, lambda self: self._box.value, setValue)
    minimum = Property(float, lambda self: self._box.minimum, _set_minimum)
    maximum = Property(float, lambda self: self._box.maximum, _set_maximum)
    singleStep = Property(float, lambda s: s._box.singleStep, lambda s, v: s._box.setSingleStep(v))
    pageStep = Property(float, lambda s: 10 * s._box.singleStep, lambda s, v: None)
    decimals = Property(int, lambda s: s._box.decimals, lambda s, v: s._box.setDecimals(v))
    suffix = Property(str, lambda s: s._box.suffix, lambda s, v: s._box.setSuffix(v))
    prefix = Property(str, lambda s: s._box.prefix, lambda s, v: s._box.setPrefix(v))
    tracking = Property(bool, lambda s: True, lambda s, v: None)


class ctkRangeWidget(QtWidgets.QWidget):
    """Two bounded numbers, a lower and an upper one."""

    valuesChanged = Signal(float, float)

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._low, self._high = QtWidgets.QDoubleSpinBox(self), QtWidgets.QDoubleSpinBox(self)
        self._slider = QtWidgets.QSlider(Qt.Horizontal, self)
        for widget, stretch in ((self._low, 0), (self._slider, 1), (self._high, 0)):
            row.addWidget(widget, stretch)
        for box in (self._low, self._high):
            box.setRange(0, 100)
            box.valueChanged.connect(lambda _value: self.valuesChanged.emit(self._low.value, self._high.value))

    def setRange(self, low, high):
        for box in (self._low, self._high):
            box.setRange(low, high)

    def setValues(self, low, high):
        self._low.setValue(low)
        self._high.setValue(high)

    minimum = Property(float, lambda s: s._low.minimum, lambda s, v: s.setRange(v, s._low.maximum))
    maximum = Property(float, lambda s: s._low.maximum, lambda s, v: s.setRange(s._low.minimum, v))
    minimumValue = Property(float, lambda s: s._low.value, lambda s, v: s._low.setValue(v))
    maximumValue = Property(float, lambda s: s._high.value, lambda s, v: s._high.setValue(v))
    decimals = Property(int, lambda s: s._low.decimals, lambda s, v: [b.setDecimals(v) for b in (s._low, s._high)])
    singleStep = Property(
        float, lambda s: s._low.singleStep, lambda s, v: [b.setSingleStep(v) for b in (s._low, s._high)]
    )


class ctkComboBox(QtWidgets.QComboBox):
    pass


class ctkCheckBox(QtWidgets.QCheckBox):
    pass


class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    pass


class ctkDoubleSlider(QtWidgets.QSlider):
    pass


class ctkDoubleRangeSlider(QtWidgets.QSlider):
    pass


class ctkCheckablePushButton(QtWidgets.QPushButton):
    pass


class ctkPathLineEdit(QtWidgets.QLineEdit):
    pass


class ctkDirectoryButton(QtWidgets.QPushButton):
    pass


class ctkColorPickerButton(QtWidgets.QPushButton):
    pass


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    pass


def install(custom: dict[str, type]) -> types.ModuleType:
    """Puts the module `ctk` into `sys.modules` and its widgets into the .ui loader's table `custom`."""
    module = types.ModuleType("ctk", __doc__)
    for name, value in list(globals().items()):
        if name.startswith("ctk"):
            setattr(module, name, value)
            custom[name] = value
    sys.modules["ctk"] = module
    return module
