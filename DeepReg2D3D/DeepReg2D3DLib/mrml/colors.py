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
    at = np.linspace(0.0, 1.0, count)
    table = np.stack([np.interp(at, places, colors[:, channel]) for channel in range(4)], axis=1)
    for index, rgba in enumerate(table.tolist()):
        node.SetColor(index, str(index), *rgba)
    node.GetLookupTable().SetRange(0, count - 1)
    return node
