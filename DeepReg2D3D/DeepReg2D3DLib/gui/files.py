"""File dialogs, the same under PythonQt (which returns the path) and PySide6 (path and filter)."""

from __future__ import annotations

import qt
import slicer


def _first(answer):
    return answer if isinstance(answer, (str, list)) else answer[0]


def open_file(title: str, filters: str) -> str:
    """A file to read; empty when the user thought better of it."""
    return _first(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", filters)) or ""


def open_files(title: str, filters: str) -> list[str]:
    """Files to read."""
    answer = qt.QFileDialog.getOpenFileNames(slicer.util.mainWindow(), title, "", filters)
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], str) and not isinstance(answer[0], str):
        answer = answer[0]
    return [str(path) for path in answer or ()]


def save_file(title: str, name: str, filters: str) -> str:
    """A file to write; empty when the user thought better of it."""
    return _first(qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name, filters)) or ""


def choose_folder(title: str, start: str = "") -> str:
    """A folder; empty when the user thought better of it."""
    return qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, start) or ""
