"""Pictures of a pose: the X-ray in grey with the outlines of the CT's bones, drawn at that pose, in colour over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..engine.camera import Camera
from ..engine.drr import DrrRenderer
from ..engine.volume import WATER_PER_MM, Volume
from ..engine.xray import XRay
from .edges import edge_opacity, smooth

START_COLOUR = (255, 150, 40)
RESULT_COLOUR = (60, 235, 255)
REFERENCE_COLOUR = (255, 150, 40)
NOTICE = "Research software: verify by eye"
BONE_HU = 150
_INK = (235, 235, 235)
_PAPER = (18, 18, 22)
_ALARM = (255, 90, 80)
_MARGIN = 0.12  # free rim around the CT's footprint, as a share of its larger side


def bone_renderer(volume: Volume, most_voxels: int = 16_000_000) -> DrrRenderer:
    """Renderer of the CT's bones alone (attenuation above that of 150 HU), coarsened to at most ``most_voxels``.

    Outlines of bone lie where a person looks to judge a registration; those of lungs and skin move with every breath.
    A CT without any such voxel is rendered whole.
    """
    body = volume.cropped_to_body()
    bone = body.hu.clamp(min=BONE_HU) - BONE_HU
    if not bool((bone > 0).any()):
        bone = body.hu.clamp(min=-1000) + 1000
    # Thresholded before it is coarsened, so that thin bone keeps its strength.
    part = replace(body, hu=bone.to(body.hu.dtype))
    excess = (bone.numel() / most_voxels) ** (1 / 3)
    if excess > 1:
        part = part.resampled(tuple(excess * own for own in part.spacing))
    return DrrRenderer(part.hu.to(torch.float32) * (WATER_PER_MM / 1000), part.ijk_to_ct)


def grey_levels(line_integral: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The X-ray for the eye, (H, W) in 0 to 1, bone bright, dark outside the mask (H, W) bool.

    Three quarters of the slow changes of brightness (thick against thin body) are taken away, so that vertebrae show
    beside lungs; the brightest and darkest percent of the valid pixels are clipped.
    """
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    sigma = max(line_integral.shape) / 14
    cover = mask.astype(np.float32)
    slow = smooth(line_integral.astype(np.float32) * cover, sigma) / np.maximum(smooth(cover, sigma), 1e-2)
    flat = line_integral - 0.75 * slow
    low, high = np.quantile(flat[mask], [0.01, 0.993])
    return np.clip((flat - low) / max(high - low, 1e-6), 0, 1).astype(np.float32) * cover


Cut = tuple[int, int, int, int]
"""(left, top, columns, rows) of a part of an image."""


class ViewPicture:
    """One view, cut to where the CT lies and scaled to ``longest`` pixels, on which poses are drawn."""

    def __init__(self, renderer: DrrRenderer, xray: XRay, cut: Cut, longest: int = 640) -> None:
        """cut: see ``footprint``."""
        self.renderer = renderer
        self.name = xray.name
        left, top, columns, rows = cut
        camera = xray.camera.cropped(left, top, columns, rows)
        # No larger than twice the X-ray's own pixels: more would show nothing but interpolation.
        scale = min(longest / max(columns, rows), 2.0)
        window = (..., slice(top, top + rows), slice(left, left + columns))
        part = replace(xray, line_integral=xray.line_integral[window], mask=xray.mask[window], camera=camera)
        part = part.resized(max(16, round(columns * scale)), max(16, round(rows * scale)))
        self.camera = part.camera
        self.mask = part.mask[0, 0].cpu().numpy()
        self.grey = grey_levels(part.line_integral[0, 0].cpu().numpy(), self.mask)

    def outlines(self, ct_to_world: Tensor) -> np.ndarray:
        """Opacity (H, W) of the bone outlines at a pose (4, 4)."""
        drr = _render(self.renderer, self.camera, ct_to_world)
        return edge_opacity(drr, self.mask)

    def drawn(self, ct_to_world: Tensor, colour: tuple[int, int, int]) -> Image.Image:
        """The X-ray with the outlines at a pose (4, 4) in ``colour``."""
        return self.drawn_over([(ct_to_world, colour)])

    def drawn_over(self, layers: Sequence[tuple[Tensor, tuple[int, int, int]]]) -> Image.Image:
        """The X-ray with the outlines at several poses (4, 4), each in its colour, the last on top."""
        blended = np.repeat(235.0 * self.grey[..., None], 3, axis=-1)
        for ct_to_world, colour in layers:
            opacity = 0.9 * self.outlines(ct_to_world)[..., None]
            blended = blended * (1 - opacity) + np.array(colour, np.float32) * opacity
        return Image.fromarray(blended.round().astype(np.uint8), "RGB")


def side_by_side(pictures: Sequence[Image.Image], gap: int = 6) -> Image.Image:
    """Pictures in a row, aligned at their tops."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), _PAPER)
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def stacked(pictures: Sequence[Image.Image], gap: int = 6) -> Image.Image:
    """Pictures below each other, aligned at their left."""
    height = sum(picture.height for picture in pictures) + gap * (len(pictures) - 1)
    column = Image.new("RGB", (max(picture.width for picture in pictures), height), _PAPER)
    top = 0
    for picture in pictures:
        column.paste(picture, (0, top))
        top += picture.height + gap
    return column


def titled(picture: Image.Image, title: str, *, alarm: bool = False, notice: bool = True) -> Image.Image:
    """The picture with a line of text above it and, with ``notice``, the research notice below it."""
    head, foot = 26, 20 if notice else 0
    framed = Image.new("RGB", (picture.width, picture.height + head + foot), _PAPER)
    framed.paste(picture, (0, head))
    draw = ImageDraw.Draw(framed)
    _text(draw, title, (6, head / 2), 15, picture.width - 12, _ALARM if alarm else _INK)
    if notice:
        _text(draw, NOTICE, (6, head + picture.height + foot / 2), 12, picture.width - 12, (170, 170, 175))
    return framed


def _text(draw: ImageDraw.ImageDraw, text: str, place: tuple[float, float], size: int, room: int, ink) -> None:
    text = " ".join(text.split())  # of a name with a line break in it
    font = ImageFont.load_default(size)
    while size > 7 and draw.textlength(text, font) > room:
        size -= 1
        font = ImageFont.load_default(size)
    draw.text(place, text, fill=ink, font=font, anchor="lm")


def _render(renderer: DrrRenderer, camera: Camera, ct_to_world: Tensor) -> np.ndarray:
    pose = camera.ct_to_camera(ct_to_world.to("cpu", torch.float64))[None]
    with torch.inference_mode():
        return renderer(pose, camera.intrinsics, camera.size)[0, 0].cpu().numpy()


def footprint(renderer: DrrRenderer, camera: Camera, poses: Sequence[Tensor]) -> Cut:
    """The part of the image in which the CT shows at any of the poses, with a rim.

    At least a quarter of the image's larger side; the whole image where the CT shows nowhere.
    """
    scale = 128 / max(camera.columns, camera.rows)
    small = camera.resized(max(8, round(camera.columns * scale)), max(8, round(camera.rows * scale)))
    seen = np.zeros(small.size, bool)
    for pose in poses:
        drr = _render(renderer, small, pose)
        seen |= drr > 0.02 * max(float(drr.max()), 1e-6)
    if not seen.any():
        return 0, 0, camera.columns, camera.rows
    least = max(camera.columns, camera.rows) / 4
    ends = []
    for axis, size in ((0, camera.columns), (1, camera.rows)):
        lines = np.flatnonzero(seen.any(axis))
        step = size / seen.shape[1 - axis]
        first, last = lines[0] * step, (lines[-1] + 1) * step
        ends.append([first, last])
    rim = _MARGIN * max(last - first for first, last in ends)
    box = []
    for (first, last), size in zip(ends, (camera.columns, camera.rows), strict=True):
        wanted = max(last - first + 2 * rim, least)
        middle = 0.5 * (first + last)
        low = max(0, math.floor(middle - wanted / 2))
        high = min(size, math.ceil(middle + wanted / 2))
        box.append((low, high - low))
    return box[0][0], box[1][0], box[0][1], box[1][1]
