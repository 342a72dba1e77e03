"""Where the image lies on the detector: field of view, rotation, flip, and the pixel under the principal ray."""

from __future__ import annotations

from dataclasses import dataclass

from .dicom_findings import Report
from .dicom_tags import DicomTags, Found

_FIELD_OF_VIEW, _PROPERTIES = "FieldOfViewSequence", "FramePixelDataPropertiesSequence"
_PIXELS = {"low": -1e5, "high": 1e5}


@dataclass(frozen=True)
class Placement:
    """How the stored image was taken from the detector's: turned clockwise by 0, 90, 180 or 270 degrees, then flipped.

    source: the tags that say so, '' where none does.
    """

    clockwise_deg: int = 0
    flipped: bool = False
    source: str = ""


def read_placement(tags: DicomTags, report: Report) -> Placement:
    """Field of View Rotation (0018,7032) and Horizontal Flip (0018,7034), PS3.3 C.8.11.4 and C.8.19.6.2."""
    rotation = tags.number("FieldOfViewRotation", _FIELD_OF_VIEW, low=-360.0, high=360.0)
    flip = tags.codes("FieldOfViewHorizontalFlip", ("YES", "NO"), _FIELD_OF_VIEW)
    turned = 0 if rotation is None else rotation.value % 360
    if turned % 90:
        report.warn(f"{rotation.tag} is {rotation.value:g}, not a multiple of 90 degrees; it is ignored")
        turned, rotation = 0, None
    if rotation:
        report.add("image_rotation", float(turned), "degrees clockwise", "file", rotation.tag)
    if flip:
        report.add("image_flipped", flip.value == "YES", "", "file", flip.tag)
    skewed = tags.number("PixelDataAreaRotationAngleRelativeToFOV", _PROPERTIES)
    if skewed and abs(skewed.value) > 0.01:
        report.warn(f"{skewed.tag} is {skewed.value:g} degrees; a rotation within the field of view is not applied")
    names = [found.tag for found in (rotation, flip) if found]
    return Placement(int(turned), bool(flip and flip.value == "YES"), " and ".join(names))


def read_principal_point(
    tags: DicomTags, report: Report, columns: int, rows: int, spacing: tuple[float, float], placement: Placement
) -> tuple[float, float]:
    """(cu, cv): the pixel that the principal ray meets.

    Position of Isocenter Projection (0018,9430) counts detector elements from the centre of the first one, down the
    columns first; Field of View Origin (0018,7030) is the offset of the field's corner from the detector's corner, in
    detector elements, rows first, before rotation and flip (C.8.19.5, C.8.11.4). A distance from the detector's corner
    is therefore (position + 1/2) elements for the former, and origin elements for the latter; the field's pixel i has
    its centre (i + 1/2) spacings from the field's corner. Without the former, the centre of the detector stands for it.
    """
    centre = ((columns - 1) / 2, (rows - 1) / 2)
    origin = tags.numbers("FieldOfViewOrigin", _FIELD_OF_VIEW, count=2, **_PIXELS)
    ray = tags.numbers("PositionOfIsocenterProjection", count=2, **_PIXELS)
    quarter = placement.clockwise_deg in (90, 270)
    before = (spacing[0], spacing[1]) if quarter else (spacing[1], spacing[0])  # down, along; of the unturned field
    elements = tags.numbers("DetectorElementSpacing", count=2, low=0.001, high=20.0)
    pitch = elements.value if elements else before
    met = _principal_ray(tags, ray, pitch)
    if met is None or (origin is None and ray is None):
        if origin and any(origin.value):
            report.warn(f"{origin.tag} is given, but not where the detector's centre is; it is ignored")
        why = "the middle of the image: no tag says where the principal ray meets the detector"
        return report.add("principal_point", centre, "px", "assumed", why)
    distances, source = met
    corner = origin.value if origin else (0.0, 0.0)
    down, along = (
        (distance - start * size) / step - 0.5
        for distance, start, size, step in zip(distances, corner, pitch, before, strict=True)
    )
    sizes = (columns, rows) if quarter else (rows, columns)
    u, v = _placed(along, down, sizes[1], sizes[0], placement)
    offset = tags.numbers("PixelDataAreaOriginRelativeToFOV", _PROPERTIES, count=2, **_PIXELS)
    if offset:
        u, v = u - offset.value[1], v - offset.value[0]
    names = [source] + [found.tag for found in (origin, elements, offset) if found]
    if max(abs(u - centre[0]) / columns, abs(v - centre[1]) / rows) > 2:
        report.warn(f"the principal ray would meet pixel ({u:.4g}, {v:.4g}) by {', '.join(names)}; this is ignored")
        return report.add("principal_point", centre, "px", "assumed", "the middle of the image")
    return report.add("principal_point", (u, v), "px", "file" if ray else "derived", ", ".join(names))


def _principal_ray(
    tags: DicomTags, ray: Found | None, pitch: tuple[float, ...]
) -> tuple[tuple[float, float], str] | None:
    """mm (down, along) from the detector's corner to where the principal ray meets it, and the source of that."""
    if ray:
        return ((ray.value[0] + 0.5) * pitch[0], (ray.value[1] + 0.5) * pitch[1]), ray.tag
    size = tags.numbers("PhysicalDetectorSize", count=2, low=5.0, high=2000.0)
    if size:
        return (size.value[0] / 2, size.value[1] / 2), f"centre of {size.tag}"
    active = tags.numbers("DetectorActiveDimensions", low=5.0, high=2000.0)
    if active and len(active.value) in (1, 2):
        height, width = active.value if len(active.value) == 2 else active.value * 2
        start = tags.numbers("DetectorActiveOrigin", count=2, **_PIXELS)
        first = start.value if start else (0.0, 0.0)
        middle = (first[0] * pitch[0] + height / 2, first[1] * pitch[1] + width / 2)
        return middle, f"centre of {active.tag}"
    return None


def _placed(u: float, v: float, columns: int, rows: int, placement: Placement) -> tuple[float, float]:
    """Where pixel (u, v) of columns x rows comes to lie when the image is turned clockwise and then flipped.

    A quarter turn clockwise makes the first row the last column: u' = rows - 1 - v, v' = u.
    """
    for _ in range(placement.clockwise_deg // 90):
        u, v = rows - 1 - v, u
        columns, rows = rows, columns
    return (columns - 1 - u if placement.flipped else u), v


def warn_of_tilt(tags: DicomTags, report: Report) -> None:
    """A detector that is not square to the beam (PS3.3 C.8.7.5.1.4) is told, but not modelled."""
    for keyword in ("DetectorPrimaryAngle", "DetectorSecondaryAngle", "ColumnAngulation"):
        angle = tags.number(keyword)
        if angle and abs(angle.value) > 0.5:
            report.warn(
                f"{angle.tag} is {angle.value:g} degrees; a beam that is not square to the detector is not modelled"
            )
