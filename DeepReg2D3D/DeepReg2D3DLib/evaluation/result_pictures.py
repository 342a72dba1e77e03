"""The pictures a registration leaves behind: overlays before and after, an overview of all views, and an animation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..engine.atomic import atomic_path
from ..engine.poses import transform_points
from ..engine.volume import Volume
from ..engine.xray import XRay
from .overlay import RESULT_COLOUR, START_COLOUR, ViewPicture, bone_renderer, footprint, side_by_side, stacked, titled

_PANEL = 360  # pixels of a view's larger side in the animation
_PANEL_VOXELS = 4_000_000  # of its CT: finer ones would not show
_SAME_MM = 0.3  # poses closer than this share a frame of the animation
_FIRST_MS, _EACH_MS, _LAST_MS = 1200, 350, 3000


def file_labels(names: Sequence[str]) -> list[str]:
    """A name of each view that is safe in a file name (letters, digits, dot, dash, underscore), all different."""
    labels: list[str] = []
    for index, name in enumerate(names):
        label = re.sub(r"[^\w.-]+", "_", name).strip("._")[:60] or f"view{index + 1}"
        labels.append(label if label.lower() not in {other.lower() for other in labels} else f"{label}_{index + 1}")
    return labels


def write_pictures(
    folder: str | Path, volume: Volume, xrays: Sequence[XRay], poses: Sequence[Tensor], outcome: str = "result"
) -> list[Path]:
    """Write overlay_<view>_before.png and _after.png, overview.png and iterations.gif; returns their paths.

    poses: ct_to_world (4, 4) of the start and after every iteration. outcome: how the run ended, for the captions;
    an unreliable or interrupted one is captioned so, in red.
    """
    folder = Path(folder)
    renderer, quick = bone_renderer(volume), bone_renderer(volume, _PANEL_VOXELS)
    cuts = [footprint(quick, xray.camera, (poses[0], poses[-1])) for xray in xrays]
    alarm = outcome in ("unreliable", "interrupted")
    outcome = outcome if alarm else "result"
    written: list[Path] = []
    rows = []
    for xray, cut, label in zip(xrays, cuts, file_labels([xray.name for xray in xrays]), strict=True):
        view = ViewPicture(renderer, xray, cut)
        before = view.drawn(poses[0], START_COLOUR)
        after = view.drawn(poses[-1], RESULT_COLOUR)
        for picture, moment in ((titled(before, f"{xray.name}: start"), "before"),
                                (titled(after, f"{xray.name}: {outcome}", alarm=alarm), "after")):  # fmt: skip
            path = folder / f"overlay_{label}_{moment}.png"
            _save(picture, path)
            written.append(path)
        pair = (titled(before, f"{xray.name}: start", notice=False),
                titled(after, f"{xray.name}: {outcome}", alarm=alarm, notice=False))  # fmt: skip
        rows.append(side_by_side(pair))
    overview = titled(stacked(rows), "Outlines of the CT's bones over the X-ray, before and after")
    _save(overview, folder / "overview.png")
    animation = folder / "iterations.gif"
    views = [ViewPicture(quick, xray, cut, _PANEL) for xray, cut in zip(xrays, cuts, strict=True)]
    frames = _frames(views, volume.corners, poses, outcome)
    durations = [_FIRST_MS, *[_EACH_MS] * (len(frames) - 2), _LAST_MS][: len(frames)]
    save_animation(frames, animation, durations)
    return [*written, folder / "overview.png", animation]


def _frames(views: Sequence[ViewPicture], corners: Tensor, poses: Sequence[Tensor], outcome: str) -> list[Image.Image]:
    """A frame for the start and for every iteration. corners: of the CT, (8, 3), whose motion tells poses apart."""
    frames = []
    drawn: list[Image.Image] = []
    drawn_at: Tensor | None = None
    for index, pose in enumerate(poses):
        last = index == len(poses) - 1
        where = transform_points(pose, corners)
        if drawn_at is None or index == 1 or last or float((where - drawn_at).norm(dim=-1).max()) > _SAME_MM:
            colour = START_COLOUR if index == 0 else RESULT_COLOUR
            drawn = [titled(view.drawn(pose, colour), view.name, notice=False) for view in views]
            drawn_at = where
        step = "start" if index == 0 else f"iteration {index} of {len(poses) - 1}"
        title = f"{step}: {outcome}" if last and index else step
        frames.append(titled(side_by_side(drawn), title, alarm=last and outcome != "result"))
    return frames


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as part:
        picture.save(part, format="PNG")


def save_animation(frames: Sequence[Image.Image], path: Path, durations: Sequence[int]) -> None:
    """Write frames of one size as a GIF that repeats; durations: ms of each."""
    # One palette for all frames, so that the grey of the X-ray stands still: from the two with the most colours.
    palette = stacked([frames[0], frames[-1]]).quantize(256, Image.Quantize.MEDIANCUT)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    with atomic_path(path) as part:
        indexed[0].save(
            part,
            format="GIF",
            save_all=True,
            append_images=indexed[1:],
            duration=list(durations),
            loop=0,
            optimize=False,
        )
