"""The part of an X-ray that a level works on: where the CT may be seen, at the level's resolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .errors import DegenerateError, InputError
from .poses import invert_pose
from .surface import SurfacePoints
from .xray import XRay


def region_of_interest(
    surface: SurfacePoints, ct_to_camera: Tensor, xray: XRay, margin_mm: float
) -> tuple[int, int, int, int]:
    """(first column, first row, columns, rows) of the X-ray in which the surface is seen at a pose (4, 4).

    ``margin_mm`` is added all round, in mm at the depth of the points, for the error of the pose. Raises
    DegenerateError when the CT is behind the source or projects beside the image.
    """
    camera = xray.camera
    points = _in_camera(surface, ct_to_camera)
    ahead = points[2] > 1.0
    if not bool(ahead.all()):
        points = points[:, ahead]
    if points.shape[1] == 0:
        raise DegenerateError(
            f"View '{xray.name}': at this pose the CT lies behind the X-ray source. Correct the first "
            "pose or the geometry."
        )
    k = camera.intrinsics.to(points)
    pixels = (k[:2] @ points) / points[2]
    margin = margin_mm * float(k[1, 1]) / float(points[2].median())
    low, high = (pixels.amin(1) - margin).tolist(), (pixels.amax(1) + margin).tolist()
    first = [max(0, math.floor(x)) for x in low]
    last = [min(n - 1, math.ceil(x)) for x, n in zip(high, (camera.columns, camera.rows), strict=True)]
    if last[0] - first[0] < 8 or last[1] - first[1] < 8:
        raise DegenerateError(
            f"View '{xray.name}': at this pose the CT projects beside the image. Correct the first pose or geometry."
        )
    return first[0], first[1], last[0] - first[0] + 1, last[1] - first[1] + 1


def _in_camera(surface: SurfacePoints, rows: Tensor) -> Tensor:
    """Coordinates (R, N) in the camera frame of all surface points, by the first R rows (R or more, 4) of a pose."""
    rows = rows[:3].to(surface.points)
    return rows[:, :3] @ surface.columns[0] + rows[:, 3:]


def refuse_source_inside(surface: SurfacePoints, ct_to_camera: Tensor, name: str) -> None:
    """Raise InputError where the X-ray source lies among the CT's bones, which no X-ray was ever taken from."""
    source = invert_pose(ct_to_camera)[:3, 3].to(surface.points)
    low, high = surface.points.amin(0), surface.points.amax(0)
    if bool(((source > low) & (source < high)).all()):
        raise InputError(
            f"View '{name}': at this pose the X-ray source lies inside the CT. Correct the first pose, or the "
            "geometry's world_to_camera: it moves world mm (LPS) to the camera, whose origin is the source."
        )


def cropped_xray(xray: XRay, region: tuple[int, int, int, int]) -> XRay:
    """The X-ray inside (first column, first row, columns, rows), which must lie within the image."""
    column, row, columns, rows = region
    window = (..., slice(row, row + rows), slice(column, column + columns))
    return XRay(
        xray.line_integral[window].contiguous(),
        xray.mask[window].contiguous(),
        xray.camera.cropped(column, row, columns, rows),
        xray.name,
    )


def level_xray(xray: XRay, region: tuple[int, int, int, int], long_side: int) -> XRay:
    """The region of an X-ray with ``long_side`` pixels along its longer side in mm; never finer than it was taken."""
    part = cropped_xray(xray, region)
    su, sv = part.camera.pixel_spacing
    width, height = part.camera.columns * su, part.camera.rows * sv
    spacing = max(max(width, height) / long_side, min(su, sv))
    columns, rows = max(8, round(width / spacing)), max(8, round(height / spacing))
    return part.resized(columns, rows)


def pixel_at_depth(xray: XRay, depth: float) -> float:
    """Size in mm that one pixel (along a row's direction v) covers at ``depth`` mm from the source."""
    return depth / float(xray.camera.intrinsics[1, 1])


def depth_of(surface: SurfacePoints, ct_to_camera: Tensor) -> float:
    """Median depth in mm of the surface in the camera frame."""
    return float(_in_camera(surface, ct_to_camera[..., 2:3, :])[0].median())


def field_is_empty(xray: XRay) -> bool:
    """True where hardly any pixel of the X-ray is valid."""
    return float(torch.mean(xray.mask.to(torch.float32))) < 0.01
