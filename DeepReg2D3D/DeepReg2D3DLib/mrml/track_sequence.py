"""A tracked run in the scene: poses and images as sequences that play together on the pose and the X-ray view."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer

from ..i18n import tr as _
from .cleanup import add, remove
from .frames import transform_to_ras, vtk_from_matrix

POSES = "poses.json"


def read_track(folder: Path) -> list[dict]:
    """The frames of poses.json: frame (number), ct_to_world (4, 4) LPS, status, confidence, agreement, moved_mm.

    Raises OSError or ValueError for a file that is not there or cannot be read.
    """
    content = json.loads((folder / POSES).read_text(encoding="utf-8"))
    frames = content["frames"]
    for frame in frames:
        frame["ct_to_world"] = np.array(frame["ct_to_world"], dtype=np.float64).reshape(4, 4)
    return frames


def read_images(folder: Path) -> np.ndarray | None:
    """(frames, rows, columns) float32 of the tracked frames of the first view; None where they were not kept.

    Raises OSError for a file that cannot be read.
    """
    import SimpleITK as sitk  # slow to import: not at the start of the application

    paths = sorted(folder.glob("images_*.nrrd"))
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(paths[0]))) if paths else None
    except RuntimeError as problem:  # ITK tells where in its own sources
        raise OSError(_("{path} cannot be read; is it damaged?").format(path=paths[0])) from problem


class TrackSequence:
    """Two synchronised sequences and their browser; saved with the scene.

    Args:
        scene: the MRML scene.
        name: what they are called.
        pose_node: the transform that the poses play on.
        xray_node: the X-ray view that the images play on.
        frames: of ``read_track``.
        images: of ``read_images``, or None for poses alone.
    """

    def __init__(
        self, scene, name: str, pose_node, xray_node, frames: Sequence[dict], images: np.ndarray | None
    ) -> None:
        self._scene = scene
        self.images = None
        self.poses = self._sequence(f"{name} poses")
        for frame in frames:
            transform = slicer.vtkMRMLLinearTransformNode()
            transform.SetMatrixTransformToParent(vtk_from_matrix(transform_to_ras(frame["ct_to_world"])))
            self.poses.SetDataNodeAtValue(transform, str(frame["frame"]))
        self.browser = add(scene, "vtkMRMLSequenceBrowserNode", f"{name} replay", "track", helper=False)
        self.browser.AddSynchronizedSequenceNodeID(self.poses.GetID())
        self.browser.AddProxyNode(pose_node, self.poses, False)
        if images is not None and len(images) == len(frames):
            self._add_images(name, xray_node, frames, images)
        self.browser.SetPlaybackRateFps(8.0)
        self.select(0)

    def _add_images(self, name: str, xray_node, frames: Sequence[dict], images: np.ndarray) -> None:
        self.images = self._sequence(f"{name} images")
        volume = slicer.vtkMRMLScalarVolumeNode()
        volume.Copy(xray_node)  # its camera and its place
        for frame, image in zip(frames, images, strict=True):
            slicer.util.updateVolumeFromArray(volume, np.ascontiguousarray(image[None], np.float32))
            self.images.SetDataNodeAtValue(volume, str(frame["frame"]))
        self.browser.AddSynchronizedSequenceNodeID(self.images.GetID())
        self.browser.AddProxyNode(xray_node, self.images, False)

    def _sequence(self, name: str):
        sequence = add(self._scene, "vtkMRMLSequenceNode", name, "track", helper=False)
        sequence.SetIndexName("frame")
        sequence.SetIndexUnit("")
        sequence.SetIndexType(sequence.NumericIndex)
        return sequence

    @property
    def count(self) -> int:
        return self.poses.GetNumberOfDataNodes()

    @property
    def is_there(self) -> bool:
        """Whether the scene still holds it."""
        return self.browser.GetScene() is self._scene and self.poses.GetScene() is self._scene

    def select(self, index: int) -> None:
        """Go to a frame, by its place in the list."""
        if 0 <= index < self.count:
            self.browser.SetSelectedItemNumber(index)

    def remove(self) -> None:
        """Take it out of the scene; pose and X-ray stay as they are."""
        remove(self._scene, self.browser, self.poses, self.images)
