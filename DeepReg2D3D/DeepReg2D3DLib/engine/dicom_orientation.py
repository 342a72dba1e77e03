"""Which of a file's angles and codes decide where the detector was, seen from the patient."""

from __future__ import annotations

import itertools
import math

import numpy as np

from .dicom_detector import Placement
from .dicom_findings import Report
from .dicom_positioner import (
    PATIENT_POSITIONS,
    VIEW_POSITIONS,
    DetectorAxes,
    angles_of_axes,
    axes_as_labelled,
    axes_of_angles,
    axes_of_isocentre,
    axes_of_view,
)
from .dicom_tags import DicomTags, Found, tag_name

_ISOCENTRE, _POSITIONER = "IsocenterReferenceSystemSequence", "PositionerPositionSequence"
_RECUMBENT = {
    "F-10340": "supine", "40199007": "supine", "F-10310": "prone", "1240000": "prone",
    "F-10317": "right", "102535000": "right", "F-10319": "left", "102536004": "left",
}  # fmt: skip
_HEAD_OR_FEET = {
    "F-10470": "HF", "102540008": "HF", "G-5190": "HF", "F-10480": "FF", "102541007": "FF", "G-5191": "FF",
}  # fmt: skip
_POSITION_OF = {"supine": "S", "prone": "P", "right": "DR", "left": "DL"}
_CLOSE_DEG = 3.0
_STILL_MM = 0.5
_LETTERS = {"".join(letters) for count in (1, 2, 3) for letters in itertools.permutations("LRPAHF", count)}


def read_patient_position(tags: DicomTags, report: Report, needed: bool) -> str | None:
    """One of PATIENT_POSITIONS: Patient Position (0018,5100), else the codes of Patient Orientation (0054,0410).

    needed: head first supine is assumed, and reported as such, where the file does not say; else None.
    """
    found = tags.codes("PatientPosition", PATIENT_POSITIONS)
    if found:
        return report.add("patient_position", found.value, "", "file", found.tag)
    recumbent = tags.coded(_RECUMBENT, "PatientOrientationCodeSequence", "PatientOrientationModifierCodeSequence")
    for keyword in ("PatientGantryRelationshipCodeSequence", "PatientEquipmentRelationshipCodeSequence"):
        entering = tags.coded(_HEAD_OR_FEET, keyword)
        if recumbent and entering:
            value = entering.value + _POSITION_OF[recumbent.value]
            return report.add("patient_position", value, "", "file", f"{recumbent.tag} and {entering.tag}")
    if needed:
        return report.add("patient_position", "HFS", "", "assumed", f"{tag_name('PatientPosition')} is missing")
    return None


def read_c_arm_axes(tags: DicomTags, report: Report, frame: int, frames: int) -> DetectorAxes:
    """Axes of the unturned detector of a C-arm.

    By the isocentre's reference system where the file has it and the patient's position (it also tells how the
    detector is turned), else by the positioner's angles in the patient, else by View Position, else the detector in
    front of the patient, which is then assumed.
    """
    by_angles = _by_angles(tags, report, frame, frames)
    has_isocentre = tags.has("PositionerIsocenterPrimaryAngle", _ISOCENTRE)
    position = read_patient_position(tags, report, needed=has_isocentre and by_angles is None)
    by_isocentre = _by_isocentre(tags, report, position) if has_isocentre and position else None
    if by_isocentre and by_angles:
        apart = math.degrees(math.acos(float(np.clip(by_isocentre.towards @ by_angles.towards, -1, 1))))
        if apart > _CLOSE_DEG:
            report.warn(
                f"the angles of {tag_name(_ISOCENTRE)} and those in the patient ({tag_name(_POSITIONER)} or the plain "
                f"tags) are {apart:.1f} degrees apart; those in the patient are taken"
            )
            return by_angles
    if by_isocentre or by_angles:
        return by_isocentre or by_angles
    return _by_view(tags, report) or _assumed(report, f"{tag_name('PositionerPrimaryAngle')} is missing")


def read_fixed_axes(tags: DicomTags, report: Report) -> DetectorAxes:
    """Axes of a detector in a table or stand (DX, CR): positioner angles where there are any, else View Position."""
    by_angles = _by_angles(tags, report, 0, 1)
    read_patient_position(tags, report, needed=False)
    return by_angles or _by_view(tags, report) or _assumed(report, f"{tag_name('ViewPosition')} is missing or oblique")


def placed_axes(axes: DetectorAxes, placement: Placement, tags: DicomTags, report: Report) -> DetectorAxes:
    """Axes of the stored image: the detector's, turned and flipped. Patient Orientation (0020,0020) goes over that."""
    placed = axes.turned(placement.clockwise_deg, placement.flipped)
    letters = tags.codes("PatientOrientation", _LETTERS, separate=True)
    source, origin = placement.source, "file"
    if letters and len(letters.value) == 2:
        labelled = axes_as_labelled(axes, *letters.value)
        if labelled is None:
            report.warn(
                f"{letters.tag} ({letters.value[0]}, {letters.value[1]}) does not fit the direction of the beam; it is "
                "ignored"
            )
        else:
            same = np.allclose(labelled.right, placed.right) and np.allclose(labelled.down, placed.down)
            if placement.source and not same:
                report.warn(f"{letters.tag} contradicts {placement.source}; the former is taken")
            placed, source = labelled, letters.tag
    if not source:
        source, origin = "no tag says it; the patient hangs heads up, seen from the detector", "assumed"
        if not axes.mirrored:
            source = "no tag says it; the patient hangs heads up"
    report.add("image_right", _letters_of(placed.right), "", origin, source)
    report.add("image_down", _letters_of(placed.down), "", origin, source)
    report.add("mirrored", placed.mirrored, "", origin if origin == "assumed" else "derived", source)
    return placed


def _by_angles(tags: DicomTags, report: Report, frame: int, frames: int) -> DetectorAxes | None:
    limits = {"low": -360.0, "high": 360.0}
    first = tags.number("PositionerPrimaryAngle", _POSITIONER, **limits)
    second = tags.number("PositionerSecondaryAngle", _POSITIONER, **limits)
    if first is None and second is None:
        return None
    values = []
    for found, keyword, name in (
        (first, "PositionerPrimaryAngle", "primary_angle"),
        (second, "PositionerSecondaryAngle", "secondary_angle"),
    ):
        value, origin = (found.value, "file") if found else (0.0, "assumed")
        source = found.tag if found else f"{tag_name(keyword)} is missing"
        if found and " in " not in found.tag:  # the plain tags hold for the first frame
            added = angle_increment(tags, keyword, frame, frames)
            if added:
                value, source = value + added.value, f"{source} + {added.tag} for frame {frame + 1}"
        values.append(report.add(name, value, "degrees", origin, source))
    if abs(values[1]) > 90.5:
        report.warn(f"{tag_name('PositionerSecondaryAngle')} is {values[1]:g} degrees, beyond the standard's +-90")
    return axes_of_angles(*values)


def angle_increment(tags: DicomTags, keyword: str, frame: int, frames: int) -> Found | None:
    """What is added to an angle for ``frame`` (from 0), PS3.3 C.8.7.5.1.3: one value a step, or one for each frame."""
    found = tags.numbers(f"{keyword}Increment", low=-360.0, high=360.0)
    if found is None or frames < 2:
        return None
    if len(found.value) == 1:
        return Found(frame * found.value[0], found.tag)
    if len(found.value) == frames:
        return Found(found.value[frame], found.tag)
    tags.complaints.append(f"{found.tag} has {len(found.value)} values for {frames} frames; it is ignored")
    return None


def _by_isocentre(tags: DicomTags, report: Report, position: str) -> DetectorAxes | None:
    def read(*names: str, low: float = -360.0, high: float = 360.0) -> tuple[list[float], list[Found]]:
        found = [tags.number(name, _ISOCENTRE, low=low, high=high) for name in names]
        return [item.value if item else 0.0 for item in found], [item for item in found if item]

    positioner, seen = read(
        "PositionerIsocenterPrimaryAngle",
        "PositionerIsocenterSecondaryAngle",
        "PositionerIsocenterDetectorRotationAngle",
    )
    if not seen:
        return None
    table, _ = read("TableHorizontalRotationAngle", "TableHeadTiltAngle", "TableCradleTiltAngle")
    place, known = read(*(f"Table{axis}PositionToIsocenter" for axis in "XYZ"), low=-1e4, high=1e4)
    if len(known) == 3:
        report.add("table_position", tuple(place), "mm", "file", known[0].tag)
    report.add("isocentre_angles", tuple(positioner), "degrees", "file", seen[0].tag)
    if any(table):
        report.add("table_angles", tuple(table), "degrees", "file", tag_name("TableHorizontalRotationAngle"))
    axes = axes_of_isocentre(tuple(positioner), tuple(table), position)
    primary, secondary = angles_of_axes(axes)
    report.add("beam_in_patient", (primary, secondary), "degrees", "derived", f"{seen[0].tag}, patient {position}")
    return axes


def warn_of_table_motion(tags: DicomTags, report: Report, frame: int) -> None:
    """A run during which the table moves (PS3.3 C.8.7.4): its frames have no isocentre in common in the patient."""
    for keyword in ("TableVerticalIncrement", "TableLateralIncrement", "TableLongitudinalIncrement"):
        found = tags.numbers(keyword)
        if found is None or frame == 0:
            continue
        moved = found.value[0] * frame if len(found.value) == 1 else found.value[min(frame, len(found.value) - 1)]
        if abs(moved) > _STILL_MM:
            report.warn(
                f"the table has moved by {moved:.4g} mm since the first frame ({found.tag}); that is not applied"
            )


def _by_view(tags: DicomTags, report: Report) -> DetectorAxes | None:
    view = tags.codes("ViewPosition", VIEW_POSITIONS)
    if view is None:
        return None
    report.add("view_position", view.value, "", "file", view.tag)
    return axes_of_view(view.value)


def _assumed(report: Report, why: str) -> DetectorAxes:
    report.add("primary_angle", 0.0, "degrees", "assumed", why)
    report.add("secondary_angle", 0.0, "degrees", "assumed", why)
    return axes_of_angles(0.0, 0.0)


def _letters_of(direction: np.ndarray) -> str:
    """'L', 'LA', ...: the letters that a direction has more than a quarter of, the strongest first."""
    parts = [(abs(share), pair[int(share < 0)]) for share, pair in zip(direction, ("LR", "PA", "HF"), strict=True)]
    return "".join(letter for share, letter in sorted(parts, reverse=True) if share > 0.25)
