"""The CT in 3D: its bone as a surface, or volume rendering where the computer is fast enough."""

from __future__ import annotations

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

from .cleanup import add, remove
from .frames import ras_from_lps, transform_to_ras, vtk_from_matrix

BONE_COLOR = (0.93, 0.88, 0.77)
# Presets of Slicer's volume rendering that show bone, first choice first.
_PRESETS = ("CT-Bones", "CT-Bone", "CT-AAA")


class BoneSurface:
    """A mesh under a transform of its own.

    The pose itself moves at every iteration; this transform follows as often as the 3D view can be drawn.
    """

    def __init__(self, scene) -> None:
        self._scene = scene
        self._transform = add(scene, "vtkMRMLLinearTransformNode", "CT shown", "ct3d")
        self.model = add(scene, "vtkMRMLModelNode", "CT bone", "ct3d")
        # Selectable, so that landmarks can be placed on it: what isn't is invisible to the mouse.
        display = add(scene, "vtkMRMLModelDisplayNode", "CT bone display", "ct3d")
        display.SetColor(*BONE_COLOR)
        display.SetVisibility2D(False)
        display.SetBackfaceCulling(False)
        self.model.SetAndObserveDisplayNodeID(display.GetID())
        self.model.SetAndObserveTransformNodeID(self._transform.GetID())

    def set_mesh(self, points: np.ndarray, triangles: np.ndarray, normals: np.ndarray | None = None) -> None:
        """The surface: points (N, 3) in the CT's LPS, triangles (M, 3), unit normals (N, 3) for a smooth look."""
        data = vtk.vtkPolyData()
        places = vtk.vtkPoints()
        places.SetData(numpy_to_vtk(np.ascontiguousarray(ras_from_lps(points), dtype=np.float32), deep=True))
        data.SetPoints(places)
        faces = vtk.vtkCellArray()
        ids = np.ascontiguousarray(triangles, dtype=np.int64).ravel()
        faces.SetData(3, numpy_to_vtkIdTypeArray(ids, deep=True))
        data.SetPolys(faces)
        if normals is not None:
            array = numpy_to_vtk(np.ascontiguousarray(ras_from_lps(normals), dtype=np.float32), deep=True)
            array.SetName("Normals")
            data.GetPointData().SetNormals(array)
        self.model.SetAndObservePolyData(data)

    def follow(self, pose: np.ndarray) -> None:
        """Move to a pose (4, 4) LPS."""
        self._transform.SetMatrixTransformToParent(vtk_from_matrix(transform_to_ras(pose)))

    def set_visible(self, visible: bool) -> None:
        """Show or hide it."""
        self.model.GetDisplayNode().SetVisibility(bool(visible))

    def remove(self) -> None:
        """Take it out of the scene."""
        remove(self._scene, self.model, self._transform)


def show_volume_rendering(logic, ct_node, visible: bool) -> None:
    """Show or hide a CT by volume rendering; ``logic``: slicer.modules.volumerendering.logic()."""
    display = logic.GetFirstVolumeRenderingDisplayNode(ct_node)
    if display is None:
        if not visible:
            return
        display = logic.CreateDefaultVolumeRenderingNodes(ct_node)
        for name in _PRESETS:
            preset = logic.GetPresetByName(name)
            if preset is not None:
                display.GetVolumePropertyNode().Copy(preset)
                break
    display.SetVisibility(bool(visible))
