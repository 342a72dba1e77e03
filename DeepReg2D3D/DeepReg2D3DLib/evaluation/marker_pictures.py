"""Pictures of markers: where each was clicked in an X-ray, and where the CT's marker is seen at a pose."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..engine.camera import Camera
from ..engine.landmarks import Landmark
from ..engine.poses import transform_points
from .overlay import REFERENCE_COLOUR, ViewPicture

CLICK_COLOUR = (120, 255, 120)
CAPTION = "crosses: the clicks; circles: the CT's markers at the reference"
_ARM, _RADIUS, _FONT = 7, 9, 13


def marker_picture(
    view: ViewPicture, camera: Camera, index: int, landmarks: Sequence[Landmark], ct_to_world: Tensor
) -> Image.Image:
    """The X-ray with the clicks made in it, numbered as in ``landmarks``, and the projections at a pose (4, 4).

    camera: of the whole X-ray, in whose pixels the clicks are; index: of the view, by which clicks are told.
    """
    # Cutting and scaling change the intrinsics alone, so that they say where a pixel of the X-ray went.
    to_picture = view.camera.intrinsics @ torch.linalg.inv(camera.intrinsics)
    picture = view.drawn_over([])
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_FONT)
    for number, mark in enumerate(landmarks, start=1):
        if index not in mark.clicks:
            continue
        world = transform_points(ct_to_world, torch.tensor([mark.point], dtype=torch.float64))
        u, v = view.camera.project_world(world)[0].tolist()
        draw.ellipse((u - _RADIUS, v - _RADIUS, u + _RADIUS, v + _RADIUS), outline=REFERENCE_COLOUR, width=2)
        clicked = to_picture @ torch.tensor([*mark.clicks[index], 1.0], dtype=torch.float64)
        u, v = (clicked[:2] / clicked[2]).tolist()
        draw.line((u - _ARM, v, u + _ARM, v), fill=CLICK_COLOUR, width=1)
        draw.line((u, v - _ARM, u, v + _ARM), fill=CLICK_COLOUR, width=1)
        draw.text((u + _RADIUS + 3, v - _RADIUS - 3), str(number), fill=CLICK_COLOUR, font=font, anchor="ls")
    return picture
