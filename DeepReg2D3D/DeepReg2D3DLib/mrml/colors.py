"""Colour tables of ours."""

from __future__ import annotations

import numpy as np

from .cleanup import add


def color_table(scene, name: str, stops, count: int = 256):
    """A colour table of ours through ``stops`` (place in [0, 1], (r, g, b, alpha)); shared by all overlays."""
    found = scene.GetFirstNodeByName(name)
    if found is not None and found.IsA("vtkMRMLColorTableNode"):
        return found
    node = add(scene, "vtkMRMLColorTableNode", name, "colors")
    node.SetTypeToUser()
    node.SetNumberOfColors(count)
    places, colors = np.array([p for p, _ in stops]), np.array([c for _, c in stops])
    for index in range(count):
        rgba = [float(np.interp(index / max(1, count - 1), places, colors[:, channel])) for channel in range(4)]
        node.SetColor(index, str(index), *rgba)
    node.GetLookupTable().SetRange(0, count - 1)
    return node
