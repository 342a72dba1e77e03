"""What the commands that run the published protocol share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .exit_status import DONE, INTERRUPTED
from .progress import Progress, collected_warnings


def run_protocol(out: Path, work: Callable[[Progress], object]) -> int:
    """Do ``work``, which leaves table.md in ``out``, and print that table; returns the exit status."""
    with Progress() as progress:
        try:
            with collected_warnings(progress):
                work(progress)
        except KeyboardInterrupt:
            progress.note(f"interrupted; the rows so far are in {out}, and the same command goes on.")
            return INTERRUPTED
    print((out / "table.md").read_text(encoding="utf-8"))
    return DONE
