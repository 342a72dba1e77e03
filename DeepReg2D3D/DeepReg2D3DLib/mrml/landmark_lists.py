"""Landmarks as markups: one list in the CT, which moves with the pose, and one on the detector of each X-ray.

A landmark is a label that occurs in several lists. Points that are still to be clicked are there as well, undefined;
Slicer's own place mode then gives them their position.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer
import vtk

from ..worker.signals import Signal
from .cleanup import ROLE, add, remove
from .frames import lps_from_ras, matrix_from_vtk, transform_to_ras
from .pose import PoseController

ROLE_CT, ROLE_XRAY = "landmarks-ct", "landmarks-xray"
_XRAY = "DeepReg2D3D.Xray"  # a list's reference to its X-ray
_CLASS = "vtkMRMLMarkupsFiducialNode"
_CT_COLOR, _XRAY_COLOR = (0.2, 0.85, 0.35), (0.2, 0.7, 1.0)
_GLYPH_SCALE = 1.5  # a point has to be set more exactly than Slicer's default lets one see
_EVENTS = (
    "PointPositionDefinedEvent", "PointPositionUndefinedEvent", "PointRemovedEvent", "PointEndInteractionEvent",
)  # fmt: skip


class LandmarkLists:
    """The landmarks of a registration; rows are landmarks, column 0 is the CT, column n the n-th X-ray.

    Args:
        scene: the MRML scene.
        pose: the CT's pose.
        call_later: call_later(seconds, f) -> handle with cancel().
    """

    def __init__(self, scene, pose: PoseController, call_later: Callable) -> None:
        self._scene, self._pose, self._call_later = scene, pose, call_later
        self.changed = Signal()  # a point, a name, or what is being placed
        self.placing: tuple[int, int] | None = None
        self._xrays: list = []
        self._places: dict[str, np.ndarray] = {}  # where the pixels of each X-ray were when its points were set
        self._observed: list[tuple] = []
        self._views: list[tuple] = []
        self._next = None  # the call that goes on to the next place, while one is due

    # --- what there is ---------------------------------------------------------------------------------------------

    @property
    def xrays(self) -> list:
        """The X-rays, in the order of the columns from 1 on."""
        return list(self._xrays)

    @property
    def names(self) -> list[str]:
        """The landmarks, by row."""
        points = self._list(0)
        count = points.GetNumberOfControlPoints() if points is not None else 0
        return [points.GetNthControlPointLabel(index) for index in range(count)]

    def is_set(self, row: int, column: int) -> bool:
        """Whether the landmark was clicked in the CT (column 0) or an X-ray."""
        points, index = self._point(row, column)
        return index >= 0 and points.GetNthControlPointPositionStatus(index) == points.PositionDefined

    def pairs(self) -> list[dict]:
        """Landmarks that have a place in the CT and a click, as the engine takes them.

        {"name", "point": CT mm, LPS, "clicks": {X-ray's node id: [u, v]}}.
        """
        clicked = {xray.GetID(): self.clicks(column) for column, xray in enumerate(self._xrays, start=1)}
        found = []
        for name, place in self.ct_points().items():
            clicks = {identity: pixels[name] for identity, pixels in clicked.items() if name in pixels}
            if clicks:
                found.append({"name": name, "point": place.tolist(), "clicks": clicks})
        return found

    def ct_points(self) -> dict[str, np.ndarray]:
        """The places (3,) in the CT, LPS mm, of the landmarks that have one, by name."""
        points = self._list(0)
        return {
            points.GetNthControlPointLabel(index): lps_from_ras(np.array(points.GetNthControlPointPosition(index)))
            for index in _defined(points)
        }

    def clicks(self, column: int) -> dict[str, list[float]]:
        """The pixels [u, v] that were clicked in an X-ray (column from 1 on), by name."""
        points, names = self._list(column), self.names
        labels = {index: points.GetNthControlPointLabel(index) for index in _defined(points)}
        xray = self._xrays[column - 1]
        return {name: self._pixel(xray, points, index) for index, name in labels.items() if name in names}

    # --- changing them ---------------------------------------------------------------------------------------------

    def add(self) -> int:
        """A new landmark without any place; returns its row."""
        number = len(self.names) + 1
        while f"L{number}" in self.names:
            number += 1
        row = len(self.names)
        self._new_point(self._list(0, make=True), f"L{number}")
        self.changed.emit()
        return row

    def remove(self, row: int) -> None:
        """Take a landmark out of all lists."""
        self.stop_placing()
        for column in range(len(self._xrays), -1, -1):
            points, index = self._point(row, column)
            if index >= 0:
                points.RemoveNthControlPoint(index)
        self.changed.emit()

    def rename(self, row: int, name: str) -> bool:
        """Give a landmark another name; False where there is one of that name."""
        if not name or name in self.names:
            return False
        for points, index in [self._point(row, column) for column in range(len(self._xrays) + 1)]:
            if index >= 0:
                points.SetNthControlPointLabel(index, name)
        self.changed.emit()
        return True

    def place(self, row: int, column: int) -> None:
        """Let the user click the landmark in the CT or an X-ray; then comes the next that is missing in its row."""
        name = self.names[row]
        points = self._list(column, make=True)
        index = points.GetControlPointIndexByLabel(name)
        if index < 0:
            index = self._new_point(points, name)
        selection = self._scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
        interaction = self._scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
        if selection is None or interaction is None:
            return
        self.placing = None  # what goes on until then is no answer
        if points.GetNthControlPointPositionStatus(index) != points.PositionUndefined:
            points.UnsetNthControlPointPosition(index)
        points.SetControlPointPlacementStartIndex(index)
        points.GetDisplayNode().SetVisibility(True)
        selection.SetReferenceActivePlaceNodeClassName(_CLASS)
        selection.SetActivePlaceNodeID(points.GetID())
        interaction.SetPlaceModePersistence(0)
        interaction.SetCurrentInteractionMode(interaction.Place)
        self.placing = row, column
        self.changed.emit()

    def stop_placing(self) -> None:
        """Give the mouse back."""
        was, self.placing = self.placing, None
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if was is not None:
            interaction = self._scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
            if interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place:
                interaction.SetCurrentInteractionMode(interaction.ViewTransform)
            self.changed.emit()

    # --- what they follow ------------------------------------------------------------------------------------------

    def set_xrays(self, xrays: list) -> None:
        """Other X-rays, or other views of them. Lists of X-rays that are gone go, too."""
        if xrays != self._xrays:
            self.stop_placing()
        self._xrays = list(xrays)
        for points in self._lists(ROLE_XRAY):
            if points.GetNodeReference(_XRAY) is None:
                remove(self._scene, points)
        self._follow_pixels()
        self._observe()

    def show_in(self, shown: list[tuple]) -> None:
        """Where they are seen and can be placed; shown: (X-ray, slice node) pairs on the screen.

        An X-ray's points belong to its own view, those of the CT to every other: a click in a wrong view isn't taken.
        """
        views = {xray.GetID(): slice_node for xray, slice_node in shown}
        others = []
        for name in ("vtkMRMLSliceNode", "vtkMRMLViewNode"):
            count = self._scene.GetNumberOfNodesByClass(name)
            others += [self._scene.GetNthNodeByClass(index, name) for index in range(count)]
        ids = [view.GetID() for view in others if view not in views.values()]
        if self._list(0) is not None:
            _show_only_in(self._list(0).GetDisplayNode(), ids)
        for points in self._lists(ROLE_XRAY):
            xray = points.GetNodeReference(_XRAY)
            view = views.get(xray.GetID()) if xray is not None else None
            points.GetDisplayNode().SetVisibility(view is not None)
            _show_only_in(points.GetDisplayNode(), [view.GetID()] if view is not None else [])
        self._views = shown

    def show_names(self, column: int, shown: bool) -> None:
        """Write the names beside the points of an X-ray's list, or not."""
        points = self._list(column)
        if points is not None and bool(points.GetDisplayNode().GetPointLabelsVisibility()) != shown:
            points.GetDisplayNode().SetPointLabelsVisibility(shown)

    def follow_pose_node(self) -> None:
        """The CT's points lie under the pose, as the CT does."""
        points, node = self._list(0), self._pose.node
        if points is not None and node is not None and points.GetParentTransformNode() is not node:
            points.SetAndObserveTransformNodeID(node.GetID())

    def follow_hardening(self, pose: np.ndarray) -> None:
        """The pose (4, 4) LPS was written into the CT: the points go with it."""
        points = self._list(0)
        if points is None:
            return
        matrix = transform_to_ras(pose)
        for index in _defined(points):
            place = matrix @ np.append(points.GetNthControlPointPosition(index), 1.0)
            points.SetNthControlPointPosition(index, *place[:3])

    def close(self) -> None:
        """Let go of the scene's nodes; the lists stay."""
        self.stop_placing()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._xrays, self._places = [], [], {}

    # --- inside ----------------------------------------------------------------------------------------------------

    def _lists(self, role: str) -> list:
        """Our lists of a role. Not by looking through all nodes: the table asks for each of its cells."""
        count = self._scene.GetNumberOfNodesByClass(_CLASS)
        nodes = [self._scene.GetNthNodeByClass(index, _CLASS) for index in range(count)]
        return [node for node in nodes if node.GetAttribute(ROLE) == role]

    def _list(self, column: int, make: bool = False):
        """The markups list of a column; None where there is none yet."""
        if column == 0:
            found = next(iter(self._lists(ROLE_CT)), None)
            if found is None and make:
                found = self._new_list("CT landmarks", ROLE_CT, _CT_COLOR)
                self.follow_pose_node()
                self.show_in(self._views)
            return found
        xray = self._xrays[column - 1]
        found = next((n for n in self._lists(ROLE_XRAY) if n.GetNodeReference(_XRAY) is xray), None)
        if found is None and make:
            found = self._new_list(f"{xray.GetName()} landmarks", ROLE_XRAY, _XRAY_COLOR)
            found.SetNodeReferenceID(_XRAY, xray.GetID())
            self._places[xray.GetID()] = _pixels_to_ras(xray)
            self.show_in(self._views)
        return found

    def _new_list(self, name: str, role: str, color):
        points = add(self._scene, _CLASS, name, role, helper=False)
        points.CreateDefaultDisplayNodes()
        display = points.GetDisplayNode()
        display.SetColor(*color)
        display.SetSelectedColor(*color)
        display.SetGlyphScale(_GLYPH_SCALE)
        self._observe()
        return points

    def _new_point(self, points, name: str) -> int:
        was_modified = points.StartModify()
        index = points.AddControlPoint([0.0, 0.0, 0.0], name)
        points.UnsetNthControlPointPosition(index)
        points.EndModify(was_modified)
        return index

    def _point(self, row: int, column: int) -> tuple:
        """(list, index in it) of a landmark; index -1 where it isn't there."""
        names, points = self.names, self._list(column)
        if points is None or not 0 <= row < len(names):
            return points, -1
        return points, points.GetControlPointIndexByLabel(names[row])

    def _pixel(self, xray, points, index: int) -> list[float]:
        place = np.append(points.GetNthControlPointPositionWorld(index), 1.0)
        return (np.linalg.inv(_pixels_to_ras(xray)) @ place)[:2].tolist()

    def _follow_pixels(self) -> None:
        """Clicks stay on their pixels when the geometry moves the detector."""
        for column, xray in enumerate(self._xrays, start=1):
            before, now = self._places.get(xray.GetID()), _pixels_to_ras(xray)
            self._places[xray.GetID()] = now
            points = self._list(column)
            if before is None or points is None or np.allclose(before, now, rtol=0, atol=1e-6):
                continue
            for index in _defined(points):
                place = np.append(points.GetNthControlPointPositionWorld(index), 1.0)
                points.SetNthControlPointPositionWorld(index, *(now @ np.linalg.inv(before) @ place)[:3])

    def _observe(self) -> None:
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        lists = self._lists(ROLE_CT) + self._lists(ROLE_XRAY)
        self._observed = [
            (points, points.AddObserver(getattr(slicer.vtkMRMLMarkupsNode, event), self._on_point))
            for points in lists
            for event in _EVENTS
        ]
        interaction = self._scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
        if interaction is not None:
            event = interaction.InteractionModeChangedEvent
            self._observed.append((interaction, interaction.AddObserver(event, self._on_mode)))

    def _on_point(self, points, event) -> None:
        if self.placing is not None and self.is_set(*self.placing) and self._next is None:
            # In an event of its own: Slicer leaves its place mode after this one.
            self._next = self._call_later(0.0, self._place_next)
        self.changed.emit()

    def _on_mode(self, interaction, _event) -> None:
        if interaction.GetCurrentInteractionMode() != interaction.Place and self._next is None:
            if self.placing is not None:  # Escape, or another tool
                self.placing = None
                self.changed.emit()

    def _place_next(self) -> None:
        self._next = None
        if self.placing is None:
            return
        row = self.placing[0]
        missing = [column for column in range(len(self._xrays) + 1) if not self.is_set(row, column)]
        if missing:
            self.place(row, missing[0])
        else:
            self.stop_placing()


def _pixels_to_ras(xray) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    xray.GetIJKToRASMatrix(matrix)
    return matrix_from_vtk(matrix)


def _defined(points) -> list[int]:
    """The points of a markups list (or None) that have a position."""
    count = points.GetNumberOfControlPoints() if points is not None else 0
    return [index for index in range(count) if points.GetNthControlPointPositionStatus(index) == points.PositionDefined]


def _show_only_in(display, view_ids: list[str]) -> None:
    if list(display.GetViewNodeIDs() or ()) == view_ids:
        return
    was_modified = display.StartModify()
    display.RemoveAllViewNodeIDs()
    for identity in view_ids:
        display.AddViewNodeID(identity)
    display.EndModify(was_modified)
