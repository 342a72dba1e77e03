"""A small stand-in for the 3D Slicer application, for tests of the module's widget without Slicer.

It puts PySide6 behind the names that Slicer's scripted modules import (`qt`, `ctk`, `slicer.app`, `slicer.modules`,
the qMRML widgets) on top of the real MRML library of slicer-core. Where the environment variable SLICER_SOURCE names
a checkout of Slicer's source, Slicer's own `ScriptedLoadableModule`, `parameterNodeWrapper` and `i18n` are used; else
the minimal ones of `scripted.py` and `parameter_node.py`.

    from slicer_host import start
    host = start()                        # once a process
    widget = host.load_module("DeepReg2D3D/DeepReg2D3D.py")
    host.process_events(0.1)

As in PythonQt, Qt properties of widgets are attributes here (`button.text`, not `button.text()`), so that code which
would only run on PySide6 fails.
"""

from __future__ import annotations


def start():
    """Starts the application once a process, returns it (`application.Host`)."""
    from . import application

    return application.start()


def missing() -> str | None:
    """Why the host cannot run here, in words; None when it can."""
    import importlib.util

    for module, package in (("PySide6", "PySide6-Essentials"), ("slicer_core", "slicer-core==5.12.*")):
        if importlib.util.find_spec(module) is None:
            return f"the stand-in host needs {package} (pip install -e '.[slicer,test]')"
    try:
        from PySide6 import QtUiTools, QtWidgets  # noqa: F401
    except ImportError as problem:  # a missing system library such as libEGL
        return f"PySide6 does not load here: {problem}"
    import sys

    import PySide6

    if sys.version_info < (3, 12) and tuple(map(int, PySide6.__version__.split(".")[:2])) >= (6, 12):
        # Each call that returns None loses a reference to it there, until Python aborts.
        return "PySide6 6.12 miscounts references on Python before 3.12: pip install 'PySide6-Essentials<6.12'"
    return None
