"""Dragging the overlay itself with the mouse in an X-ray view."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import vtk

from .dragging import ViewDrag
from .frames import matrix_from_vtk
from .pose import PoseController
from .views import zoom
from .xray_node import camera_of

# Above the view's own interactor style (priority 0), so that it doesn't see what we take.
PRIORITY = 10.0
WHEEL_TURN_DEG = 1.0
WHEEL_DEPTH_MM = 5.0
WHEEL_ZOOM = 1.1
# Turning about the middle: closer than this the angle of the pointer says nothing.
MIN_RADIUS_PX = 8.0


class ViewInteraction:
    """Mouse on one X-ray view: left drag moves, Ctrl turns, Ctrl+wheel turns, Shift+wheel moves in depth; wheel zooms.

    Args:
        interactor: the view's render window interactor.
        slice_node: the view's slice node.
        xray_node: the X-ray shown there.
        pose: the pose to move.
        allowed: says whether dragging is on (and no run goes on).
    """

    def __init__(self, interactor, slice_node, xray_node, pose: PoseController, allowed: Callable[[], bool]) -> None:
        self._interactor, self._slice_node, self._xray_node = interactor, slice_node, xray_node
        self._pose, self._allowed = pose, allowed
        self._drag: ViewDrag | None = None
        self._from = np.zeros(2)
        self._turning = False
        self._tags = {}
        for event, handler in (
            ("LeftButtonPressEvent", self._press),
            ("MouseMoveEvent", self._move),
            ("LeftButtonReleaseEvent", self._release),
            ("MouseWheelForwardEvent", self._wheel),
            ("MouseWheelBackwardEvent", self._wheel),
        ):
            self._tags[event] = interactor.AddObserver(event, self._guarded(handler), PRIORITY)

    def remove(self) -> None:
        """Stops listening."""
        for tag in self._tags.values():
            self._interactor.RemoveObserver(tag)
        self._tags = {}

    def _guarded(self, handler):
        def observe(caller, event):
            if handler(event):
                # The view's own style must not see an event that moved the overlay.
                command = caller.GetCommand(self._tags[event])
                if command is not None:
                    command.SetAbortFlag(1)

        return observe

    def _pixel(self) -> np.ndarray:
        """The pointer in the X-ray's pixels (u, v)."""
        x, y = self._interactor.GetEventPosition()
        xy_to_ras = matrix_from_vtk(self._slice_node.GetXYToRAS())
        grid = vtk.vtkMatrix4x4()
        self._xray_node.GetRASToIJKMatrix(grid)
        return (matrix_from_vtk(grid) @ xy_to_ras @ np.array([x, y, 0.0, 1.0]))[:2]

    def _begin(self) -> ViewDrag | None:
        camera = camera_of(self._xray_node)
        if camera is None or not self._allowed() or self._mouse_has_a_tool():
            return None
        return ViewDrag(camera, self._pose.pose, self._pose.centre)

    def _mouse_has_a_tool(self) -> bool:
        """The user chose another tool in the toolbar: window/level, or placing markups."""
        node = self._slice_node.GetScene().GetFirstNodeByClass("vtkMRMLInteractionNode")
        return node is not None and node.GetCurrentInteractionMode() in (node.Place, node.AdjustWindowLevel)

    def _mouse_is_on_a_markup(self) -> bool:
        """The pointer is over a landmark, a region's handle or the like: the drag is for that."""
        scene = self._slice_node.GetScene()
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLMarkupsDisplayNode")):
            display = scene.GetNthNodeByClass(index, "vtkMRMLMarkupsDisplayNode")
            if display.GetActiveComponentType() != display.ComponentNone and display.GetVisibility():
                return True
        return False

    def _press(self, _event) -> bool:
        if self._interactor.GetShiftKey() or self._mouse_is_on_a_markup():  # with Shift Slicer pans
            return False
        drag = self._begin()
        if drag is None:
            return False
        self._drag = drag
        self._from = self._pixel()
        self._turning = bool(self._interactor.GetControlKey())
        self._pose.checkpoint()
        return True

    def _move(self, _event) -> bool:
        if self._drag is None:
            return False
        if not self._allowed():  # a run has begun meanwhile
            self._drag = None
            return False
        to = self._pixel()
        if self._turning:
            middle = self._drag.centre_pixel
            before, now = self._from - middle, to - middle
            if min(np.linalg.norm(before), np.linalg.norm(now)) < MIN_RADIUS_PX:
                return True
            angle = math.atan2(now[1], now[0]) - math.atan2(before[1], before[0])
            self._pose.set_pose(self._drag.rotated(angle), source="drag")
        else:
            du, dv = to - self._from
            self._pose.set_pose(self._drag.translated(du, dv), source="drag")
        return True

    def _release(self, _event) -> bool:
        if self._drag is None:
            return False
        self._drag = None
        return True

    def _wheel(self, event) -> bool:
        turn, depth = self._interactor.GetControlKey(), self._interactor.GetShiftKey()
        sign = 1.0 if event == "MouseWheelForwardEvent" else -1.0
        if not (turn or depth):
            # Slicer's wheel goes from slice to slice: off the only one, and the X-ray would be gone.
            zoom(self._slice_node, WHEEL_ZOOM**-sign)
            return True
        drag = self._begin()
        if drag is None:
            return False
        self._pose.checkpoint()
        new = drag.rotated(math.radians(WHEEL_TURN_DEG) * sign) if turn else drag.deepened(WHEEL_DEPTH_MM * sign)
        self._pose.set_pose(new, source="drag")
        return True
