"""``deepreg2d3d worker``: the engine's process, spoken to in JSON lines."""

from __future__ import annotations

from .worker.__main__ import add_arguments as add_arguments
from .worker.__main__ import run as run

DESCRIPTION = """\
Serves the engine over stdin and stdout, one JSON object a line, until stdin ends. 3D Slicer starts it by itself; other
programs may. The messages are described in DeepReg2D3DLib/worker/messages.py."""
EPILOG = """\
example:
  echo '{"v": 1, "type": "ping", "id": 1}' | deepreg2d3d worker"""
