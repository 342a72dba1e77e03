"""The extension's CMake files, against a stand-in for Slicer's macros: what ends up in the package, and does it run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = "lib/Slicer-5.12/qt-scripted-modules"
LARGEST_PACKAGE = 60e6
"""Bytes: what a user of Slicer downloads."""

pytestmark = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("make") is None, reason="packaging needs cmake and make"
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The extension package, as Slicer's build would make it."""
    build = tmp_path_factory.mktemp("extension")
    standin = Path(__file__).parent / "slicer_standin"
    # -Werror=dev: a CMake warning is a mistake here.
    options = [f"-DSlicer_DIR={standin}", "-DBUILD_TESTING=ON", "-G", "Unix Makefiles", "-Werror=dev"]
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(build), *options],
        ["cmake", "--build", str(build), "--target", "package"],
    ):
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    return build / "DeepReg2D3D.tar.gz"


@pytest.fixture(scope="module")
def package(archive: Path, tmp_path_factory) -> Path:
    """The unpacked package's folder of modules."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / "DeepReg2D3D" / MODULES


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_package_is_small_enough(archive: Path) -> None:
    assert 1e5 < archive.stat().st_size < LARGEST_PACKAGE


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
        wanted, found = contents(ROOT / "Resources" / folder), contents(package / "Resources" / folder)
        assert wanted and found == wanted
    for name in ("requirements.txt", "LICENSE.txt"):
        assert (package / "Resources" / name).read_text() == (ROOT / name).read_text()


def test_nothing_else_is_packaged(package: Path) -> None:
    assert {path.name for path in package.iterdir()} == {"DeepReg2D3D.py", "DeepReg2D3DLib", "Resources"}
    found = {path.name for path in (package / "Resources").iterdir()}
    assert found == {"Icons", "UI", "Models", "requirements.txt", "LICENSE.txt"}


def test_packaged_library_reads_the_packaged_weights(package: Path) -> None:
    code = (
        "from DeepReg2D3DLib.engine.weights import load_network, read_manifest;"
        "from DeepReg2D3DLib.resources import models_dir;"
        "[load_network(name) for name in read_manifest()];"
        "print(models_dir())"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=package, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()) == package / "Resources/Models"
