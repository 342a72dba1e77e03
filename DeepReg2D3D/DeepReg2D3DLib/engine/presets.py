"""Presets: at which resolutions, how often and how carefully a registration iterates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .errors import InputError
from .level import Level
from .ppc import SolverSettings
from .search import SearchSettings
from .wide_search import WideSettings


@dataclass(frozen=True)
class Preset:
    """How a registration runs; methods only differ in their correspondences and weights.

    exact_steps: run every step of every level, whatever moves. learned_solver: what learned methods solve with (None:
    the same as everybody). search: what looks for a better start before the first step (None: nothing); wide: what
    looks farther before that, for a first pose that is hardly more than a guess; again: how to search once more, and
    again, when a result leaves doubt; last_resort: what looks farther than the searches when doubt is left after all
    of them; other_places: how often, before these, the place is tried that a self-check has found to fit nearly as
    well or better; judged: whether a result is told how far to trust it (without, every result counts).
    """

    name: str
    levels: tuple[Level, ...]
    solver: SolverSettings = field(default_factory=SolverSettings)
    learned_solver: SolverSettings | None = None
    search: SearchSettings | None = None
    wide: WideSettings | None = None
    again: tuple[SearchSettings, ...] = ()
    last_resort: WideSettings | None = None
    other_places: int = 3
    exact_steps: bool = False
    judged: bool = True
    least_motion_mm: float = 0.03
    """The registration has converged when a step on the last level moves the contours by less than this, as seen: but
    not before two steps have been extrapolated."""


def _every(step: float, largest: float) -> tuple[float, ...]:
    """Turns in degrees from one side to the other."""
    count = round(largest / step)
    return tuple(step * number for number in range(-count, count + 1))


_ONE_MORE = SearchSettings(
    out_of_plane_deg=_every(12.0, 24.0), in_plane_deg=_every(12.0, 24.0), largest_shift_mm=90.0, rival=0.6
)
_TURNED_FAR = SearchSettings(
    long_side=64,
    out_of_plane_deg=_every(12.0, 48.0),
    in_plane_deg=_every(12.0, 60.0),
    largest_shift_mm=90.0,
    candidates=24,
    rival=0.6,
    turns_apart_deg=14.0,
)
_CLOSE_MESHED = replace(_TURNED_FAR, out_of_plane_deg=_every(8.0, 24.0), in_plane_deg=_every(8.0, 24.0))

ACCURATE = Preset(
    name="accurate",
    levels=(
        Level(160, 5, 40.0, (14, 8), (1e-3, 1e-5), max_points=800),
        Level(320, 8, 25.0, (10, 5), (1e-5, 1e-7), settled_points=2500),
    ),
    search=SearchSettings(),
    again=(_ONE_MORE, _TURNED_FAR, _CLOSE_MESHED),
    last_resort=WideSettings(),
)

FAST = Preset(
    name="fast",
    levels=(
        Level(128, 4, 40.0, (14, 8), (1e-2, 1e-4), max_points=600),
        Level(224, 4, 25.0, (10, 5), (1e-4, 1e-6), max_points=600),
    ),
    search=SearchSettings(
        long_side=80,
        in_plane_deg=(-8.0, 0.0, 8.0),
        candidates=3,
        bases=2,
        trial=replace(SearchSettings().trial, max_points=600),
    ),
)

# One resolution and exactly ten iterations (Jaganathan et al., MICCAI 2021, section 2); plain weighted least squares
# for learned methods, our robust solve for DPPC.
PAPER = Preset(
    name="paper",
    levels=(Level(256, 10, 60.0, (20, 20), (1e-6, 1e-6)),),
    learned_solver=SolverSettings(robust_iterations=0),
    exact_steps=True,
)

PRESETS = {preset.name: preset for preset in (ACCURATE, FAST, PAPER)}


def get_preset(name: str) -> Preset:
    """The preset of a name. Raises InputError, naming the known ones, for any other."""
    if name not in PRESETS:
        raise InputError(f"Unknown preset '{name}'. Known presets: {', '.join(PRESETS)}.")
    return PRESETS[name]


def with_automatic_start(preset: Preset) -> Preset:
    """The preset for a first pose that may be off by 150 mm and 30 degrees."""
    return replace(preset, search=preset.search or SearchSettings(), wide=WideSettings())
