"""Source distribution and wheel: complete, built one from the other without network, and working where installed.

``Testing/packaging/check_install.py`` does what takes minutes: a wheelhouse, an empty environment, the demo.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (".ci", ".packaging", "DeepReg2D3D", "Resources", "Testing")
FILES = ("CMakeLists.txt", "LICENSE.txt", "README.md", "pyproject.toml", "requirements.txt")
LARGEST_WHEEL = 60e6


def _setuptools() -> int:
    try:
        return int(version("setuptools").split(".")[0])
    except PackageNotFoundError:
        return 0


# pip would fetch setuptools for each build; here it must be installed already.
pytestmark = pytest.mark.skipif(
    _setuptools() < 77 or importlib.util.find_spec("pip") is None,
    reason="building and installing need pip, and setuptools 77 or later, in this environment",
)


def build(tree: Path, kind: str, folder: Path) -> Path:
    """Run a build hook ("sdist" or "wheel") as pip does, in a tree, and return what it made."""
    code = (
        "import sys; sys.path.insert(0, '.packaging'); import build_backend;"
        f"print(build_backend.build_{kind}({str(folder)!r}))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder / run.stdout.split()[-1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the sources, because a build leaves files behind."""
    tree = tmp_path_factory.mktemp("checkout")
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info", ".hypothesis", ".pytest_cache")
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, ignore=leave)
    for name in FILES:
        shutil.copy(ROOT / name, tree / name)
    return tree


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    made = build(checkout, "sdist", folder)
    with tarfile.open(made) as archive:
        archive.extractall(folder, filter="data")
    return folder / made.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory) -> Path:
    """The wheel, built from the source distribution."""
    return build(sdist, "wheel", tmp_path_factory.mktemp("wheel"))


def files_of(tree: Path) -> set[str]:
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}


def test_source_distribution_is_the_whole_checkout(sdist: Path) -> None:
    wanted = {f"{name}/{path}" for name in SOURCES for path in files_of(ROOT / name)} | set(FILES)
    wanted = {path for path in wanted if not re.search(r"__pycache__|\.egg-info|\.hypothesis|\.pytest_cache", path)}
    found = files_of(sdist)
    assert wanted - found == set()
    made = {path for path in found - wanted if ".egg-info/" not in path}
    assert made <= {"PKG-INFO", "setup.cfg"}


def test_wheel_holds_the_library_its_weights_and_nothing_else(wheel: Path) -> None:
    library, models = ROOT / "DeepReg2D3D/DeepReg2D3DLib", ROOT / "Resources/Models"
    wanted = {f"DeepReg2D3DLib/{path.relative_to(library).as_posix()}" for path in library.rglob("*.py")}
    wanted |= {f"DeepReg2D3DLib/Resources/Models/{path}" for path in files_of(models)}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == wanted
    assert wheel.stat().st_size < LARGEST_WHEEL
    assert wheel.name.endswith("-py3-none-any.whl")


def test_wheel_tells_what_it_needs_and_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        told = Parser().parsestr(archive.read(name).decode())
        assert any(name.endswith("licenses/LICENSE.txt") for name in archive.namelist())
    needed = {line.replace(" ", "") for line in told.get_all("Requires-Dist") if "extra ==" not in line}
    wanted = {line for line in (ROOT / "requirements.txt").read_text().splitlines() if line}
    assert {_sorted_specifiers(line) for line in needed} == {_sorted_specifiers(line) for line in wanted}
    assert told["License-Expression"] == "Apache-2.0"
    assert told.get_payload().startswith("# DeepReg2D3D")


def _sorted_specifiers(requirement: str) -> tuple[str, ...]:
    name = re.match(r"[A-Za-z0-9_.-]+", requirement).group(0)
    return (name.lower(), *sorted(requirement[len(name) :].split(",")))


def test_installed_wheel_runs_on_its_own_weights(wheel: Path, tmp_path: Path) -> None:
    """In a new environment that sees this one's dependencies, and not this checkout."""
    venv.create(tmp_path / "venv", with_pip=False)
    scripts = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / ("python.exe" if sys.platform == "win32" else "python")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    run = subprocess.run(install, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    code = (
        "import DeepReg2D3DLib; from DeepReg2D3DLib.engine.weights import load_network, read_manifest;"
        "[load_network(name) for name in read_manifest()]; print(DeepReg2D3DLib.__file__)"
    )
    run = subprocess.run([str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()).is_relative_to(site)
    run = subprocess.run([str(scripts / "deepreg2d3d"), "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert re.fullmatch(r"deepreg2d3d \d+\.\d+\.\d+\n", run.stdout), run.stderr
