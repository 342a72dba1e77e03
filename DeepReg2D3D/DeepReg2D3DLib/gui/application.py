"""What the module asks of the running application: events, views, volume rendering."""

from __future__ import annotations

import time

import slicer


def letEventsHappen():
    """Processes events, and leaves the processor to the engine for a moment."""
    slicer.app.processEvents()
    time.sleep(0.005)


def interactorOf(sliceNode):
    """The render window interactor of a slice node's view, None without a view (no main window, or not laid out)."""
    manager = slicer.app.layoutManager()
    widget = manager.sliceWidget(sliceNode.GetLayoutName()) if manager is not None else None
    return widget.sliceView().interactor() if widget is not None else None


def volumeRenderingLogic():
    """Slicer's volume rendering logic, None where there is none."""
    module = getattr(slicer.modules, "volumerendering", None)
    return module.logic() if module is not None else None
