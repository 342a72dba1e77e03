"""Requirements: what is met, what is missing, and the one question before anything is installed."""

from __future__ import annotations

import importlib.metadata
import sys
import types

import pytest


@pytest.fixture
def install(host):
    from DeepReg2D3DLib.gui import install

    return install


def test_requirement_lines(install, tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("torch>=2.8,<2.14\n# a comment\n\nnumpy  # why\n")
    assert install.requirements(path) == ["torch>=2.8,<2.14", "numpy"]


def test_missing_and_too_old_are_missing(install, monkeypatch):
    versions = {"torch": "2.7.0", "numpy": "2.0.0"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert install.missing(["torch>=2.8,<2.14", "numpy", "pydicom"]) == ["torch>=2.8,<2.14", "pydicom"]


def test_torch_is_asked_for_by_its_record_alone(install):
    # A fresh process: asking must not import torch.
    import subprocess

    code = (
        "import sys, types; s = types.ModuleType('slicer'); i = types.ModuleType('slicer.i18n'); i.tr = str;"
        "sys.modules.update({'slicer': s, 'slicer.i18n': i});"
        "import importlib.util as u; spec = u.spec_from_file_location('install', sys.argv[1]);"
        "m = u.module_from_spec(spec); spec.loader.exec_module(m); m.missing(['torch>=2', 'numpy']);"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, install.__file__], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_without_the_extension_nothing_is_installed(install, monkeypatch):
    monkeypatch.setattr(install, "missing", lambda lines: ["torch>=2.8"])
    asked = []
    text = install.install(["torch>=2.8"], confirm=lambda question: asked.append(question) or True)
    assert "PyTorch" in text and "Extensions Manager" in text and not asked


def test_goes_through_the_extension_after_one_question(install, monkeypatch):
    import slicer

    calls, answers = [], iter([["torch>=2.8,<2.14", "pydicom"], []])

    class Logic:
        def installTorch(self, **options):
            calls.append(("torch", options))

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=Logic))
    monkeypatch.setattr(slicer.modules, "pytorchutils", object(), raising=False)
    monkeypatch.setattr(slicer.util, "pip_install", lambda packages: calls.append(("pip", packages)))
    monkeypatch.setattr(install, "missing", lambda lines: next(answers))
    asked = []
    text = install.install(["torch>=2.8,<2.14", "pydicom"], confirm=lambda q: asked.append(q) or True)
    assert text == ""
    assert len(asked) == 1 and "torch>=2.8,<2.14" in asked[0] and "pydicom" in asked[0]
    assert calls == [
        ("torch", {"askConfirmation": False, "torchVersionRequirement": ">=2.8,<2.14"}),
        ("pip", ["pydicom"]),
    ]


def test_a_no_installs_nothing(install, monkeypatch):
    import slicer

    monkeypatch.setattr(install, "missing", lambda lines: ["pydicom"])
    monkeypatch.setattr(slicer.util, "pip_install", lambda packages: pytest.fail("installed without consent"))
    assert "not installed" in install.install(["pydicom"], confirm=lambda question: False)


def test_a_failed_installation_is_said_without_a_dialog(install, monkeypatch):
    import slicer

    def fail(packages):
        raise RuntimeError("no network")

    monkeypatch.setattr(install, "missing", lambda lines: ["pydicom"])
    monkeypatch.setattr(slicer.util, "pip_install", fail)
    assert "could not be installed: pydicom" in install.install(["pydicom"], confirm=lambda question: True)


def test_an_old_python_is_said_and_nothing_is_offered(install, widget, ui, monkeypatch):
    monkeypatch.setattr(install, "PYTHON", (99, 0))
    widget.logic.requirementsChanged()
    widget.panel.update()
    assert "Python" in ui.engineStateLabel.text and "Slicer" in ui.engineStateLabel.text
    assert not ui.engineInstallButton.isVisible() and not ui.loadSampleButton.isEnabled()
