"""Landmarks in files: landmarks.json names points of the CT and their clicks in the X-rays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .atomic import write_json
from .json_file import read_record
from .landmarks import Landmark

FORMAT = "deepreg2d3d-landmarks"


def load_landmarks(path: str | Path, views: Sequence[str]) -> list[Landmark]:
    """Landmarks of landmarks.json for views of the given names, in their order.

    The file: ``{"format": "deepreg2d3d-landmarks", "version": 1, "coordinate_system": "LPS", "landmarks": [{"name":
    "L3 left pedicle", "ct_mm": [x, y, z], "clicks": [{"view": "AP", "pixel": [u, v]}]}]}``; a pixel is (column, row),
    with whole numbers at the centres of pixels. Raises InputError, naming file and key, for anything else: a name
    twice, a view that the geometry lacks, two clicks of one landmark in one view.
    """
    record = read_record(Path(path), FORMAT)
    landmarks: list[Landmark] = []
    for number, entry in enumerate(record.records("landmarks")):
        name = entry.text("name", f"landmark {number + 1}")
        if any(name == known.name for known in landmarks):
            raise entry.error(f"a landmark '{name}' is there already", "name")
        x, y, z = entry.numbers("ct_mm", (3,)).tolist()
        clicks: dict[int, tuple[float, float]] = {}
        for click in entry.records("clicks", []):
            view = click.text("view")
            if view not in views:
                raise click.error(f"there is no view '{view}'; the geometry has {', '.join(views)}", "view")
            if views.index(view) in clicks:
                raise click.error(f"'{name}' is clicked twice in view '{view}'", "view")
            u, v = click.numbers("pixel", (2,)).tolist()
            clicks[views.index(view)] = (u, v)
        landmarks.append(Landmark(name, (x, y, z), clicks))
    return landmarks


def save_landmarks(landmarks: Sequence[Landmark], views: Sequence[str], path: str | Path) -> None:
    """Write landmarks.json as ``load_landmarks`` reads it."""
    entries = [
        {
            "name": mark.name,
            "ct_mm": list(mark.point),
            "clicks": [{"view": views[view], "pixel": list(pixel)} for view, pixel in sorted(mark.clicks.items())],
        }
        for mark in landmarks
    ]
    write_json(Path(path), {"format": FORMAT, "version": 1, "coordinate_system": "LPS", "landmarks": entries})
