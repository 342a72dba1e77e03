"""A pose from landmarks that were clicked in Slicer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.errors import InputError
from ..engine.landmarks import Landmark, solve_landmarks
from ..engine.xray import XRay


def landmark_pose(landmarks: Sequence[Mapping[str, Any]], views: Mapping[str, XRay]) -> dict[str, Any]:
    """The answer to ``landmark_pose``: the pose, what is left at every click, and how sure it is.

    landmarks: name, point (CT mm, LPS) and clicks, a pixel (u, v) by the name of its view. Raises InputError.
    """
    names = list(views)
    marks = []
    for mark in landmarks:
        unknown = [view for view in mark["clicks"] if view not in views]
        if unknown:
            raise InputError(f"Landmark '{mark['name']}' is clicked in '{unknown[0]}', which is no X-ray view.")
        clicks = {names.index(view): (pixel[0], pixel[1]) for view, pixel in mark["clicks"].items()}
        marks.append(Landmark(mark["name"], tuple(mark["point"]), clicks))
    solved = solve_landmarks(marks, [view.camera for view in views.values()])
    return {
        "ct_to_world": solved.ct_to_world.tolist(),
        "clicks": [
            {
                "landmark": click.landmark,
                "view": names[click.view],
                "pixels": click.pixels,
                "mm": click.mm,
                "doubtful": click.doubtful,
            }
            for click in solved.clicks
        ],
        "rms_mm": solved.rms_mm,
        "in_plane_mm": solved.in_plane_mm,
        "depth_mm": solved.depth_mm,
        "rotation_deg": solved.rotation_deg,
    }
