"""The camera of a DICOM X-ray image, with the source of each of its numbers. Nothing else of the file is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .camera import Camera
from .dicom_detector import read_placement, read_principal_point, warn_of_tilt
from .dicom_distances import Distances, read_distances
from .dicom_findings import Report
from .dicom_orientation import (
    angle_increment,
    placed_axes,
    read_c_arm_axes,
    read_fixed_axes,
    read_patient_position,
    warn_of_table_motion,
)
from .dicom_positioner import DetectorAxes, angles_of_axes
from .dicom_rt_image import read_rt_axes, read_rt_distances, read_rt_principal_point, read_rt_spacing
from .dicom_spacing import read_spacing
from .dicom_tags import DicomTags, quiet, tag_name
from .errors import InputError

Frame = int | str | None
"""Frame number from 1, 'mean' or 'maximum' over all frames, or None: the only or the first one."""

OVER_FRAMES = ("mean", "maximum")
MAX_SIDE = 32768
_MAX_FRAMES = 100_000
_STILL_DEG = 0.05
_C_ARMS, _FIXED, _RT = ("XA", "RF", "XRF"), ("DX", "CR"), ("RTIMAGE",)
_OTHERS = ("CT", "MR", "PT", "NM", "US", "SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "OT", "SC", "DOC")
_OTHER_X_RAYS = ("MG", "PX", "IO", "DG", "OPT", "XC")
_PLANES = {"BIPLANE A": "A", "BIPLANE B": "B", "PLANE A": "A", "PLANE B": "B"}
_BIPLANE_RETIRED = "1.2.840.10008.5.1.4.1.1.12.3"


@dataclass(frozen=True)
class DicomGeometry:
    """A view of a DICOM file.

    camera: world is the patient's LPS axes about the isocentre. Where numbers were missing they are defaults.
    report: every number with its source, what is missing, and contradictions.
    frame: number from 1, 'mean' or 'maximum'; frames: how many the file has.
    """

    camera: Camera
    report: Report
    modality: str
    frame: int | str
    frames: int

    @property
    def complete(self) -> bool:
        """True where the file says all that a projection needs: source to detector distance and spacing there."""
        return not self.report.missing


def read_dicom_geometry(path: str | Path, frame: Frame = None) -> DicomGeometry:
    """The camera that took a frame of a DICOM X-ray image.

    XA, RF (plain and enhanced), DX, CR and RTIMAGE are read by their own rules; see ``dicom_positioner`` for the
    frames and signs. Raises InputError for files that are no DICOM image, are of another kind, or lack the frame.
    """
    with quiet():
        return _read(Path(path), frame)


def _read(path: Path, frame: Frame) -> DicomGeometry:
    tags = DicomTags.read(path)
    report = Report()
    try:
        modality = _modality(tags)
        columns = tags.count("Columns", None, MAX_SIDE)
        rows = tags.count("Rows", None, MAX_SIDE)
        frames = max(tags.count("NumberOfFrames", 1, _MAX_FRAMES), tags.per_frame_items)
        number = check_frame(frame, frames)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    report.add("modality", modality, "", "file", tag_name("Modality"))
    report.add("image_size", (float(columns), float(rows)), "px", "file", "Columns and Rows (0028,0011), (0028,0010)")
    _tell_frame(number, frame, frames, report)
    if number in OVER_FRAMES:
        _refuse_motion(tags, frames, path)
    index = number - 1 if isinstance(number, int) else 0
    tags = tags.of_frame(index)
    if modality in _RT:
        distances, spacing, principal, axes = _rt_image(tags, report, columns, rows)
    else:
        distances, spacing, principal, axes = _projection(tags, report, columns, rows, modality, index, frames)
    for complaint in tags.complaints:
        report.warn(complaint)
    camera = Camera.from_parameters(
        source_to_detector=distances.source_to_detector,
        pixel_spacing=spacing,
        principal_point=principal,
        world_to_camera=axes.world_to_camera(distances.source_to_isocentre),
        columns=columns,
        rows=rows,
        mirrored=axes.mirrored,
        name=_name(tags, axes),
    )
    return DicomGeometry(camera, report, modality, number, frames)


def check_frame(frame: Frame, frames: int) -> int | str:
    """The frame asked for, checked: a number from 1, 'mean' or 'maximum'. Raises InputError."""
    if frame is None:
        return 1
    if frame in OVER_FRAMES:
        return frame if frames > 1 else 1
    if isinstance(frame, bool) or not isinstance(frame, int):
        raise InputError(f"frame '{frame}' is unknown; give a number from 1, or {' or '.join(OVER_FRAMES)}.")
    if not 1 <= frame <= frames:
        raise InputError(f"has {frames} frame{'s' if frames > 1 else ''}, so there is no frame {frame}.")
    return frame


def _modality(tags: DicomTags) -> str:
    found = tags.codes("Modality", (*_C_ARMS, *_FIXED, *_RT, *_OTHERS, *_OTHER_X_RAYS))
    if tags.words("SOPClassUID", (_BIPLANE_RETIRED,)):
        raise InputError("is of the retired biplane kind, with two planes in one image; export each plane by itself.")
    if found is None:
        if not tags.has("Rows"):
            raise InputError("holds no image, or is damaged.")
        return "unknown"
    if found.value in _OTHERS:
        hint = "; a CT is given with --ct" if found.value == "CT" else ""
        raise InputError(f"{found.tag} is {found.value}, which is no X-ray image{hint}.")
    return found.value


def _tell_frame(number: int | str, asked: Frame, frames: int, report: Report) -> None:
    if frames == 1:
        return
    source = f"of {frames} by {tag_name('NumberOfFrames')}"
    if isinstance(number, int):
        report.add("frame", float(number), "", "assumed" if asked is None else "derived", source)
    else:
        report.add("frame", number, "", "derived", source)


def _refuse_motion(tags: DicomTags, frames: int, path: Path) -> None:
    """A mean over frames of a C-arm that moves shows nothing."""
    moved = 0.0
    for keyword in ("PositionerPrimaryAngle", "PositionerSecondaryAngle"):
        added = [angle_increment(tags, keyword, index, frames) for index in (0, frames // 2, frames - 1)]
        per_frame = [
            tags.of_frame(index).number(keyword, "PositionerPositionSequence") for index in (0, frames // 2, frames - 1)
        ]
        for values in ([item.value for item in added if item], [item.value for item in per_frame if item]):
            moved = max(moved, max(values, default=0.0) - min(values, default=0.0))
    if moved > _STILL_DEG:
        raise InputError(f"{path}: the C-arm turns by {moved:.1f} degrees over the frames; choose one frame.")


def _rt_image(
    tags: DicomTags, report: Report, columns: int, rows: int
) -> tuple[Distances, tuple[float, float], tuple[float, float], DetectorAxes]:
    distances = read_rt_distances(tags, report)
    spacing = read_rt_spacing(tags, report, columns, rows)
    principal = read_rt_principal_point(tags, report, columns, rows, spacing)
    position = read_patient_position(tags, report, needed=True)
    assert position is not None
    axes = read_rt_axes(tags, report, position)
    report.add("mirrored", axes.mirrored, "", "derived", "a beam's eye view, PS3.3 C.8.8.2.7")
    return distances, spacing, principal, axes


def _projection(
    tags: DicomTags, report: Report, columns: int, rows: int, modality: str, index: int, frames: int
) -> tuple[Distances, tuple[float, float], tuple[float, float], DetectorAxes]:
    c_arm = modality in _C_ARMS
    distances = read_distances(tags, report, c_arm)
    spacing = read_spacing(tags, report, columns, rows, distances)
    placement = read_placement(tags, report)
    principal = read_principal_point(tags, report, columns, rows, spacing, placement)
    warn_of_tilt(tags, report)
    warn_of_table_motion(tags, report, index)
    axes = read_c_arm_axes(tags, report, index, frames) if c_arm else read_fixed_axes(tags, report)
    return distances, spacing, principal, placed_axes(axes, placement, tags, report)


def _name(tags: DicomTags, axes: DetectorAxes) -> str:
    """A name from the plane or the angles: 'A', 'AP', 'LAO30', 'RAO20CRA10'. File names may hold names of patients."""
    planes = tags.words("ImageType", _PLANES) | tags.words("PlaneIdentification", _PLANES)
    if len(planes) == 1:
        return _PLANES[planes.pop()]
    primary, secondary = (round(angle) for angle in angles_of_axes(axes))
    if secondary == 0 and primary % 90 == 0:
        # At 0 the detector is in front of the patient: the beam goes from the back to the front.
        return {0: "PA", 90: "LL", 180: "AP", -180: "AP", -90: "RL"}[primary]
    name = "" if primary == 0 else f"{'LAO' if primary > 0 else 'RAO'}{abs(primary)}"
    return name + ("" if secondary == 0 else f"{'CRA' if secondary > 0 else 'CAU'}{abs(secondary)}")
