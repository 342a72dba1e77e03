"""A region of the CT as Slicer has it: an ROI markup, or a segment of a segmentation, on its way to the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..i18n import tr as _
from .cleanup import add
from .ct import POSE_ATTRIBUTE, CtError, transform_chain
from .frames import grid_to_lps, matrix_from_vtk, vtk_from_matrix

ROI_CLASS, SEGMENTATION_CLASS = "vtkMRMLMarkupsROINode", "vtkMRMLSegmentationNode"
# A new box spans this share of the CT along each axis.
_NEW_SHARE = 0.35
_AROUND_VOXELS = 12
_ROI_COLOR = (0.95, 0.6, 0.15)


def segments_of(node) -> list[tuple[str, str]]:
    """(id, name) of the segments of a segmentation; empty for anything else."""
    if node is None or not node.IsA(SEGMENTATION_CLASS):
        return []
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return [(identity, segmentation.GetSegment(identity).GetName()) for identity in ids]


def attach(node, ct, pose_node) -> None:
    """Let a region move with the CT, where it doesn't yet. What the user drew in world stays where it is now.

    A segmentation without a transform has the CT's own coordinates, as Slicer makes and saves it.
    """
    if pose_node in transform_chain(node) or pose_node is None:
        return
    if node.IsA(SEGMENTATION_CLASS):
        if node.GetParentTransformNode() is None:
            node.SetAndObserveTransformNodeID(ct.GetTransformNodeID())
        return
    matrix = vtk.vtkMatrix4x4()
    pose_node.GetMatrixTransformToWorld(matrix)
    node.HardenTransform()
    node.ApplyTransformMatrix(vtk_from_matrix(np.linalg.inv(matrix_from_vtk(matrix))))
    node.SetAndObserveTransformNodeID(pose_node.GetID())


def new_box(scene, ct, pose_node):
    """A box around the CT's middle, with handles to move it and to change its size."""
    node = add(scene, ROI_CLASS, "CT region", "region", helper=False)
    bounds = [0.0] * 6
    ct.GetRASBounds(bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    node.SetCenter(*(0.5 * (low + high)))
    node.SetSize(*(_NEW_SHARE * (high - low)))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*_ROI_COLOR)
    display.SetColor(*_ROI_COLOR)
    display.SetFillVisibility(False)  # what lies in it is what one wants to see
    display.SetHandlesInteractive(True)
    attach(node, ct, pose_node)
    return node


def region_key(node, segment: str) -> tuple | None:
    """Changes when what `region_request` says does; None without a region."""
    if node is None:
        return None
    if node.IsA(SEGMENTATION_CLASS):
        image = _labelmap(node, segment)
        grid = tuple(np.round(_to_ct(node), 6).ravel())
        return node.GetID(), segment, grid, image.GetMTime() if image is not None else 0
    box = _box(node)
    return node.GetID(), tuple(np.round(np.concatenate([np.ravel(part) for part in box.values()]), 4))


def centre_of(node, segment: str) -> np.ndarray | None:
    """The region's middle, (3,) in the CT's LPS; None where it is empty."""
    if node.IsA(SEGMENTATION_CLASS):
        image = _labelmap(node, segment)
        if image is None:
            return None
        labels, place, label = _labels(node, segment, image)
        extent = _extent(labels == label)
        if extent is None:
            return None
        middle = [0.5 * (first + last) for first, last in reversed(extent)]
        return (place @ np.array([*middle, 1.0]))[:3]
    return np.array(_box(node)["centre"])


def region_request(node, segment: str) -> dict[str, Any]:
    """What `EngineClient.set_region` takes. Raises CtError where there is nothing to send."""
    if not node.IsA(SEGMENTATION_CLASS):
        return {"name": node.GetName(), "box": _box(node)}
    names = dict(segments_of(node))
    image = _labelmap(node, segment)
    if image is None:
        raise CtError(_("The segmentation '{name}' has no such segment, or it is empty.").format(name=node.GetName()))
    labels, place, label = _labels(node, segment, image)
    extent = _extent(labels == label)
    if extent is None:
        raise CtError(_("The segment '{name}' is empty.").format(name=names[segment]))
    # With what lies around it, which its margin must not enter.
    low = [max(0, first - _AROUND_VOXELS) for first, _last in extent]
    part = labels[tuple(slice(a, last + 1 + _AROUND_VOXELS) for a, (_first, last) in zip(low, extent))]  # noqa: B905
    shift = np.eye(4)
    shift[:3, 3] = low[::-1]
    return {"name": names[segment], "labels": np.array(part), "label": label, "ijk_to_ct": (place @ shift).tolist()}


def _to_ct(node) -> np.ndarray:
    """(4, 4): the node's own RAS to the frame under the pose, RAS."""
    matrix = np.eye(4)
    for transform in transform_chain(node):
        if transform.GetAttribute(POSE_ATTRIBUTE):
            return matrix
        if not transform.IsLinear():
            text = _("The region is under '{name}', which is not linear: harden that transform first.")
            raise CtError(text.format(name=transform.GetName()))
        step = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToParent(step)
        matrix = matrix_from_vtk(step) @ matrix
    return matrix


def _box(node) -> dict[str, list]:
    """Centre, axes as columns, and size of an ROI in the CT's LPS mm."""
    place = _to_ct(node) @ matrix_from_vtk(node.GetObjectToNodeMatrix())
    lps = grid_to_lps(place)
    axes = lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)
    return {"centre": lps[:3, 3].tolist(), "axes": axes.tolist(), "size_mm": [float(value) for value in node.GetSize()]}


def _extent(mask: np.ndarray) -> list[tuple[int, int]] | None:
    """First and last index along each axis where a (K, J, I) mask is true; None where it never is."""
    found = []
    for axis in range(3):
        rest = tuple(other for other in range(3) if other != axis)
        at = np.flatnonzero(mask.any(axis=rest))
        if not len(at):
            return None
        found.append((int(at[0]), int(at[-1])))
    return found


def _labelmap(node, segment: str):
    """The oriented image that holds a segment, None where there is none."""
    segmentation = node.GetSegmentation()
    found = segmentation.GetSegment(segment) if segment else None
    if found is None:
        return None
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    image = found.GetRepresentation(name)
    if image is None and segmentation.CreateRepresentation(name):
        image = found.GetRepresentation(name)
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        return None
    return image


def _labels(node, segment: str, image) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels (K, J, I), their place (4, 4) in the CT's LPS, and the label of the segment."""
    first = [image.GetExtent()[axis] for axis in (0, 2, 4)]
    columns, rows, slices = image.GetDimensions()
    labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(slices, rows, columns)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    shift = np.eye(4)
    shift[:3, 3] = first
    place = grid_to_lps(_to_ct(node) @ matrix_from_vtk(matrix) @ shift)
    return labels, place, int(node.GetSegmentation().GetSegment(segment).GetLabelValue())
