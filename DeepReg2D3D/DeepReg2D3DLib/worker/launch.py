"""The command that starts the worker with the Python this runs in."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

# Not "-m": Slicer's launcher sets PYTHONPATH itself, so the package's place is given as an argument.
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from DeepReg2D3DLib.worker.__main__ import main; main()"


def python_program() -> str:
    """PythonSlicer inside Slicer, where sys.executable may be the application; this Python outside."""
    return shutil.which("PythonSlicer") or sys.executable


_START_LIBRARY = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from DeepReg2D3DLib.cli import main; sys.exit(main())"
)


def library_command(arguments: list[str]) -> list[str]:
    """Program and arguments of this copy's command line, for what runs beside the worker."""
    package = Path(__file__).resolve().parents[2]
    return [python_program(), "-u", "-c", _START_LIBRARY, str(package), *arguments]


def worker_command() -> list[str]:
    """Program and arguments of a worker from this copy of the package."""
    package = Path(__file__).resolve().parents[2]
    return [python_program(), "-u", "-c", _START, str(package)]
