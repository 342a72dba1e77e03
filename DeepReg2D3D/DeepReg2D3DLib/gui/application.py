"""What the module asks of the running application: events, views, volume rendering."""

from __future__ import annotations

import time

import slicer

_NUMBER_OF_FRAMES = "0028,0008"


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


def dicomFileOf(volume) -> tuple[str, int | None]:
    """File and frame number of a volume that Slicer loaded from its DICOM database; ("", None) for others."""
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = dicomDatabase()
    if len(uids) != 1 or database is None:
        return "", None
    path = database.fileForInstance(uids[0]) or ""
    shown, count = _frame_shown(volume)
    # A sequence of several files counts otherwise than the frames of each.
    frames = database.fileValue(path, _NUMBER_OF_FRAMES) if path and shown is not None else ""
    return path, shown if str(frames).strip() == str(count) else None


def dicomDatabase():
    """Slicer's DICOM database, None where there is none or it isn't open."""
    database = getattr(slicer, "dicomDatabase", None)
    return database if database is not None and database.isOpen else None


def _frame_shown(volume) -> tuple[int | None, int]:
    """Of a volume that a sequence browser plays: the number, from 1, of the frame that it shows, and of how many."""
    scene = slicer.mrmlScene
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(index, "vtkMRMLSequenceBrowserNode")
        if browser.IsProxyNodeID(volume.GetID()):
            return browser.GetSelectedItemNumber() + 1, browser.GetNumberOfItems()
    return None, 0
