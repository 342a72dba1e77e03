"""The module's widget in the stand-in Slicer, opened and closed, and the sample loaded into it by a click."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def opened(host) -> Iterator:
    """The module's widget on an empty scene, entered and shown; closed again, its engine ended."""
    import slicer

    slicer.mrmlScene.Clear()
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    made = host.load_module(ROOT / "DeepReg2D3D" / "DeepReg2D3D.py")
    made.parent.resize(520, 1500)
    made.parent.show()
    assert host.wait_for(lambda: made.panel.is_complete, 30)
    host.process_events(0.05)
    yield made
    current = host.widgets[made.moduleName]
    if current.logic is not None:
        host.unload_module(current)
    slicer.mrmlScene.Clear()


def click_on(host, button) -> None:
    """A left click with the mouse in a widget's middle."""
    from PySide6 import QtCore, QtTest

    assert button.isVisible(), f"{button.objectName} is not visible"
    assert button.isEnabled(), f"{button.objectName} is not enabled"
    QtTest.QTest.mouseClick(button, QtCore.Qt.LeftButton)
    host.process_events(0.01)


class EveryWidget:
    """All named widgets of all sections of a panel as attributes."""

    def __init__(self, widget) -> None:
        self._widget = widget

    def __getattr__(self, name: str):
        for part in self._widget.panel.sections:
            if hasattr(part.ui, name):
                return getattr(part.ui, name)
        raise AttributeError(name)


def load_sample(host, widget) -> None:
    """Load the sample and wait until the engine has taken it over; runs will take the quickest preset, no search."""
    from DeepReg2D3DLib.gui.choices import Method, Preset

    ui = EveryWidget(widget)
    widget.logic.parameters.method = Method.DPPC
    widget.logic.parameters.preset = Preset.PAPER
    click_on(host, ui.loadSampleButton)
    assert host.wait_for(lambda: widget.logic.session.inputs.ready, 120), ui.engineLogText.toPlainText()


def error_mm(widget, truth) -> float:
    """How far the CT's centre is from where it is at a pose, in mm."""
    from DeepReg2D3DLib.gui.results import motion

    return motion(widget.logic.pose(), truth, widget.logic.session.pose.centre)[0]


def overlays_drawn(widget) -> bool:
    """Whether the CT is seen in the X-ray views."""
    session = widget.logic.session
    return bool(session.live.overlays) and session.live.drawn > 0
