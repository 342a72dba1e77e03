"""From the angles of an X-ray machine to directions in the patient: where the detector is, and how its image lies.

Everything is in the patient's LPS axes (PS3.3 C.7.6.2.1.1: x to the patient's left, y to the back, z to the head). The
results say three things, of which a camera is made: from the source ``towards`` the detector, and along rising columns
(``right``) and rising rows (``down``) of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LETTERS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
"""Letters of Patient Orientation (0020,0020), PS3.3 C.7.6.1.1.1, as LPS directions."""

# The patient's left, back and head, as directions of the table: +X table left, +Y down, +Z table head.
_ON_TABLE = {
    "HFS": ("+X", "+Y", "+Z"), "HFP": ("-X", "-Y", "+Z"), "HFDR": ("-Y", "+X", "+Z"), "HFDL": ("+Y", "-X", "+Z"),
    "FFS": ("-X", "+Y", "-Z"), "FFP": ("+X", "-Y", "-Z"), "FFDR": ("-Y", "-X", "-Z"), "FFDL": ("+Y", "+X", "-Z"),
    "LFS": ("+Z", "+Y", "-X"), "LFP": ("+Z", "-Y", "+X"), "RFS": ("-Z", "+Y", "+X"), "RFP": ("-Z", "-Y", "-X"),
    "AFDR": ("-Y", "-Z", "+X"), "AFDL": ("+Y", "-Z", "-X"), "PFDR": ("-Y", "+Z", "-X"), "PFDL": ("+Y", "+Z", "+X"),
}  # fmt: skip
PATIENT_POSITIONS = tuple(_ON_TABLE)
"""Defined Terms of Patient Position (0018,5100), PS3.3 C.7.3.1.1.2."""

VIEW_POSITIONS = ("AP", "PA", "LL", "RL")
"""View Positions (0018,5101) that tell the direction of the beam; obliques and decubitus views do not."""


@dataclass(frozen=True)
class DetectorAxes:
    """Unit vectors (3,) float64 in the patient's LPS axes; ``right`` and ``down`` lie across ``towards``."""

    towards: np.ndarray
    right: np.ndarray
    down: np.ndarray

    @property
    def mirrored(self) -> bool:
        """True where the image is seen from the detector towards the source."""
        return float(np.cross(self.right, self.down) @ self.towards) < 0

    def turned(self, clockwise_deg: int, flipped: bool = False) -> DetectorAxes:
        """The axes of the image after it was turned clockwise by 0, 90, 180 or 270 degrees and then flipped left-right.

        After a quarter turn clockwise, going right means going up in the old image, and going down means going right.
        """
        right, down = self.right, self.down
        for _ in range(clockwise_deg // 90 % 4):
            right, down = -down, right
        return DetectorAxes(self.towards, -right if flipped else right, down)

    def world_to_camera(self, source_to_isocentre: float) -> Tensor:
        """(4, 4) float64 rigid: the camera's axes, with the world's origin at the isocentre, in front of the source.

        z points to the detector, y down the rows, and x = y x z, which is ``right`` or, where mirrored, its opposite.
        """
        pose = np.eye(4)
        pose[:3, :3] = np.stack([np.cross(self.down, self.towards), self.down, self.towards])
        pose[2, 3] = source_to_isocentre
        return torch.from_numpy(pose)


def axes_of_angles(primary_deg: float, secondary_deg: float) -> DetectorAxes:
    """Axes of a C-arm by Positioner Primary (0018,1510) and Secondary Angle (0018,1511).

    PS3.3 C.8.7.5.1.2 defines both in the patient, whatever the Patient Position: at 0 the patient faces the detector
    (it lies at -y); the primary angle a is like a longitude, +90 (LAO) at the patient's left (+x), -90 (RAO) at the
    right; the secondary b is like a latitude, +90 cranial (+z). A point on that globe is
        towards = (sin a cos b, -cos a cos b, sin b).
    The image is patient-oriented, heads up (PS3.17 FFF.2.1.3.1.2): rows run along the meridian to the feet,
        down = -d towards / db = (sin a sin b, -cos a sin b, -cos b),
    and at 0 the patient is seen face to face, the left on the right side: columns run along the parallel,
        right = (cos a, sin a, 0).
    right x down = -towards, so the image is seen from the detector (mirrored).
    """
    a, b = np.radians([primary_deg, secondary_deg])
    return DetectorAxes(
        towards=np.array([np.sin(a) * np.cos(b), -np.cos(a) * np.cos(b), np.sin(b)]),
        right=np.array([np.cos(a), np.sin(a), 0.0]),
        down=np.array([np.sin(a) * np.sin(b), -np.cos(a) * np.sin(b), -np.cos(b)]),
    )


def angles_of_axes(axes: DetectorAxes) -> tuple[float, float]:
    """Primary and secondary angle in degrees of the direction ``towards`` (the inverse of ``axes_of_angles``)."""
    x, y, z = axes.towards
    return float(np.degrees(np.arctan2(x, -y))), float(np.degrees(np.arcsin(np.clip(z, -1, 1))))


def patient_on_table(position: str) -> np.ndarray:
    """(3, 3) with the patient's left, back and head (the LPS axes) as columns, in table coordinates.

    ``position`` is one of PATIENT_POSITIONS. Table coordinates are those of PS3.3 C.8.19.6.13.1.3. Head first means
    that the head lies at the head of the table, supine that the face looks up, decubitus right that the right side is
    down (C.7.3.1.1.2); the third direction follows, because left, back and head are right-handed.
    """
    unit = {"X": (1.0, 0.0, 0.0), "Y": (0.0, 1.0, 0.0), "Z": (0.0, 0.0, 1.0)}
    return np.stack([np.multiply(unit[name], 1 if sign == "+" else -1) for sign, name in _ON_TABLE[position]], axis=-1)


def axes_of_isocentre(
    positioner_deg: tuple[float, float, float], table_deg: tuple[float, float, float], position: str
) -> DetectorAxes:
    """Axes by the angles of the Isocenter Reference System (0018,9462), PS3.3 C.8.19.6.13.1.

    Isocentre coordinates: +Y down, X and Z horizontal. The positioner has Yp from the isocentre to the source, Xp to
    the right and Zp up the detector for one who looks towards the source (C.8.19.6.13.1.2). Primary Ap1: from -Y to +X
    positive for the detector, which lies at -Yp; secondary Ap2: from the plane XY to +Z positive for Yp, the source.
    Hence Yp = (-sin Ap1 cos Ap2, cos Ap1 cos Ap2, sin Ap2). Detector rotation Ap3: of Zp, clockwise positive for that
    same looker, so from Zp to Xp. These are the rows of R3 R2 R1 of PS3.17 Z.2. For a patient head first supine on a
    level table a positive Ap2 therefore moves the detector to the feet: Ap2 is the opposite of the secondary angle.

    table_deg: horizontal rotation At1 (+Z to +X), head tilt At2 (up positive), cradle tilt At3 (left side up positive),
    as rows of R3 R2 R1 of PS3.17 Z.3, which take isocentre to table coordinates.
    """
    a, b, c = np.radians(positioner_deg)
    first = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    second = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    third = np.array([[np.cos(c), 0, -np.sin(c)], [0, 1, 0], [np.sin(c), 0, np.cos(c)]])
    xp, yp, zp = third @ second @ first
    to_patient = patient_on_table(position).T @ table_rotation(table_deg)
    return DetectorAxes(-to_patient @ yp, to_patient @ xp, -to_patient @ zp)


def table_rotation(table_deg: tuple[float, float, float]) -> np.ndarray:
    """(3, 3) from isocentre to table coordinates, PS3.17 Z.3 (see ``axes_of_isocentre``)."""
    a, b, c = np.radians(table_deg)
    turn = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    cradle = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return cradle @ tilt @ turn


def axes_of_gantry(gantry_deg: float, receptor_deg: float, support_deg: float, position: str) -> DetectorAxes:
    """Axes of an RT Image by Gantry Angle (300A,011E), X-Ray Image Receptor Angle and Patient Support Angle.

    IEC 61217 fixed coordinates: Xf to the right and Zf up for one who faces the gantry, Yf towards it. The gantry turns
    clockwise for that one, from Zf to Xf: the source is at SAD (sin g, 0, cos g). The receptor turns counter-clockwise
    as seen from the source (PS3.3 C.8.8.14.3), the patient support counter-clockwise as seen from above. The image is a
    beam's eye view: columns along +Xr, rows along -Yr (C.8.8.2.7). The head of the table is at the gantry.
    """
    g, r, s = np.radians([gantry_deg, receptor_deg, support_deg])
    xg, yg, zg = np.array([[np.cos(g), 0, -np.sin(g)], [0, 1, 0], [np.sin(g), 0, np.cos(g)]])
    xr, yr = np.cos(r) * xg + np.sin(r) * yg, -np.sin(r) * xg + np.cos(r) * yg
    support = np.array([[np.cos(s), -np.sin(s), 0], [np.sin(s), np.cos(s), 0], [0, 0, 1]])
    table_in_fixed = support @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # columns: table left, down, head
    to_patient = (table_in_fixed @ patient_on_table(position)).T
    return DetectorAxes(-to_patient @ zg, to_patient @ xr, -to_patient @ yr)


def axes_of_view(view: str) -> DetectorAxes:
    """Axes by View Position (0018,5101), PS3.3 C.8.11.5: AP, PA name how the beam goes, LL the side at the detector.

    Images hang heads up; frontal ones show the patient's left on the right side, lateral ones are seen from the
    detector. Patient Orientation, which such files have, says more (``axes_as_labelled``).
    """
    towards = {"AP": (0, 1, 0), "PA": (0, -1, 0), "LL": (1, 0, 0), "RL": (-1, 0, 0)}[view]
    towards, down = np.array(towards, dtype=float), np.array([0.0, 0.0, -1.0])
    right = np.array([1.0, 0.0, 0.0]) if view in ("AP", "PA") else -np.cross(down, towards)
    return DetectorAxes(towards, right, down)


def direction_of_letters(letters: str) -> np.ndarray | None:
    """Direction (3,) of one value of Patient Orientation, as 'LA' or 'F', its first letter counting most; else None."""
    if not 1 <= len(letters) <= 3 or any(letter not in LETTERS for letter in letters):
        return None
    total = sum(np.array(LETTERS[letter], dtype=float) / 2**place for place, letter in enumerate(letters))
    length = float(np.linalg.norm(total))
    return total / length if length > 0.3 else None


def axes_as_labelled(axes: DetectorAxes, row: str, column: str) -> DetectorAxes | None:
    """The one of the eight ways to turn and flip the image that fits Patient Orientation best.

    row, column: its two values, the directions of rising columns and of rising rows. None where they fit none of the
    eight (an axis points along the beam, say), or two of them alike.
    """
    right, down = direction_of_letters(row), direction_of_letters(column)
    if right is None or down is None:
        return None
    ways = [axes.turned(turn, flip) for flip in (False, True) for turn in (0, 90, 180, 270)]
    scores = np.array([(way.right @ right, way.down @ down) for way in ways])
    best, second = np.argsort(-scores.sum(1))[:2]
    if scores[best].min() < 0.3 or scores[best].sum() - scores[second].sum() < 0.1:
        return None
    return ways[best]
