"""Poses in files: pose.json, and ITK transform text files as Slicer reads and writes them."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from .atomic import write_json, write_text
from .errors import InputError
from .itk_transform import format_itk_transform, parse_itk_transform
from .json_file import read_record
from .poses import check_rigid, invert_pose

FORMAT = "deepreg2d3d-pose"
ITK_SUFFIXES = (".tfm", ".txt")
# A text file with six digits is this far from orthonormal; more than that is worth a word.
_EXACT = 1e-5


def load_pose(path: str | Path) -> Tensor:
    """ct_to_world, (4, 4) float64 rigid, in LPS mm, from pose.json or an ITK transform (.tfm, .txt).

    An ITK file holds the inverse, world to CT, as Slicer and ITK write it. Rotations within 1e-3 are made orthonormal
    with a Python warning. Raises InputError for what is not one rigid motion.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        record = read_record(path, FORMAT)
        return rigid_from_file(record.numbers("ct_to_world", (4, 4)), f"{path}: ct_to_world")
    if suffix in ITK_SUFFIXES:
        return invert_pose(rigid_from_file(parse_itk_transform(path), str(path)))
    hint = "" if path.exists() or suffix else " There is no such file; 'auto' and 'centre' are written so."
    raise InputError(f"{path}: a pose is read from .json, .tfm or .txt files, not from '{suffix or path.name}'.{hint}")


def save_pose(pose: Tensor, path: str | Path) -> None:
    """Write ct_to_world (4, 4), LPS mm, as pose.json or, by the suffix .tfm or .txt, as an ITK transform.

    The ITK file holds the inverse, so that loading it in Slicer and putting the CT under it shows the pose.
    """
    path = Path(path)
    pose = check_rigid(pose.detach().cpu(), f"{path}: ct_to_world")
    suffix = path.suffix.lower()
    if suffix == ".json":
        content = {"format": FORMAT, "version": 1, "coordinate_system": "LPS", "ct_to_world": pose.tolist()}
        write_json(path, content)
    elif suffix in ITK_SUFFIXES:
        write_text(path, format_itk_transform(invert_pose(pose)))
    else:
        raise InputError(f"{path}: a pose is written to .json, .tfm or .txt files, not to '{suffix or path.name}'.")


def rigid_from_file(matrix: Tensor, what: str) -> Tensor:
    """``check_rigid`` with a Python warning where the rotation had to be corrected visibly."""
    rigid = check_rigid(matrix, what)
    change = (rigid[:3, :3] - matrix[:3, :3].to(torch.float64)).abs().max().item()
    if change > _EXACT:
        warnings.warn(f"{what}: the rotation was not orthonormal and was corrected by {change:.1e}.", stacklevel=3)
    return rigid
