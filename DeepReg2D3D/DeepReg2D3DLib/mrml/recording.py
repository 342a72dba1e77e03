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


class RunRecording:
    """One run, filled as its iterations come. ``replay`` shows a recorded pose on a transform node of its own.

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

    @property
    def count(self) -> int:
        """Poses recorded; the first is the start."""
        return len(self._poses)

    def append(self, iteration: IterationResult) -> None:
        """Record one iteration."""
        self._poses.append(np.array(iteration.pose))
        if self.sequence is not None:
            transform = slicer.vtkMRMLLinearTransformNode()
            transform.SetMatrixTransformToParent(vtk_from_matrix(transform_to_ras(iteration.pose)))
            self.sequence.SetDataNodeAtValue(transform, str(iteration.index))
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

    def pose(self, index: int) -> np.ndarray:
        """The recorded pose, (4, 4) LPS."""
        return self._poses[index].copy()

    def row(self, index: int) -> dict[str, float]:
        """The recorded numbers, by the names in ``COLUMNS``."""
        table = self.table.GetTable()
        return {column: table.GetColumn(n).GetTuple1(index) for n, column in enumerate(COLUMNS)}

    def replay(self, index: int, node) -> None:
        """Put a recorded pose on a transform node (not the pose itself, which stays what it is)."""
        if self.browser is not None:
            self.browser.SetSelectedItemNumber(index)
        node.SetMatrixTransformToParent(vtk_from_matrix(transform_to_ras(self._poses[index])))

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


def recorded_poses(sequence) -> list[np.ndarray]:
    """The poses (4, 4) LPS in a sequence, e.g. of a scene that was loaded."""
    poses = []
    for index in range(sequence.GetNumberOfDataNodes()):
        matrix = vtk.vtkMatrix4x4()
        sequence.GetNthDataNode(index).GetMatrixTransformToParent(matrix)
        poses.append(transform_to_lps(matrix_from_vtk(matrix)))
    return poses
