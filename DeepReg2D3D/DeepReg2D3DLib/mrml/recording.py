"""The record of a run: its poses as a sequence that replays, its numbers as a table. Both are saved with the scene."""

from __future__ import annotations

import math

import numpy as np
import slicer
import vtk

from ..worker.results import IterationResult
from .cleanup import add, remove
from .frames import matrix_from_vtk, transform_to_lps, transform_to_ras, vtk_from_matrix

COLUMNS = ("iteration", "motion_mm", "similarity", "points", "seconds")
STATUS = "DeepReg2D3D.Status"
# The sequence's references to what belongs to it.
_TABLE, _BROWSER = "DeepReg2D3D.Table", "DeepReg2D3D.Browser"


class RunRecording:
    """One run, filled as its iterations come. Slicer's sequence browser replays its poses on a transform of their own.

    Sequences are written directly: a sequence browser's own recording drops frames.
    """

    def __init__(self, scene, name: str) -> None:
        self._scene = scene
        self.table = add(scene, "vtkMRMLTableNode", f"{name} iterations", "record", helper=False)
        table = self.table.GetTable()
        for column in COLUMNS:
            array = vtk.vtkIntArray() if column in ("iteration", "points") else vtk.vtkDoubleArray()
            array.SetName(column)
            table.AddColumn(array)
        self.sequence = self.browser = None
        self._poses: list[np.ndarray] = []
        if "vtkMRMLSequenceNode" in dir(slicer):
            self._make_sequence(name)

    def _make_sequence(self, name: str) -> None:
        self.sequence = add(self._scene, "vtkMRMLSequenceNode", f"{name} poses", "record", helper=False)
        self.sequence.SetIndexName("iteration")
        self.sequence.SetIndexUnit("")
        self.sequence.SetIndexType(self.sequence.NumericIndex)
        self.browser = add(self._scene, "vtkMRMLSequenceBrowserNode", f"{name} replay", "record", helper=False)
        self.browser.AddSynchronizedSequenceNodeID(self.sequence.GetID())
        self.sequence.SetNodeReferenceID(_TABLE, self.table.GetID())
        self.sequence.SetNodeReferenceID(_BROWSER, self.browser.GetID())

    @classmethod
    def of_scene(cls, scene, sequence) -> RunRecording | None:
        """The record behind a sequence of a scene that was loaded; None where it isn't one, or a part is gone."""
        table, browser = (sequence.GetNodeReference(name) for name in (_TABLE, _BROWSER))
        poses = recorded_poses(sequence)
        if table is None or not poses or table.GetTable().GetNumberOfRows() != len(poses):
            return None
        if any(table.GetTable().GetColumnByName(column) is None for column in COLUMNS):
            return None
        _make_numeric(table.GetTable())
        made = cls.__new__(cls)
        made._scene, made.table, made.sequence, made.browser, made._poses = scene, table, sequence, browser, poses
        return made

    def iterations(self) -> list[IterationResult]:
        """The recorded iterations, without their pictures."""
        found = []
        status = self.table.GetAttribute(STATUS) or ""
        for index, pose in enumerate(self._poses):
            row = self.row(index)
            last = index == self.count - 1
            found.append(
                IterationResult(
                    "", index, pose.copy(), row["motion_mm"], int(row["points"]), row["similarity"], row["seconds"],
                    last, status if last else "", (),
                )
            )  # fmt: skip
        return found

    @property
    def count(self) -> int:
        """Poses recorded; the first is the start."""
        return len(self._poses)

    def append(self, iteration: IterationResult) -> None:
        """Record one iteration."""
        self._poses.append(np.array(iteration.pose))
        if self.sequence is not None:
            self._put(str(iteration.index), iteration.pose)
        # The start has no motion, and a number may have no value: a table and a plot show that as 0.
        numbers = [iteration.index, iteration.motion_mm, iteration.similarity, iteration.points, iteration.seconds]
        table = self.table.GetTable()
        row = table.InsertNextBlankRow()
        for column, value in enumerate(numbers):
            number = float(value)
            table.GetColumn(column).SetTuple1(row, number if math.isfinite(number) else 0.0)
            table.GetColumn(column).Modified()
        table.Modified()
        self.table.Modified()

    def _put(self, index_value: str, pose: np.ndarray) -> None:
        transform = slicer.vtkMRMLLinearTransformNode()
        transform.SetMatrixTransformToParent(vtk_from_matrix(transform_to_ras(pose)))
        self.sequence.SetDataNodeAtValue(transform, index_value)

    def follow_hardening(self, pose: np.ndarray) -> None:
        """The pose (4, 4) LPS was written into the CT: the recorded ones move the CT of now to the same places."""
        back = np.linalg.inv(pose)
        self._poses = [recorded @ back for recorded in self._poses]
        if self.sequence is not None:
            for index, recorded in enumerate(self._poses):
                self._put(self.sequence.GetNthIndexValue(index), recorded)

    def pose(self, index: int) -> np.ndarray:
        """The recorded pose, (4, 4) LPS."""
        return self._poses[index].copy()

    def row(self, index: int) -> dict[str, float]:
        """The recorded numbers, by the names in ``COLUMNS``."""
        table = self.table.GetTable()
        return {column: table.GetValueByName(index, column).ToDouble() for column in COLUMNS}

    @property
    def selected(self) -> int:
        """The iteration that the sequence browser stands at; -1 without one."""
        return self.browser.GetSelectedItemNumber() if self.browser is not None else -1

    def select(self, index: int) -> None:
        """Bring the sequence browser (and what others put under its transform) to an iteration."""
        if self.browser is not None and self.selected != index:
            self.browser.SetSelectedItemNumber(index)

    def finish(self, status: str) -> None:
        """Note how the run ended."""
        self.table.SetAttribute(STATUS, status)
        if self.sequence is not None:
            self.sequence.SetAttribute(STATUS, status)
            self.browser.SetSelectedItemNumber(max(0, self.count - 1))

    def remove(self) -> None:
        """Take the record out of the scene."""
        remove(self._scene, self.browser, self.sequence, self.table)
        self.browser = self.sequence = None


def _make_numeric(table) -> None:
    """A table that was read from a file may hold its numbers as words, which no plot shows."""
    for name in COLUMNS:
        column = table.GetColumnByName(name)
        if column.IsA("vtkStringArray"):
            numbers = vtk.vtkDoubleArray()
            for index in range(column.GetNumberOfValues()):
                numbers.InsertNextValue(column.GetVariantValue(index).ToDouble())
            table.RemoveColumnByName(name)
            numbers.SetName(name)
            table.AddColumn(numbers)


def recorded_poses(sequence) -> list[np.ndarray]:
    """The poses (4, 4) LPS in a sequence, e.g. of a scene that was loaded."""
    poses = []
    for index in range(sequence.GetNumberOfDataNodes()):
        matrix = vtk.vtkMatrix4x4()
        sequence.GetNthDataNode(index).GetMatrixTransformToParent(matrix)
        poses.append(transform_to_lps(matrix_from_vtk(matrix)))
    return poses
