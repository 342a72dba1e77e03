"""An X-ray as a volume node that stands in 3D where its detector stands, and carries its camera in the saved scene."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import slicer

from .cleanup import add
from .frames import grid_to_ras, vtk_from_matrix
from .xray_camera import XRayCamera

CAMERA = "DeepReg2D3D.Camera"
IMAGE_KIND = "DeepReg2D3D.ImageKind"
PROVENANCE = "DeepReg2D3D.Provenance"
# More about it by the same names: the tag that a number stands in, or why it was assumed.
DETAILS = "DeepReg2D3D.ProvenanceDetails"
ROLE_XRAY = "xray"
KINDS = ("auto", "intensity", "line_integral")
# Window of a new X-ray: all but the darkest and brightest of these shares of its pixels.
_WINDOW_PERCENT = (0.5, 99.5)
_BODY_PERCENT = (5.0, 99.5)
_AIR_SHARE = 0.1  # of the brightest line integral


def create_xray_node(
    scene,
    image: np.ndarray,
    camera: XRayCamera,
    image_kind: str = "line_integral",
    provenance: Mapping[str, Any] | None = None,
):
    """A scalar volume node of an image (rows, columns) taken by ``camera``.

    ``provenance`` says for each number of the geometry where it came from.
    """
    pixels = np.asarray(image, dtype=np.float32).reshape(camera.rows, camera.columns)
    node = add(scene, "vtkMRMLScalarVolumeNode", camera.name, ROLE_XRAY, helper=False)
    # Three dimensions: of two, updateVolumeFromArray makes float64.
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(pixels[None]))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    low, high = _window(pixels, image_kind)
    display.SetWindowLevelMinMax(low, high if high > low else low + 1.0)
    display.SetInterpolate(True)
    set_image_kind(node, image_kind)
    set_camera(node, camera, provenance)
    return node


def _window(pixels: np.ndarray, kind: str) -> tuple[float, float]:
    low, high = percentiles(pixels, _WINDOW_PERCENT)
    if kind == "line_integral":  # air beside the body must not take the contrast of what lies in it
        body = pixels[pixels > _AIR_SHARE * high]
        inner = percentiles(body, _BODY_PERCENT) if body.size > 0.1 * pixels.size else (low, high)
        if inner[1] - inner[0] > 0.1 * (high - low):
            low, high = inner
    return low, high


def percentiles(values: np.ndarray, at: Sequence[float]) -> list[float]:
    """Percentiles of about 20000 of the values; quicker than numpy's, whose first call loads another package."""
    flat = np.asarray(values).ravel()
    ordered = np.sort(flat[:: max(1, flat.size // 20000)])
    return [float(ordered[round(percent / 100 * (ordered.size - 1))]) for percent in at]


def camera_of(node) -> XRayCamera | None:
    """The camera that a node carries; None where it carries none, or one that can't be read."""
    text = node.GetAttribute(CAMERA) if node is not None else None
    if not text:
        return None
    try:
        return XRayCamera.from_json(json.loads(text))
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def set_camera(node, camera: XRayCamera, provenance: Mapping[str, Any] | None = None) -> None:
    """Give a node another camera: it moves to where that one's detector stands."""
    was_modified = node.StartModify()
    try:
        node.SetAttribute(CAMERA, json.dumps(camera.to_json()))
        if provenance is not None:
            node.SetAttribute(PROVENANCE, json.dumps(dict(provenance)))
        node.SetIJKToRASMatrix(vtk_from_matrix(grid_to_ras(camera.ijk_to_lps())))
    finally:
        node.EndModify(was_modified)


def provenance_of(node) -> dict[str, Any]:
    """Where each number of the geometry came from; empty where that isn't known."""
    return _dictionary(node.GetAttribute(PROVENANCE))


def details_of(node) -> dict[str, Any]:
    """More about where the numbers came from, by the names of ``provenance_of``."""
    return _dictionary(node.GetAttribute(DETAILS))


def set_details(node, details: Mapping[str, Any]) -> None:
    """Keep more about where the numbers came from."""
    node.SetAttribute(DETAILS, json.dumps(dict(details)))


def _dictionary(text: str | None) -> dict[str, Any]:
    try:
        return dict(json.loads(text)) if text else {}
    except (ValueError, TypeError):
        return {}


def image_kind_of(node) -> str:
    """auto, intensity (bone dark) or line_integral (bone bright)."""
    kind = node.GetAttribute(IMAGE_KIND)
    return kind if kind in KINDS else "auto"


def set_image_kind(node, kind: str) -> None:
    """Say how the node's pixel values are to be read."""
    if kind not in KINDS:
        raise ValueError(f"Image kind '{kind}' is not one of {', '.join(KINDS)}.")
    node.SetAttribute(IMAGE_KIND, kind)


def image_of(node) -> np.ndarray:
    """The node's pixels (rows, columns), as they are."""
    return slicer.util.arrayFromVolume(node)[0]


def xray_nodes(scene) -> list:
    """All nodes in the scene that carry a camera, in the scene's order."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return [node for node in nodes if node.IsA("vtkMRMLScalarVolumeNode") and camera_of(node) is not None]
