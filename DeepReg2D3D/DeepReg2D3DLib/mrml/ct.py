"""The CT node on its way to the engine: by its file where that is unchanged, slab by slab where it isn't."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import vtk

from ..i18n import tr as _
from ..worker.arrays import DTYPES, ArrayFolder, reference
from .frames import grid_to_lps, matrix_from_vtk
from .xray_node import CAMERA

POSE_ATTRIBUTE = "DeepReg2D3D.Pose"
# One slab holds the main thread for some 20 ms (measured), page faults of the mapped file included.
SLAB_BYTES = 4 << 20
_FILE_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
_numbers = itertools.count(1)


class CtError(ValueError):
    """A CT node that can't be used; the text is for the user."""


@dataclass(frozen=True)
class CtFile:
    """The engine reads the CT itself. ijk_to_ct: where the voxels lie, LPS; shape: (slices, rows, columns)."""

    path: Path
    ijk_to_ct: np.ndarray
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class CtArray:
    """The voxels have to be handed over (see ``CtTransfer``)."""

    ijk_to_ct: np.ndarray
    shape: tuple[int, int, int]


def transform_chain(node) -> list:
    """The transforms above a node, from its parent up."""
    chain = []
    parent = node.GetParentTransformNode()
    while parent is not None:
        chain.append(parent)
        parent = parent.GetParentTransformNode()
    return chain


def ct_grid(node) -> np.ndarray:
    """ijk_to_ct (4, 4) LPS: the voxels under every transform that lies below the pose.

    The engine's CT frame is the one that the pose moves, so a user's own transform between CT and pose is part of it.
    Raises CtError where one of them bends space.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    grid = matrix_from_vtk(matrix)
    for transform in transform_chain(node):
        if transform.GetAttribute(POSE_ATTRIBUTE):
            break
        if not transform.IsLinear():
            text = _("The CT is under '{name}', which is not linear: harden that transform first.")
            raise CtError(text.format(name=transform.GetName()))
        step = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToParent(step)
        grid = matrix_from_vtk(step) @ grid
    return grid_to_lps(grid)


def ct_shape(node) -> tuple[int, int, int]:
    """(slices, rows, columns). Raises CtError for a node without voxels."""
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise CtError(_("'{name}' holds no image.").format(name=node.GetName()))
    columns, rows, slices = image.GetDimensions()
    return slices, rows, columns


def check_ct(node) -> None:
    """Raises CtError for a node that can't be a CT: no voxels, one slice, or an X-ray view of ours."""
    if node.GetAttribute(CAMERA) or min(ct_shape(node)) < 2:
        raise CtError(_("'{name}' is a single image: choose a CT.").format(name=node.GetName()))


def ct_centre(node) -> np.ndarray:
    """The centre (3,) of the full voxel grid in the CT's LPS: what the pose turns the CT about."""
    middle = [0.5 * (n - 1) for n in reversed(ct_shape(node))]
    return (ct_grid(node) @ np.array([*middle, 1.0]))[:3]


def ct_source(node) -> CtFile | CtArray:
    """How the engine can get this CT. Raises CtError where it can't."""
    check_ct(node)
    grid, shape = ct_grid(node), ct_shape(node)
    path = _unchanged_file(node)
    return CtFile(path, grid, shape) if path is not None else CtArray(grid, shape)


def _unchanged_file(node) -> Path | None:
    """The one file that the node was read from, where neither has changed since."""
    storage = node.GetStorageNode()
    # One listed file is the file itself (after saving) or the voxels beside a header; more are a series of slices.
    if storage is None or storage.GetNumberOfFileNames() > 1 or node.GetModifiedSinceRead():
        return None
    name = storage.GetFullNameFromFileName()
    if not name or not name.lower().endswith(_FILE_SUFFIXES) or not os.path.isfile(name):
        return None
    return Path(name)


class CtTransfer:
    """Copies a CT node's voxels into a mapped file, one slab a ``step``, so that the window never waits.

    folder: the client's. When ``done``, ``array_ref`` and ``ijk_to_ct`` are what ``client.load_ct_array`` takes.
    """

    def __init__(self, node, folder: ArrayFolder) -> None:
        self.ijk_to_ct = ct_grid(node)
        shape = ct_shape(node)
        self._node, self._folder = node, folder
        voxels = slicer.util.arrayFromVolume(node)
        if voxels.ndim != 3:
            text = _("'{name}' has {count} values a voxel; a CT has one.")
            raise CtError(text.format(name=node.GetName(), count=voxels.shape[-1]))
        dtype = np.dtype("int16") if voxels.dtype.name in ("int8", "uint8") else voxels.dtype
        if dtype.name not in DTYPES or dtype.name in ("float64", "int64"):
            dtype = np.dtype("float32")
        self._name = f"ct{next(_numbers)}.bin"
        self._mapped: np.memmap | None = folder.allocate(self._name, shape, dtype.name)
        self._next = 0
        self._slices = max(1, SLAB_BYTES // max(1, dtype.itemsize * shape[1] * shape[2]))
        self.array_ref = reference(self._name, self._mapped)

    @property
    def done(self) -> bool:
        """Every slab was copied."""
        return self._mapped is None

    def step(self) -> float:
        """Copy one slab; returns the share of the CT that is copied."""
        if self._mapped is None:
            return 1.0
        voxels = slicer.util.arrayFromVolume(self._node)
        count = len(self._mapped)
        if voxels is None or voxels.shape != self._mapped.shape:
            raise CtError(_("The CT was changed while it was handed to the engine."))
        end = min(self._next + self._slices, count)
        self._mapped[self._next : end] = voxels[self._next : end]
        self._next = end
        if end == count:
            self._mapped = None  # closes the mapping; the pages reach the engine through the file
        return end / count

    def cancel(self) -> None:
        """Leave it; the file is removed."""
        self._mapped = None
        self._folder.delete(self._name)
