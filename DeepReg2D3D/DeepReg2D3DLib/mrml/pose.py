"""The pose as a transform node: read, set, watched, undone. Matrices handed in and out are ct_to_world (4, 4), LPS."""

from __future__ import annotations

import time

import numpy as np
import slicer
import vtk

from ..i18n import tr as _
from ..worker.signals import Signal
from .cleanup import ROLE
from .ct import POSE_ATTRIBUTE, CtError, ct_centre, transform_chain
from .frames import (
    PoseNumbers,
    matrix_from_vtk,
    numbers_from_pose,
    pose_from_numbers,
    ras_from_lps,
    transform_to_lps,
    transform_to_ras,
    vtk_from_matrix,
)

# Two moves by handles or sliders that follow each other faster belong to one drag, undone at once.
SAME_DRAG_SECONDS = 0.7
UNDO_STEPS = 100
_SAME = 1e-9


class PoseController:
    """Follows one linear transform node and is the only one to write it.

    ``changed(pose, source)`` is emitted once for each change; ``source`` is what ``set_pose`` was given, or "handles"
    where somebody else moved the node (handles, the Transforms module, a script).
    """

    def __init__(self, scene) -> None:
        self._scene = scene
        self._node = None
        self._tag: int | None = None
        self._writing = False
        self._last = np.eye(4)
        self._last_foreign = 0.0
        self._undo: list[np.ndarray] = []
        self._redo: list[np.ndarray] = []
        self.home = np.eye(4)
        self.centre = np.zeros(3)
        self.changed = Signal()

    # --- the node --------------------------------------------------------------------------------------------------

    @property
    def node(self):
        """The transform node, None without one."""
        return self._node

    def create_node(self, name: str = "CT pose"):
        """A new transform node in the scene, as the pose."""
        node = self._scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", self._scene.GenerateUniqueName(name))
        node.SetAttribute(ROLE, "pose")
        self.set_node(node)
        return node

    def set_node(self, node) -> None:
        """Follow another transform node, or none. The undo stack belongs to the node, so it is emptied."""
        if node is self._node:
            return
        if self._node is not None:
            self.set_handles(False, False)
            self._node.RemoveObserver(self._tag)
            self._node.RemoveAttribute(POSE_ATTRIBUTE)
        self._node, self._tag = node, None
        self._undo, self._redo = [], []
        if node is not None:
            node.SetAttribute(POSE_ATTRIBUTE, "1")
            self._tag = node.AddObserver(slicer.vtkMRMLTransformNode.TransformModifiedEvent, self._on_transform)
            self._last = self._read()
            self.home = self._last.copy()
            self.changed.emit(self._last.copy(), "node")

    def attach(self, ct) -> None:
        """Put the CT under the pose and turn about its centre.

        Transforms that the CT already has stay between it and the pose. Raises CtError where they aren't linear.
        """
        if self._node is None:
            self.create_node()
        self._make_topmost()
        chain = transform_chain(ct)
        if self._node not in chain:
            top = chain[-1] if chain else ct
            top.SetAndObserveTransformNodeID(self._node.GetID())
        self.centre = ct_centre(ct)
        if hasattr(self._node, "SetCenterOfTransformation"):
            self._node.SetCenterOfTransformation(*ras_from_lps(self.centre))

    def _make_topmost(self) -> None:
        """The pose moves the CT in world: a transform above it is taken into it, so that everything stays in place."""
        above = transform_chain(self._node)
        if not above:
            return
        if not all(transform.IsLinear() for transform in above):
            raise CtError(_("The pose is under a transform that is not linear: harden that transform first."))
        world = vtk.vtkMatrix4x4()
        self._node.GetMatrixTransformToWorld(world)
        self._node.SetAndObserveTransformNodeID(None)
        self.set_pose(transform_to_lps(matrix_from_vtk(world)), "node")

    # --- the pose --------------------------------------------------------------------------------------------------

    @property
    def pose(self) -> np.ndarray:
        """ct_to_world (4, 4), LPS mm; identity without a node."""
        return self._read() if self._node is not None else np.eye(4)

    def set_pose(self, pose: np.ndarray, source: str = "") -> None:
        """Move the CT. Setting the pose it has does nothing."""
        pose = np.array(pose, dtype=np.float64).reshape(4, 4)
        if self._node is None or np.allclose(pose, self._last, rtol=0, atol=_SAME):
            return
        self._writing = True
        try:
            self._node.SetMatrixTransformToParent(vtk_from_matrix(transform_to_ras(pose)))
        finally:
            self._writing = False
        self._last = pose
        self.changed.emit(pose.copy(), source)

    @property
    def numbers(self) -> PoseNumbers:
        """Translation and angles for people: RAS, about the CT's centre."""
        return numbers_from_pose(self.pose, self.centre)

    def from_numbers(self, numbers: PoseNumbers) -> np.ndarray:
        """The pose (4, 4) that these numbers mean for this CT."""
        return pose_from_numbers(numbers, self.centre)

    def set_numbers(self, numbers: PoseNumbers, source: str = "user") -> None:
        """Move the CT to these numbers."""
        self.set_pose(self.from_numbers(numbers), source)

    def _read(self) -> np.ndarray:
        matrix = vtk.vtkMatrix4x4()
        self._node.GetMatrixTransformToParent(matrix)
        return transform_to_lps(matrix_from_vtk(matrix))

    def _on_transform(self, *_) -> None:
        # Our own writing comes back here, and writing the same matrix fires as well: both are no news.
        if self._writing:
            return
        pose = self._read()
        if np.allclose(pose, self._last, rtol=0, atol=_SAME):
            return
        now = time.monotonic()
        if now - self._last_foreign > SAME_DRAG_SECONDS:
            self._push(self._last)
        self._last_foreign = now
        self._last = pose
        self.changed.emit(pose.copy(), "handles")

    # --- undo ------------------------------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """There is an earlier pose."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """There is a pose that was undone."""
        return bool(self._redo)

    def checkpoint(self) -> None:
        """Remember the present pose for ``undo``: before a drag, a preset, a registration."""
        if self._node is not None:
            self._push(self._last)

    def _push(self, pose: np.ndarray) -> None:
        if not (self._undo and np.allclose(self._undo[-1], pose, rtol=0, atol=_SAME)):
            self._undo = [*self._undo, pose.copy()][-UNDO_STEPS:]
        self._redo = []

    def undo(self) -> None:
        """Back to the pose of the last checkpoint that differs from the present one."""
        present = self._last.copy()
        while self._undo:
            earlier = self._undo.pop()
            if not np.allclose(earlier, present, rtol=0, atol=_SAME):
                self._redo.append(present)
                self.set_pose(earlier, "undo")
                return

    def redo(self) -> None:
        """Forward again to the pose that was undone last."""
        if self._redo:
            later = self._redo.pop()
            self._undo.append(self._last.copy())
            self.set_pose(later, "redo")

    def set_home(self, pose: np.ndarray) -> None:
        """The pose that ``reset`` goes to."""
        self.home = np.array(pose, dtype=np.float64).reshape(4, 4)

    def reset(self) -> None:
        """Back to the home pose; can be undone."""
        self.checkpoint()
        self.set_pose(self.home, "reset")

    # --- handles ---------------------------------------------------------------------------------------------------

    def set_handles(self, in_3d: bool, in_slices: bool) -> None:
        """Show or hide the interaction handles."""
        if self._node is None:
            return
        display = self._node.GetDisplayNode()
        if display is None:
            if not (in_3d or in_slices):
                return
            self._node.CreateDefaultDisplayNodes()
            display = self._node.GetDisplayNode()
        was_modified = display.StartModify()
        display.SetEditorVisibility(bool(in_3d or in_slices))
        display.SetEditorVisibility3D(bool(in_3d))
        display.SetEditorSliceIntersectionVisibility(bool(in_slices))
        if (in_3d or in_slices) and hasattr(display, "SetEditorScalingEnabled"):
            display.SetEditorTranslationEnabled(True)
            display.SetEditorRotationEnabled(True)
            display.SetEditorScalingEnabled(False)  # the pose is rigid
        display.EndModify(was_modified)

    def harden(self, ct) -> None:
        """Write the pose (and what lies below it) into the CT's own grid, unresampled; the pose becomes identity.

        The earlier poses belong to the old grid, so there is nothing to undo afterwards.
        """
        ct.HardenTransform()
        self.set_pose(np.eye(4), "harden")
        self._undo, self._redo, self.home = [], [], np.eye(4)
        self.attach(ct)
