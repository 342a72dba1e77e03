"""Regions of interest in files: label maps and segmentations, boxes in JSON, and ROI markups of 3D Slicer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch
from torch import Tensor

from .errors import InputError
from .image_files import CT_FORMATS, opened_image, quiet_itk
from .json_file import Record, read_json, read_record
from .structure import Structure

FORMAT = "deepreg2d3d-roi"
_LPS_OF = {"LPS": (1.0, 1.0, 1.0), "0": (-1.0, -1.0, 1.0), "RAS": (-1.0, -1.0, 1.0), "1": (1.0, 1.0, 1.0)}
_MOST_LABELS = 12


def load_structure(path: str | Path, label: int | str | None = None) -> Structure:
    """The structure that a file describes, in the CT's frame (LPS mm).

    A label map or segmentation (NRRD, .seg.nrrd, NIfTI, MHA) whose voxels lie where those of the CT do; ``label`` says
    which one: a number, or the name of a segment of 3D Slicer; it may be left out where there is only one. A box:
    ``{"format": "deepreg2d3d-roi", "version": 1, "coordinate_system": "LPS", "low_mm": [x, y, z], "high_mm":
    [x, y, z]}``, or an ROI markup of 3D Slicer (.mrk.json). Raises InputError.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: this file does not exist.")
    if path.suffix.lower() == ".json":
        if label is not None:
            raise InputError(f"{path}: is a box, which has no labels; leave the label out.")
        content = read_json(path)
        if isinstance(content, dict) and "markups" in content:
            return _markup(Record(content, path))
        return _box(read_record(path, FORMAT))
    return _labelled(path, label)


def _box(record: Record) -> Structure:
    record.refuse_misspelt(("low_mm", "high_mm", "name", "coordinate_system"))
    low, high = record.numbers("low_mm", (3,)), record.numbers("high_mm", (3,))
    if not bool((high > low).all()):
        raise record.error(f"must be above low_mm along every axis, found {high.tolist()}", "high_mm")
    axes = torch.eye(3, dtype=torch.float64)
    return Structure.box(0.5 * (low + high), axes, high - low, record.text("name", "box"))


def _markup(record: Record) -> Structure:
    rois = [markup for markup in record.records("markups") if markup.get("type", "") == "ROI"]
    if len(rois) != 1:
        raise record.error(f"expected one ROI markup, found {len(rois)}; save the ROI alone", "markups")
    roi = rois[0]
    signs = torch.tensor(_LPS_OF[roi.choice("coordinateSystem", tuple(_LPS_OF), "LPS")], dtype=torch.float64)
    if roi.get("insideOut", False) is True:
        raise roi.error("the ROI is inside out; turn that off", "insideOut")
    axes = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    if "orientation" in roi:
        axes = roi.numbers("orientation", (9,)).reshape(3, 3)
    try:
        return Structure.box(
            signs * roi.numbers("center", (3,)), signs[:, None] * axes, roi.numbers("size", (3,)), "ROI"
        )
    except InputError as error:
        raise error if str(error).startswith(str(record.path)) else InputError(f"{record.path}: {error}") from error


def _labelled(path: Path, label: int | str | None) -> Structure:
    reader = opened_image(path, CT_FORMATS)
    try:
        with quiet_itk():
            image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"{path}: is not a region of interest that can be read: a label map (NRRD, .seg.nrrd, NIfTI, MHA), a box "
            "in JSON, or an ROI markup (.mrk.json)."
        ) from error
    segments = _segments(reader)
    layers = _layers(image, path)
    matrix = _ijk_to_ct(image)
    if segments:
        layer, value, name = _chosen_segment(segments, label, path)
        if layer >= len(layers):
            raise InputError(f"{path}: segment '{name}' lies in layer {layer}, and there are {len(layers)}.")
        return Structure.of_label(layers[layer], matrix, value, name)
    if len(layers) > 1:
        raise InputError(f"{path}: has {len(layers)} values a voxel; a label map has one.")
    present = [int(n) for n in torch.unique(layers[0]) if n != 0]
    value = _chosen_label(present, label, path)
    return Structure.of_label(layers[0], matrix, value, f"label {value}")


def _segments(reader: sitk.ImageFileReader) -> list[tuple[int, int, str]]:
    """(layer, label value, name) of each segment that a .seg.nrrd of 3D Slicer lists."""
    found = []
    number = 0
    while reader.HasMetaDataKey(f"Segment{number}_ID") or reader.HasMetaDataKey(f"Segment{number}_Name"):

        def field(key: str, default: str, number: int = number) -> str:
            name = f"Segment{number}_{key}"
            return reader.GetMetaData(name).strip() if reader.HasMetaDataKey(name) else default

        try:
            found.append(
                (int(field("Layer", "0")), int(field("LabelValue", "1")), field("Name", f"segment {number + 1}"))
            )
        except ValueError:
            break
        number += 1
    return found


def _layers(image: sitk.Image, path: Path) -> list[Tensor]:
    if image.GetDimension() != 3:
        raise InputError(f"{path}: is a {image.GetDimension()}D image; a region of interest has 3 dimensions.")
    values: Any = sitk.GetArrayFromImage(image)
    if values.dtype.kind == "f" and not bool((values == values.round()).all()):
        raise InputError(f"{path}: has values that are not whole numbers, so it is no label map.")
    labels = torch.from_numpy(values.astype("int32"))
    return [labels] if labels.ndim == 3 else list(labels.unbind(-1))


def _ijk_to_ct(image: sitk.Image) -> Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    direction = torch.tensor(image.GetDirection(), dtype=torch.float64).reshape(3, 3)
    matrix[:3, :3] = direction * torch.tensor(image.GetSpacing(), dtype=torch.float64)
    matrix[:3, 3] = torch.tensor(image.GetOrigin(), dtype=torch.float64)
    return matrix


def _chosen_segment(segments: list[tuple[int, int, str]], label: int | str | None, path: Path) -> tuple[int, int, str]:
    if label is None and len(segments) == 1:
        return segments[0]
    names = [name for _, _, name in segments]
    fitting = [s for s in segments if label is not None and str(label).lower() == s[2].lower()]
    fitting = fitting or [s for s in segments if label is not None and str(label) == str(s[1])]
    if len(fitting) != 1:
        asked = "say which one is meant" if label is None else f"'{label}' is not one of them, or not the only one"
        raise InputError(f"{path}: has {len(names)} segments ({_listed(names)}); {asked} (--roi-label).")
    return fitting[0]


def _chosen_label(present: list[int], label: int | str | None, path: Path) -> int:
    if not present:
        raise InputError(f"{path}: every voxel is 0; the region is empty.")
    if label is None and len(present) == 1:
        return present[0]
    if label is None or str(label) not in [str(n) for n in present]:
        asked = "say which one is meant" if label is None else f"'{label}' is not among them"
        raise InputError(f"{path}: has {len(present)} labels ({_listed(present)}); {asked} (--roi-label).")
    return int(label)


def _listed(items: list[Any]) -> str:
    shown = ", ".join(str(item) for item in items[:_MOST_LABELS])
    return shown + (", ..." if len(items) > _MOST_LABELS else "")
