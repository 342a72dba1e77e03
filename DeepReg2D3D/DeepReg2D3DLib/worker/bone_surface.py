"""The bone as a mesh for the 3D view, by surface nets (S. F. F. Gibson, MICCAI 1998) without the smoothing.

Computed here and not with VTK, so that Slicer's window never waits for it and a worker without VTK can do it.
"""

from __future__ import annotations

import numpy as np

# The 12 edges of a cell as pairs of its corners; corner c has offsets (c & 1, c >> 1 & 1, c >> 2 & 1) in (x, y, z).
_EDGES = [(a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit]


def surface_nets(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Mesh of the surface where ``values`` (slices, rows, columns) cross ``level``.

    Returns points (N, 3) float32 in voxel indices (i, j, k) and triangles (M, 3) int32, turned so that their normals
    point to lower values. Where the body is cut by the volume's border the surface stays open. One vertex a cell: the
    mean of the crossings on the cell's edges.
    """
    values = np.asarray(values, dtype=np.float32) - np.float32(level)
    # A value of exactly the level would put a crossing on a corner of several cells; nudge it inside.
    values[values == 0] = np.float32(1e-6)
    inside = values > 0
    empty = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    if min(values.shape) < 2:
        return empty
    corners = [inside[z : z - 1 or None, y : y - 1 or None, x : x - 1 or None] for z, y, x in _corner_offsets()]
    count = sum(corner.astype(np.uint8) for corner in corners)
    cells = np.argwhere((count > 0) & (count < 8))  # (N, 3) as (k, j, i)
    if not len(cells):
        return empty
    at_corners = np.stack([values[tuple((cells + offset).T)] for offset in _corner_offsets()])  # (8, N)
    points = _crossings(at_corners) + cells[:, ::-1]
    number = np.full(count.shape, -1, np.int32)
    number[tuple(cells.T)] = np.arange(len(cells), dtype=np.int32)
    return points.astype(np.float32), _triangles(inside, number)


def _corner_offsets() -> list[tuple[int, int, int]]:
    return [(corner >> 2 & 1, corner >> 1 & 1, corner & 1) for corner in range(8)]


def _crossings(at_corners: np.ndarray) -> np.ndarray:
    """Mean crossing (N, 3) as (x, y, z) in the unit cell, of values (8, N) at its corners."""
    total = np.zeros((at_corners.shape[1], 3), np.float32)
    count = np.zeros(at_corners.shape[1], np.float32)
    for a, b in _EDGES:
        first, second = at_corners[a], at_corners[b]
        crosses = (first > 0) != (second > 0)
        share = np.where(crosses, first / np.where(crosses, first - second, 1), 0)
        start = np.array([a & 1, a >> 1 & 1, a >> 2 & 1], np.float32)
        step = np.array([b & 1, b >> 1 & 1, b >> 2 & 1], np.float32) - start
        total += crosses[:, None] * (start + share[:, None] * step)
        count += crosses
    return total / count[:, None]


def _triangles(inside: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Two triangles for every grid edge that crosses the surface and has its four cells in the volume."""
    faces = []
    for axis in range(3):  # 0: z, 1: y, 2: x
        near = np.moveaxis(inside, axis, 0)[:-1, 1:-1, 1:-1]
        far = np.moveaxis(inside, axis, 0)[1:, 1:-1, 1:-1]
        cells = np.moveaxis(number, axis, 0)
        for leaves in (True, False):
            edge = np.argwhere((near if leaves else far) & ~(far if leaves else near))
            if not len(edge):
                continue
            a, b, c = edge[:, 0], edge[:, 1], edge[:, 2]
            quad = np.stack([cells[a, b, c], cells[a, b + 1, c], cells[a, b + 1, c + 1], cells[a, b, c + 1]], axis=1)
            # The two other axes, in the order of ``moveaxis``, make a right-handed frame with x and z, a left-handed
            # one with y; voxel indices are read backwards (z, y, x), which turns the sense once more.
            if leaves != (axis == 1):
                quad = quad[:, ::-1]
            faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    if not faces:
        return np.zeros((0, 3), np.int32)
    return np.ascontiguousarray(np.concatenate(faces), dtype=np.int32)


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals (N, 3) float32 of a mesh: the area-weighted mean of the triangles around each point."""
    a, b, c = (points[triangles[:, n]] for n in range(3))
    faces = np.cross(b - a, c - a)
    total = np.stack(
        [
            sum(np.bincount(triangles[:, n], faces[:, axis], minlength=len(points)) for n in range(3))
            for axis in range(3)
        ],
        axis=1,
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return (total / np.where(length > 0, length, 1)).astype(np.float32)
