"""Which program runs the engine: a Python, whatever Slicer's own executable is called."""

from __future__ import annotations

import sys

import pytest
from DeepReg2D3DLib.worker.launch import python_program


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install(*names): an installation with these programs, of which the first is the running one."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(tmp_path / names[0]))
        monkeypatch.setattr(sys, "prefix", str(tmp_path / "lib" / "Python"))
        monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
        return tmp_path

    return make


def test_outside_slicer_it_is_this_python(install):
    folder = install("bin/python3.11")
    assert python_program() == str(folder / "bin/python3.11")


def test_in_slicer_it_is_pythonslicer(install, monkeypatch):
    folder = install("bin/SlicerApp-real", "bin/PythonSlicer", "lib/Python/bin/python3")
    assert python_program() == str(folder / "bin/PythonSlicer")
    monkeypatch.setenv("PATH", str(folder / "bin"))
    assert python_program() == str(folder / "bin/PythonSlicer")


def test_a_slicer_without_pythonslicer_never_starts_itself(install):
    folder = install("bin/SlicerApp-real", "lib/Python/bin/python-real")
    assert python_program() == str(folder / "lib/Python/bin/python-real")
