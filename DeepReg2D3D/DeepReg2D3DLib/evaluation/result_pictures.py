"""The pictures a registration leaves behind: overlays before and after, an overview of all views, and an animation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..engine.atomic import atomic_path
from ..engine.volume import Volume
from ..engine.xray import XRay
from .overlay import RESULT_COLOUR, START_COLOUR, ViewPicture, bone_renderer, side_by_side, stacked, titled

_PANEL = 360  # pixels of a view's larger side in the animation
_FIRST_MS, _EACH_MS, _LAST_MS = 1200, 350, 3000


def file_labels(names: Sequence[str]) -> list[str]:
    """A name of each view that is safe in a file name (letters, digits, dot, dash, underscore), all different."""
    labels: list[str] = []
    for index, name in enumerate(names):
        label = re.sub(r"[^\w.-]+", "_", name).strip("._") or f"view{index + 1}"
        labels.append(label if label.lower() not in {other.lower() for other in labels} else f"{label}_{index + 1}")
    return labels


def write_pictures(
    folder: str | Path, volume: Volume, xrays: Sequence[XRay], poses: Sequence[Tensor], outcome: str = "result"
) -> list[Path]:
    """Write overlay_<view>_before.png and _after.png, overview.png and iterations.gif; returns their paths.

    poses: ct_to_world (4, 4) of the start and after every iteration. outcome: how the run ended, for the captions;
    "unreliable" is written in red.
    """
    folder = Path(folder)
    renderer = bone_renderer(volume)
    alarm = outcome == "unreliable"
    written: list[Path] = []
    rows = []
    for xray, label in zip(xrays, file_labels([xray.name for xray in xrays]), strict=True):
        view = ViewPicture(renderer, xray, (poses[0], poses[-1]))
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
    _save_animation(_frames(renderer, xrays, poses, outcome), animation)
    return [*written, folder / "overview.png", animation]


def _frames(renderer, xrays: Sequence[XRay], poses: Sequence[Tensor], outcome: str) -> list[Image.Image]:
    views = [ViewPicture(renderer, xray, (poses[0], poses[-1]), _PANEL) for xray in xrays]
    frames = []
    for index, pose in enumerate(poses):
        last = index == len(poses) - 1
        colour = START_COLOUR if index == 0 else RESULT_COLOUR
        step = "start" if index == 0 else f"iteration {index} of {len(poses) - 1}"
        title = f"{step}: {outcome}" if last and index else step
        panels = side_by_side([titled(view.drawn(pose, colour), view.name, notice=False) for view in views])
        frames.append(titled(panels, title, alarm=last and outcome == "unreliable"))
    return frames


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as part:
        picture.save(part, format="PNG")


def _save_animation(frames: Sequence[Image.Image], path: Path) -> None:
    # One palette for all frames, so that the grey of the X-ray stands still: from the two with the most colours.
    palette = stacked([frames[0], frames[-1]]).quantize(256, Image.Quantize.MEDIANCUT)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [_FIRST_MS, *[_EACH_MS] * (len(frames) - 2), _LAST_MS][: len(frames)]
    with atomic_path(path) as part:
        indexed[0].save(
            part, format="GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False
        )
