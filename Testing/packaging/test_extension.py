"""The extension's CMake files, against a stand-in for Slicer's macros: what ends up in the package, and does it run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = "lib/Slicer-5.12/qt-scripted-modules"

pytestmark = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("make") is None, reason="packaging needs cmake and make"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The unpacked extension package."""
    folder = tmp_path_factory.mktemp("extension")
    build = folder / "build"
    standin = Path(__file__).parent / "slicer_standin"
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), f"-DSlicer_DIR={standin}", "-G", "Unix Makefiles"]
    subprocess.run(configure, check=True, capture_output=True, text=True)
    subprocess.run(["cmake", "--build", str(build), "--target", "package"], check=True, capture_output=True)
    with tarfile.open(next(build.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    return next((folder / "unpacked").glob(f"*/{MODULES}"))


def test_every_python_file_is_packaged(package: Path) -> None:
    source = ROOT / "DeepReg2D3D"
    wanted = {path.relative_to(source) for path in source.rglob("*.py")}
    found = {path.relative_to(package) for path in package.rglob("*.py")}
    assert wanted == found


def test_module_folder_holds_one_python_file(package: Path) -> None:
    # Slicer takes every .py beside the module for a module.
    assert [path.name for path in package.glob("*.py")] == ["DeepReg2D3D.py"]
    assert not (package / "__init__.py").exists()


def test_resources_are_packaged(package: Path) -> None:
    for folder in ("Icons", "UI", "Models"):
        wanted = {p.relative_to(ROOT / "Resources") for p in (ROOT / "Resources" / folder).rglob("*") if p.is_file()}
        found = {
            p.relative_to(package / "Resources") for p in (package / "Resources" / folder).rglob("*") if p.is_file()
        }
        assert wanted <= found
    assert (package / "Resources/requirements.txt").read_text() == (ROOT / "requirements.txt").read_text()


def test_packaged_library_finds_its_resources(package: Path) -> None:
    code = "from DeepReg2D3DLib.resources import models_dir; print(models_dir())"
    run = subprocess.run([sys.executable, "-c", code], cwd=package, capture_output=True, text=True, check=True)
    assert Path(run.stdout.strip()) == package / "Resources/Models"


def test_index_rules() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    assert "project(DeepReg2D3D)" in text
    for name in ("EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"):
        assert re.search(rf'^set\({name} "https://[^"\n]+"\)$', text, re.MULTILINE), name
    assert 'EXTENSION_DEPENDS "PyTorch"' in text
    assert "EXTENSION_CATEGORY" not in text
    for path in [ROOT / "CMakeLists.txt", *ROOT.glob("Resources/UI/*.ui"), *ROOT.glob("DeepReg2D3D/**/*.py")]:
        assert b"\r" not in path.read_bytes(), path
