"""Results on the disk: a pose and its report together, and never beside the files of an earlier run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from .engine.atomic import write_json, written_together
from .engine.json_file import read_json
from .engine.pose_file import save_pose
from .engine.report import FORMAT
from .evaluation.registration_report import FILE_NAME as PAGE
from .intrinsics_run import FILE as REFINED
from .registration_exports import DICOM, MOVED, RESAMPLED

REPORT = "report.json"
_FURTHER = (PAGE, "overview.png", "iterations.gif", "overlay_*_before.png", "overlay_*_after.png",
            REFINED, RESAMPLED, MOVED, DICOM)  # fmt: skip
"""What else a registration writes, which belongs to its pose."""


class ResultFiles:
    """pose.json, pose.tfm and report.json of one registration in ``out``.

    given: the files that are registered, which stay wherever they lie.
    """

    def __init__(self, out: Path, given: Sequence[Path]) -> None:
        self.out, self.given = out, given
        self._written = False

    def save(self, pose: Tensor, report: Mapping[str, Any]) -> None:
        """Write all three, or none; at first, what an earlier run left in the folder goes with its pose."""
        with written_together(self.out, last=REPORT) as folder:
            save_pose(pose, folder / "pose.json")
            save_pose(pose, folder / "pose.tfm")
            write_json(folder / REPORT, report)
            if not self._written and earlier_result(self.out / REPORT, FORMAT) is not None:
                remove_older(self.out, _FURTHER, self.given)
        self._written = True


def earlier_result(path: Path, kind: str) -> dict[str, Any] | None:
    """The content of this program's file of that format; None for any other, beside which nothing may be removed."""
    try:
        content = read_json(path)
        return content if content["format"] == kind else None
    except (ValueError, KeyError, TypeError):
        return None


def remove_older(folder: Path, patterns: Iterable[str], given: Iterable[Path]) -> None:
    """Remove files of these names, as far as that can be done; not those that are ``given`` to the run as inputs."""
    inputs = {path.resolve() for path in given}
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        if path.is_file() and path.resolve() not in inputs:
            with suppress(OSError):  # it is open in a viewer
                path.unlink()
