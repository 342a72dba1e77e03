"""case.json: one folder, one test case (CT, views, the true pose, targets and the starts to try)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from .atomic import write_json
from .errors import InputError
from .json_file import Record, inside, read_record
from .pose_file import load_pose, rigid_from_file, save_pose
from .poses import FARTHEST_MM

FORMAT = "deepreg2d3d-case"
FILE_NAME = "case.json"


@dataclass(frozen=True)
class Case:
    """A test case.

    ct, geometry: paths of the CT and of geometry.json.
    ground_truth: ct_to_world (4, 4) float64, or None where it is not known.
    targets: CT points (N, 3) float64, LPS mm, on which mTRE and mRPD are averaged, or None.
    starts: (id, ct_to_world (4, 4)) of every start to try.
    """

    name: str
    ct: Path
    geometry: Path
    ground_truth: Tensor | None = None
    targets: Tensor | None = None
    starts: list[tuple[str, Tensor]] = field(default_factory=list)


def load_case(folder: str | Path) -> Case:
    """The case in ``folder`` (or in the case.json given instead). Raises InputError naming the file and the key."""
    path = Path(folder)
    if path.suffix != ".json":
        path = path / FILE_NAME
    record = read_record(path, FORMAT)
    record.refuse_misspelt(("name", "ct", "geometry", "ground_truth", "targets", "starts"))
    truth = record.file("ground_truth", None)
    targets = record.numbers("targets", (None, 3)) if "targets" in record else None
    if targets is not None and len(targets) and bool((targets.abs() > FARTHEST_MM).any()):
        raise record.error("a target lies farther than 100 m from the CT's origin; lengths are in mm", "targets")
    if targets is not None and len(targets) == 0:
        targets = None
    starts = [_start(item, index) for index, item in enumerate(record.records("starts", []))]
    names = [name for name, _ in starts]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise record.error(f"the id '{twice}' is there twice; ids must differ", "starts")
    return Case(
        name=record.text("name", path.absolute().parent.name),
        ct=record.file("ct"),
        geometry=record.file("geometry"),
        ground_truth=None if truth is None else load_pose(truth),
        targets=targets,
        starts=starts,
    )


def save_case(case: Case, folder: str | Path) -> None:
    """Write case.json, and pose.json for the ground truth, into ``folder``.

    The CT and the geometry are not copied: they must lie in ``folder`` (or will, under the relative paths given).
    """
    folder = Path(folder)
    content = {
        "format": FORMAT,
        "version": 1,
        "name": case.name,
        "ct": _relative(case.ct, folder),
        "geometry": _relative(case.geometry, folder),
    }
    if case.ground_truth is not None:
        save_pose(case.ground_truth, folder / "pose.json")
        content["ground_truth"] = "pose.json"
    if case.targets is not None:
        content["targets"] = case.targets.tolist()
    content["starts"] = [{"id": name, "ct_to_world": pose.tolist()} for name, pose in case.starts]
    write_json(folder / FILE_NAME, content)


def find_cases(folder: str | Path) -> list[Path]:
    """The case folders at ``folder``: itself when it holds a case.json, else its sub-folders that do, sorted."""
    folder = Path(folder)
    if (folder / FILE_NAME).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{FILE_NAME}"))
    if not found:
        raise InputError(f"{folder}: there is no {FILE_NAME} in it or in its sub-folders.")
    return found


def _start(record: Record, index: int) -> tuple[str, Tensor]:
    name = record.text("id", f"{index:03d}")
    pose = record.numbers("ct_to_world", (4, 4))
    return name, rigid_from_file(pose, f"{record.path}: {record.place}.ct_to_world")


def _relative(file: Path, folder: Path) -> str:
    try:
        name = os.path.relpath(file, folder) if file.is_absolute() or folder in file.parents else str(file)
        return str(inside(name))
    except ValueError as error:
        raise InputError(f"{folder}: {file} does not lie in this folder; copy it there.") from error
