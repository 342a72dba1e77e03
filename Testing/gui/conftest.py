"""The panel in the stand-in Slicer application. Skips where slicer-core or PySide6 cannot be had."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing" / "host"))

import slicer_host  # noqa: E402
from sample_panel import EveryWidget, click_on, opened  # noqa: E402

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
def own_modules():
    """A reload takes the library's modules anew; the other tests go on with theirs."""

    def library():
        return {name: module for name, module in sys.modules.items() if name.split(".")[0].startswith("DeepReg2D3D")}

    before = library()
    yield
    for name in library():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def widget(host):
    """See ``opened``; one a test."""
    with opened(host) as made:
        yield made


@pytest.fixture
def click(host):
    """click(button): a left click with the mouse in the widget's middle."""
    return lambda button: click_on(host, button)


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


class Temporary:
    """The folder of temporary files, of which the test sees what is left, and whose disk can be full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def left(self) -> list[Path]:
        return list(self.folder.iterdir())

    @contextmanager
    def gone(self):
        """Nothing can be made in it."""
        self.folder.rmdir()
        yield
        self.folder.mkdir()

    @contextmanager
    def full(self):
        """No file becomes larger than 2 kB."""
        resource = pytest.importorskip("resource")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Temporary:
    """See ``Temporary``."""
    made = Temporary(tmp_path / "temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(made.folder))
    return made


def section(widget, name: str):
    """The panel's section of this class name."""
    return next(s for s in widget.panel.sections if type(s).__name__ == name)


@pytest.fixture
def ui(widget):
    """All named widgets of all sections as attributes."""
    return EveryWidget(widget)
