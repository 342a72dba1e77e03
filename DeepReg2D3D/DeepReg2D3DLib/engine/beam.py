"""First poses without a look at the images: the patient turned as a C-arm's angles say, the CT or a region in the beam.

Angles are those of a C-arm in the patient, as DICOM defines Positioner Primary and Secondary Angle (PS3.3
C.8.7.5.1.2): LAO positive and RAO negative, CRA positive and CAU negative, 0 with the detector before the patient.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from .camera import Camera
from .dicom_positioner import DetectorAxes, angles_of_axes, axes_of_angles
from .errors import InputError
from .initial_pose import middle_of_beams
from .poses import make_pose, transform_vectors

PRESET_ANGLES = {
    "AP": (180.0, 0.0),
    "PA": (0.0, 0.0),
    "LL": (90.0, 0.0),
    "RL": (-90.0, 0.0),
    "LAO 30": (30.0, 0.0),
    "RAO 30": (-30.0, 0.0),
    "CRA 30": (0.0, 30.0),
    "CAU 30": (0.0, -30.0),
}
"""Usual views: (primary, secondary) in degrees. AP and PA say how the beam goes, LL and RL which side is at the
detector (the left one in LL)."""
_TURNS = {"LAO": (0, 1.0), "RAO": (0, -1.0), "CRA": (1, 1.0), "CAU": (1, -1.0)}
_LARGEST_DEG = (180.0, 90.0)


def parse_angles(text: str) -> tuple[float, float]:
    """Primary and secondary angle in degrees of "AP", "PA", "LL", "RL", "LAT" (LL), "LAO 30", "RAO 30 CRA 15" ...

    Raises InputError for anything else.
    """
    words = re.findall(r"[A-Z]+|\d+(?:\.\d+)?|[^A-Z0-9.\s,/]+", text.upper())
    name = "".join(words)
    if name in ("AP", "PA", "LL", "RL", "LAT"):
        return PRESET_ANGLES["LL" if name == "LAT" else name]
    angles: list[float | None] = [None, None]
    pairs = list(zip(words[::2], words[1::2], strict=False))
    known = bool(words) and len(words) % 2 == 0 and all(turn in _TURNS for turn, _ in pairs)
    for turn, number in pairs if known else ():
        axis, sign = _TURNS[turn]
        known = known and angles[axis] is None and number[0].isdigit() and float(number) <= _LARGEST_DEG[axis]
        angles[axis] = sign * float(number) if known else None
    if not known:
        raise InputError(
            f"'{text}' is no direction of view: give AP, PA, LL, RL, or angles such as 'LAO 30' or 'RAO 20 CRA 15' "
            f"(LAO and RAO up to {_LARGEST_DEG[0]:g}, CRA and CAU up to {_LARGEST_DEG[1]:g} degrees)."
        )
    return angles[0] or 0.0, angles[1] or 0.0


def pose_from_angles(
    cameras: Sequence[Camera], primary_deg: float, secondary_deg: float, ct_point: Tensor, view: int = 0
) -> Tensor:
    """ct_to_world (4, 4) float64 with which ``cameras[view]`` sees the patient as a C-arm at these angles does.

    The image hangs heads up; whether it is mirrored is the camera's affair. ct_point (3,), CT LPS mm, usually the CT's
    centre or that of a region, is put in the middle of the beams of all cameras.
    """
    axes = axes_of_angles(primary_deg, secondary_deg)
    ct_to_camera = axes.world_to_camera(0.0)[:3, :3]
    rotation = cameras[view].world_to_camera[:3, :3].T @ ct_to_camera
    return put_in_beam(cameras, make_pose(rotation, torch.zeros(3, dtype=torch.float64)), ct_point)


def put_in_beam(cameras: Sequence[Camera], ct_to_world: Tensor, ct_point: Tensor) -> Tensor:
    """The pose (4, 4) moved, not turned, so that a point of the CT (3,) lies where the cameras' middle rays meet."""
    rotation = ct_to_world[:3, :3].to(torch.float64)
    return make_pose(rotation, middle_of_beams(cameras) - rotation @ ct_point.to(torch.float64))


def view_angles(camera: Camera, ct_to_world: Tensor) -> tuple[float, float, float]:
    """Primary and secondary angle and the turn of the image (clockwise from heads up), in degrees, of a view at a pose.

    The inverse of ``pose_from_angles``, for showing where a C-arm stands about the patient.
    """
    camera_to_ct = camera.ct_to_camera(ct_to_world.to(torch.float64))[:3, :3].T
    right, down, towards = camera_to_ct.T.numpy()
    primary, secondary = angles_of_axes(DetectorAxes(towards, right, down))
    upright = axes_of_angles(primary, secondary).world_to_camera(0.0)[:3, :3]
    seen = transform_vectors(make_pose(upright, torch.zeros(3, dtype=torch.float64)), camera_to_ct.T[1][None])[0]
    turn = math.degrees(math.atan2(float(seen[0]), float(seen[1])))
    return primary, secondary, -turn if camera.mirrored else turn
