"""Command lines run in this process, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from DeepReg2D3DLib import cli


def refusal(capsys, *arguments: object) -> str:
    """The message of a command line that must be refused: exit status 2, one line of complaint at the end of stderr."""
    capsys.readouterr()
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert status == 2, f"exit status {status}\n{captured.err}"
    assert captured.out == ""
    assert "Traceback" not in captured.err
    lines = captured.err.strip().split("\n")
    assert lines[-1].startswith("deepreg2d3d")
    return lines[-1]


def changed_json(source: Path, target: Path, change: Callable[[Any], Any]) -> Path:
    """A copy of a JSON file in another place after ``change``, which alters its content or returns another."""
    content = json.loads(source.read_text())
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(change(content) or content))
    return target
