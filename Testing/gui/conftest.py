"""The panel in the stand-in Slicer application. Skips where slicer-core or PySide6 cannot be had."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing" / "host"))

import slicer_host  # noqa: E402

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def pytest_collection_modifyitems(items):
    reason = slicer_host.missing()
    if reason:
        for item in items:
            if Path(__file__).parent in Path(item.fspath).parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def host():
    """The stand-in application, one a test process."""
    return slicer_host.start()


@pytest.fixture
def widget(host):
    """The module's widget on an empty scene, entered and shown; closed again, its engine ended."""
    import slicer

    slicer.mrmlScene.Clear()
    made = host.load_module(ROOT / "DeepReg2D3D" / "DeepReg2D3D.py")
    made.parent.resize(520, 1500)
    made.parent.show()
    host.process_events(0.05)
    yield made
    current = host.widgets[made.moduleName]
    if current.logic is not None:
        host.unload_module(current)
    slicer.mrmlScene.Clear()


@pytest.fixture
def click(host):
    """click(button): a left click with the mouse in the widget's middle."""
    from PySide6 import QtCore, QtTest

    def press(button):
        assert button.isVisible(), f"{button.objectName} is not visible"
        assert button.isEnabled(), f"{button.objectName} is not enabled"
        QtTest.QTest.mouseClick(button, QtCore.Qt.LeftButton)
        host.process_events(0.01)

    return press


@pytest.fixture
def save_scene(tmp_path):
    """save_scene(): writes scene.mrml, its images and transforms into the test's folder, as the application does."""

    def save() -> None:
        import slicer

        slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
        for index in range(slicer.mrmlScene.GetNumberOfNodes()):
            node = slicer.mrmlScene.GetNthNode(index)
            if node.GetSaveWithScene() and node.GetClassName() in (
                "vtkMRMLScalarVolumeNode", "vtkMRMLLinearTransformNode",
            ):  # fmt: skip
                node.AddDefaultStorageNode()
                suffix = ".nrrd" if node.IsA("vtkMRMLVolumeNode") else ".tfm"
                node.GetStorageNode().SetFileName(str(tmp_path / f"{node.GetID()}{suffix}"))
                assert node.GetStorageNode().WriteData(node)
        slicer.mrmlScene.Commit()

    return save


def section(widget, name: str):
    """The panel's section of this class name."""
    return next(s for s in widget.panel.sections if type(s).__name__ == name)


@pytest.fixture
def ui(widget):
    """All named widgets of all sections as attributes."""

    class Everything:
        def __getattr__(self, name):
            for part in widget.panel.sections:
                if hasattr(part.ui, name):
                    return getattr(part.ui, name)
            raise AttributeError(name)

    return Everything()
