"""A region of the CT that Slicer chose, to be registered alone while the rest may move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..engine.errors import InputError
from ..engine.structure import Structure
from .arrays import ArrayFolder


def structure_of(fields: Mapping[str, Any], folder: ArrayFolder) -> Structure | None:
    """The structure in a ``set_region`` request: a box, or a label in a mapped array; None for the whole CT.

    Raises InputError.
    """
    name = fields.get("name", "region")
    if "box" in fields:
        box = fields["box"]
        centre, axes, size = (torch.tensor(box[key], dtype=torch.float64) for key in ("centre", "axes", "size_mm"))
        return Structure.box(centre, axes, size, name)
    if "labels" not in fields:
        return None
    if "ijk_to_ct" not in fields or "label" not in fields:
        raise InputError(f"Region '{name}': a label map needs its place and the label that is meant.")
    labels = torch.from_numpy(np.array(folder.open(fields["labels"]), dtype=np.int32))
    place = torch.tensor(fields["ijk_to_ct"], dtype=torch.float64)
    return Structure.of_label(labels, place, int(fields["label"]), name)
