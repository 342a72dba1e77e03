"""poses.jsonl: where each registration of an evaluation began and ended, a JSON line each, beside starts.csv."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..engine.atomic import cut_torn_line
from .trials import Outcome, Trial

FILE_NAME = "poses.jsonl"
Key = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class LoggedPoses:
    """ct_to_world (4, 4) float64 before and after a registration; after is None where it failed."""

    before: Tensor
    after: Tensor | None


def mend_log(folder: Path) -> None:
    """Take out what an interruption left of a line, or the next one would be joined to it; before anything is added."""
    cut_torn_line(folder / FILE_NAME)


def append_poses(folder: Path, trial: Trial, outcome: Outcome) -> None:
    """Add a line, and wait until it is on the disk."""
    line = json.dumps({"key": list(trial.key), "before": trial.pose, "after": outcome.pose})
    with (folder / FILE_NAME).open("a", encoding="utf-8", newline="") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_poses(folder: Path) -> dict[Key, LoggedPoses]:
    """All poses by ``Record.key``; a line that an interruption cut short is passed over."""
    path = folder / FILE_NAME
    found: dict[Key, LoggedPoses] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
            after = None if entry["after"] is None else torch.tensor(entry["after"], dtype=torch.float64)
            found[tuple(entry["key"])] = LoggedPoses(torch.tensor(entry["before"], dtype=torch.float64), after)
        except (ValueError, KeyError, TypeError):
            continue
    return found
