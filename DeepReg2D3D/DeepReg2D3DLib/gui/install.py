"""Whether the engine's requirements are installed, and their installation the way Slicer wants it.

PyTorch comes through the PyTorch extension, which knows what fits the machine; the rest through Slicer's pip. torch is
never imported here: asking for its version must not load it into Slicer's process.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _

PYTHON = (3, 10)
PARTS = ("importlib.metadata", "packaging.requirements")
"""What `missing` imports: no small things, so a caller who must not wait long can `prepare` them one by one."""
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def prepare(part: str) -> None:
    """Imports one of `PARTS`, where it exists."""
    try:
        importlib.import_module(part)
    except ImportError:
        pass


def requirements(path: str | Path) -> list[str]:
    """The requirement lines of requirements.txt."""
    lines = Path(path).read_text(encoding="utf8").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def python_is_new_enough() -> bool:
    """Whether the engine can run in this Python (that of Slicer 5.8 may be older)."""
    return sys.version_info >= PYTHON


def missing(lines: list[str]) -> list[str]:
    """Those requirements that aren't met by what is installed."""
    if not python_is_new_enough():
        return ["Python>=" + ".".join(map(str, PYTHON))]
    return [line for line in lines if not _is_met(line)]


def _is_met(line: str) -> bool:
    from importlib import metadata  # not at the top: see `PARTS`

    name = _NAME.match(line).group(0)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        # Slicer builds some packages itself, without the record that pip leaves.
        return name.lower() == "simpleitk" and importlib.util.find_spec("SimpleITK") is not None
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return True
    return Requirement(line).specifier.contains(version, prereleases=True)


def torch_requirement(lines: list[str]) -> str:
    """The version range of torch, such as ">=2.8,<2.14"."""
    line = next(line for line in lines if _NAME.match(line).group(0).lower() == "torch")
    return line[len("torch") :]


def has_torch_extension() -> bool:
    """Whether Slicer's PyTorch extension is installed."""
    return hasattr(slicer.modules, "pytorchutils")


def install(lines: list[str], confirm=None) -> str:
    """Asks, then installs what is missing.

    Args:
        lines: the requirements.
        confirm: f(text) -> bool; Slicer's OK/Cancel question by default.

    Returns:
        Empty when everything is there now, else one sentence that says what to do.
    """
    needed = missing(lines)
    if not needed:
        return ""
    needs_torch = [line for line in needed if _NAME.match(line).group(0).lower() == "torch"]
    others = [line for line in needed if line not in needs_torch]
    if needs_torch and not has_torch_extension():
        return _(
            "PyTorch is missing. Install the extension 'PyTorch' in Slicer's Extensions Manager, restart Slicer, and "
            "press Install again."
        )
    question = _(
        "The registration engine needs these Python packages:\n\n{packages}\n\nThey are downloaded from the internet "
        "into Slicer (PyTorch can be large). Install them now?"
    ).format(packages="\n".join(needed))
    ask = confirm or slicer.util.confirmOkCancelDisplay
    if not ask(question):
        return _("The engine was not installed.")
    try:
        with slicer.util.WaitCursor():
            if needs_torch:
                import PyTorchUtils

                # The question was asked above, once for everything.
                PyTorchUtils.PyTorchUtilsLogic().installTorch(
                    askConfirmation=False, torchVersionRequirement=torch_requirement(lines)
                )
            if others:
                slicer.util.pip_install(others)
    except Exception:  # pip's and the network's: what is missing afterwards tells
        logging.exception("The installation of the registration engine failed")
    importlib.invalidate_caches()
    left = missing(lines)
    if left:
        return _("These packages could not be installed: {packages}. See the Python console for the reason.").format(
            packages=", ".join(left)
        )
    return ""
