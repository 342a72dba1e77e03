"""Presets whose automatic start looks at few turns and depths, for tests of what is built upon it.

The full one takes ten seconds a view on a small case; Testing/engine/test_wide_search.py tries it.
"""

from __future__ import annotations

from dataclasses import replace

from DeepReg2D3DLib.engine.presets import FAST, Preset, with_automatic_start
from DeepReg2D3DLib.engine.wide_search import WideSettings

NEARBY = WideSettings(out_of_plane_deg=(-6.0, 6.0), in_plane_deg=(0.0,), depths_mm=(0.0,), restarts_deg=())


def quick_automatic_start(preset: Preset) -> Preset:
    """In place of ``with_automatic_start``: for a first pose that is off by 20 mm and 5 degrees, say."""
    return replace(with_automatic_start(preset), search=FAST.search, again=(), wide=NEARBY)
