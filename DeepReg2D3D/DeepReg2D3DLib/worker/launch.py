"""The commands that start the worker, or another command of the program, with the Python this runs in."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

# Not "-m": Slicer's launcher sets PYTHONPATH itself, so the package's place is given as an argument.
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from DeepReg2D3DLib.worker.__main__ import main; main()"

_START_LIBRARY = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from DeepReg2D3DLib.cli import main; sys.exit(main())"
)
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from DeepReg2D3DLib.worker.program_main import main; main()"
)


def python_program() -> str:
    """PythonSlicer inside Slicer, where sys.executable may be the application; this Python outside.

    A build of Slicer without PythonSlicer has a Python in its prefix; the application in its place would open another
    window.
    """
    beside, prefix = Path(sys.executable).parent, Path(sys.prefix)
    found = shutil.which("PythonSlicer") or shutil.which("PythonSlicer", path=str(beside))
    if found or "python" in Path(sys.executable).name.lower():
        return found or sys.executable
    folders = os.pathsep.join(str(folder) for folder in (prefix / "bin", prefix, beside))
    names = (f"python{sys.version_info.major}.{sys.version_info.minor}", "python3", "python-real", "python")
    return next((path for path in (shutil.which(name, path=folders) for name in names) if path), sys.executable)


def library_command(arguments: list[str]) -> list[str]:
    """Program and arguments of this copy's command line, for what runs beside the worker."""
    return [python_program(), "-u", "-c", _START_LIBRARY, _package(), *arguments]


def worker_command() -> list[str]:
    """Program and arguments of a worker from this copy of the package."""
    return [python_program(), "-u", "-c", _START, _package()]


def program_command(arguments: Sequence[str]) -> list[str]:
    """As ``library_command``, for a command that is interrupted where its stdin ends: see ``program_main``."""
    return [python_program(), "-u", "-c", _PROGRAM, _package(), *arguments]


def _package() -> str:
    return str(Path(__file__).resolve().parents[2])
