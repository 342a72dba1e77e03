"""Parts that the report of one registration and that of a study share: geometry with its sources, versions, names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from ..engine.geometry_file import View
from ..engine.report import versions
from ..engine.volume import Volume
from ..engine.volume_io import volume_name
from . import html_page as page

_FROM_FILE = "the geometry given"


def geometry_section(views: Sequence[View]) -> str:
    """Every number of every view with where it came from."""
    parts = []
    for view in views:
        camera, sources = view.camera, view.sources
        su, sv = camera.pixel_spacing
        cu, cv = camera.principal_point
        rows = [
            ("image", f"{camera.columns} x {camera.rows} px", ""),
            ("source to detector", f"{camera.source_to_detector:.2f} mm", "source_to_detector_mm"),
            ("pixel spacing at the detector", f"{su:.5g} x {sv:.5g} mm", "pixel_spacing_mm"),
            ("principal point (column, row)", f"{cu:.2f}, {cv:.2f} px", "principal_point_px"),
            ("seen", "from the detector (mirrored)" if camera.mirrored else "from the source", "mirrored"),
            ("source in world, LPS", f"{_listed(camera.source.tolist(), 1)} mm", "world_to_camera"),
            ("direction of the beam, LPS", _listed(camera.axis.tolist(), 4), "world_to_camera"),
        ]
        told = [(name, value, _source_of(sources, key) if key else "the image") for name, value, key in rows]
        parts += [page.subtitle(f"View {view.name}"), page.table(("", "value", "where it came from"), told)]
        matrix = matrix_text(camera.projection_matrix.numpy())
        parts += [page.paragraph("Projection matrix, world LPS mm to pixels:", "dim"), page.preformatted(matrix)]
    if any(text.startswith("assumed") for view in views for text in view.sources.values()):
        parts.append(page.paragraph("Assumed numbers are defaults, not measurements: check them.", "alarm"))
    return page.section("Geometry", *parts)


def _listed(values: Sequence[float], decimals: int) -> str:
    return ", ".join(f"{round(value, decimals) + 0.0:.{decimals}f}" for value in values)  # no -0.0


def _source_of(sources: Mapping[str, str], key: str) -> object:
    texts = [text for name, text in sources.items() if name == key or name.startswith(f"{key} (")]
    if not texts:
        return _FROM_FILE
    joined = "; ".join(texts)
    return page.Safe(f'<span class="alarm">{page.escaped(joined)}</span>') if "assumed" in joined else joined


def matrix_text(matrix: np.ndarray) -> str:
    """A matrix, one row a line, its columns below each other."""
    return "\n".join(" ".join(f"{value:14.6f}" for value in row) for row in np.asarray(matrix, dtype=np.float64))


def volume_rows(volume: Volume) -> list[tuple[str, str]]:
    """What is known of a CT without a name: its size, voxels and field."""
    columns, rows, slices = reversed(volume.shape)
    si, sj, sk = volume.spacing
    return [
        ("voxels", f"{columns} x {rows} x {slices}"),
        ("spacing", f"{si:.4g} x {sj:.4g} x {sk:.4g} mm"),
        ("field", f"{columns * si:.0f} x {rows * sj:.0f} x {slices * sk:.0f} mm"),
    ]


def versions_line() -> str:
    """'deepreg2d3d 0.1, Python 3.12, ...'."""
    return ", ".join(f"{name} {number}" for name, number in versions().items())


def today() -> str:
    """Date and time, to the minute, with the offset from UTC."""
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")


def without_paths(texts: Sequence[str], files: Mapping[str, Path | None]) -> list[str]:
    """Texts in which the names of files, which may be those of patients, gave way to what the files are.

    files: what a file is -> its path.
    """
    known = sorted(((str(path), label) for label, path in files.items() if path is not None), key=lambda x: -len(x[0]))
    cleaned = []
    for text in texts:
        for path, label in known:
            for name in (path, Path(path).name):
                if name and name in text:
                    text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", lambda _, label=label: label, text)
            text = text.replace(f"CT '{volume_name(Path(path))}'", "CT")  # as messages call it
        cleaned.append(text)
    return cleaned
