"""House rules that no tool checks: what lies where, who imports whom, how long a file may be."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from DeepReg2D3DLib.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "DeepReg2D3D" / "DeepReg2D3DLib"
SOURCES = sorted(LIBRARY.rglob("*.py"))
# What each part may import beside itself and the plain modules at the top of the package.
MAY_IMPORT = {
    "engine": set(),
    "training": {"engine"},
    "evaluation": {"engine"},
    "worker": {"engine"},
    "mrml": {"engine", "worker"},
    "gui": {"engine", "worker", "mrml"},
}
LONGEST = 450
"""Lines of a file; about 400 is the aim."""


@cache
def imported(path: Path) -> set[str]:
    """Names of all modules that a file imports, anywhere in it, ours as 'DeepReg2D3DLib.part.module'."""
    package = path.relative_to(LIBRARY.parent).parent.parts
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{start}.{alias.name}" for alias in node.names}
    return names


def test_the_importer_sees_relative_imports():
    found = imported(LIBRARY / "evaluation" / "overlay.py")
    assert "DeepReg2D3DLib.engine.drr.DrrRenderer" in found
    assert "DeepReg2D3DLib.evaluation.edges.edge_opacity" in found


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_arrows_between_the_parts_run_one_way(part):
    allowed = MAY_IMPORT[part] | {part}
    for path in sorted((LIBRARY / part).rglob("*.py")):
        for name in imported(path):
            pieces = name.split(".")
            if pieces[0] == LIBRARY.name and len(pieces) > 1 and pieces[1] in MAY_IMPORT:
                assert pieces[1] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_engine_imports_neither_the_command_line_nor_slicer():
    for path in sorted((LIBRARY / "engine").rglob("*.py")):
        for name in imported(path):
            assert name.split(".")[0] not in {"slicer", "vtk", "qt", "ctk", "PySide6", "matplotlib", "scipy"}, path
            assert not name.startswith(f"{LIBRARY.name}.cli"), path


@pytest.mark.parametrize("toolkit, home", [("qt", "gui"), ("ctk", "gui"), ("slicer", "mrml"), ("vtk", "mrml")])
def test_toolkits_are_imported_in_their_own_part_only(toolkit, home):
    # i18n.py: Slicer's translation where there is Slicer, for the texts of the worker's client and of mrml.
    homes = {"qt": {"gui"}, "ctk": {"gui"}, "slicer": {"mrml", "gui", "i18n.py"}, "vtk": {"mrml", "gui"}}
    allowed = homes[toolkit]
    assert home in allowed
    for path in SOURCES:
        if toolkit in {name.split(".")[0] for name in imported(path)}:
            assert path.relative_to(LIBRARY).parts[0] in allowed, f"{path.relative_to(ROOT)} imports {toolkit}"


def test_slicer_finds_one_module_only():
    assert [path.name for path in (ROOT / "DeepReg2D3D").glob("*.py")] in ([], ["DeepReg2D3D.py"])


def test_no_source_file_is_too_long():
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_every_package_is_in_the_wheel():
    listed = set(re.findall(r'^    "(DeepReg2D3DLib[\w.]*)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    folders = {".".join(path.parent.relative_to(LIBRARY.parent).parts) for path in LIBRARY.rglob("__init__.py")}
    assert listed == folders | {"DeepReg2D3DLib.Resources.Models"}
    assert all((path.parent / "__init__.py").exists() for path in SOURCES)


def test_ci_runs_the_second_command_of_the_readme():
    blocks = re.findall(r"```bash\n(python3 -m venv[^\n]*)\n```", (ROOT / "README.md").read_text())
    assert len(blocks) == 2
    assert blocks[1] in (ROOT / ".ci" / "run").read_text().splitlines()
    assert "deepreg2d3d demo" in blocks[0] and "pytest" in blocks[1]


def test_readme_lists_every_command():
    """A command without a row in the README's table is one that nobody finds."""
    [table] = re.findall(r"^\| command \|.*\n((?:\|.*\n)+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == set(COMMANDS)


def test_tracked_text_has_unix_line_ends():
    try:
        listed = subprocess.run(["git", "ls-files", "--eol"], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("git is not on this machine")
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    assert [line for line in listed.stdout.splitlines() if "i/crlf" in line or "i/mixed" in line] == []
