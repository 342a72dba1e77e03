"""The geometry of an RT Image: a beam's eye view on a treatment machine or simulator (PS3.3 C.8.8.2, IEC 61217)."""

from __future__ import annotations

import math

from .dicom_distances import DEFAULT_SOD_SHARE, Distances
from .dicom_findings import Report
from .dicom_positioner import DetectorAxes, axes_of_gantry
from .dicom_tags import DicomTags, tag_name

_MM = {"low": 50.0, "high": 20000.0}
_NEARLY = 0.01


def read_rt_distances(tags: DicomTags, report: Report) -> Distances:
    """RT Image SID (3002,0026), from the source to the image plane, and Radiation Machine SAD (3002,0022)."""
    plane, axis = tags.number("RTImageSID", **_MM), tags.number("RadiationMachineSAD", **_MM)
    if plane:
        sdd = report.add("source_to_detector", plane.value, "mm", "file", f"{plane.tag} (to the image plane)")
    else:
        report.missing.append(f"{tag_name('RTImageSID')}: the distance from the source to the image plane")
        sdd = report.add("source_to_detector", 1500.0, "mm", "assumed", "no tag says it")
    if axis:
        sod = report.add("source_to_isocentre", axis.value, "mm", "file", axis.tag)
    else:
        sod = min(1000.0, DEFAULT_SOD_SHARE * sdd)
        report.add("source_to_isocentre", sod, "mm", "assumed", "no tag says it; only the depth of a start rests on it")
    return Distances(sdd, sod, bool(plane), bool(axis))


def read_rt_spacing(tags: DicomTags, report: Report, columns: int, rows: int) -> tuple[float, float]:
    """(su, sv) in mm: Image Plane Pixel Spacing (3002,0011), which is at RT Image SID."""
    found = tags.numbers("ImagePlanePixelSpacing", count=2, low=0.001, high=20.0)
    if found:
        return report.add(
            "pixel_spacing", (found.value[1], found.value[0]), "mm", "file", f"{found.tag} (at the image plane)"
        )
    report.missing.append(f"{tag_name('ImagePlanePixelSpacing')}: the pixel spacing at the image plane")
    guess = 400.0 / max(columns, rows)
    return report.add("pixel_spacing", (guess, guess), "mm", "assumed", "no tag says it; 400 mm over the longer side")


def read_rt_axes(tags: DicomTags, report: Report, position: str) -> DetectorAxes:
    """Directions by the gantry, receptor and patient support angles; angles that are not modelled are told."""

    def angle(keyword: str, name: str) -> float:
        found = tags.number(keyword, low=-720.0, high=720.0)
        origin, source = ("file", found.tag) if found else ("assumed", f"{tag_name(keyword)} is missing")
        value = found.value if found else 0.0
        if found or name == "gantry_angle":
            report.add(name, value, "degrees", origin, source)
        return value

    gantry = angle("GantryAngle", "gantry_angle")
    receptor = angle("XRayImageReceptorAngle", "receptor_angle")
    support = angle("PatientSupportAngle", "patient_support_angle")
    for keyword in ("GantryPitchAngle", "TableTopPitchAngle", "TableTopRollAngle", "TableTopEccentricAngle"):
        found = tags.number(keyword)
        if found and abs(math.remainder(found.value, 360)) > 0.1:
            report.warn(f"{found.tag} is {found.value:g} degrees; it is not modelled")
    plane = tags.codes("RTImagePlane", ("NORMAL", "NON_NORMAL"))
    if plane and plane.value == "NON_NORMAL":
        report.warn(f"{plane.tag} is NON_NORMAL; an image plane that is not square to the beam is not modelled")
    orientation = tags.numbers("RTImageOrientation", count=6)
    usual = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    if orientation and max(abs(a - b) for a, b in zip(orientation.value, usual, strict=True)) > _NEARLY:
        report.warn(f"{orientation.tag} is not 1, 0, 0, 0, -1, 0; a turned image plane is not modelled")
    return axes_of_gantry(gantry, receptor, support, position)


def read_rt_principal_point(
    tags: DicomTags, report: Report, columns: int, rows: int, spacing: tuple[float, float]
) -> tuple[float, float]:
    """(cu, cv): the pixel on the beam's axis.

    RT Image Position (3002,0012) is the centre of the first pixel in the receptor's plane, +y up; X-Ray Image Receptor
    Translation (3002,000D) is the receptor's origin in gantry coordinates, in which the beam's axis is at (0, 0). The
    axis therefore meets the receptor at minus the translation, turned back by the receptor's angle.
    """
    first = tags.numbers("RTImagePosition", count=2, low=-5000.0, high=5000.0)
    moved = tags.numbers("XRayImageReceptorTranslation", count=3, low=-5000.0, high=5000.0)
    turned = tags.number("XRayImageReceptorAngle", low=-720.0, high=720.0)
    x, y = moved.value[:2] if moved else (0.0, 0.0)
    angle = math.radians(turned.value if turned else 0.0)
    axis_x, axis_y = -(math.cos(angle) * x + math.sin(angle) * y), -(-math.sin(angle) * x + math.cos(angle) * y)
    if first:
        left, top, origin = first.value[0], first.value[1], "file"
    else:
        left, top, origin = -(columns - 1) / 2 * spacing[0], (rows - 1) / 2 * spacing[1], "assumed"
    names = [found.tag for found in (first, moved) if found]
    source = ", ".join(names) if first else ", ".join(["the image is centred on the receptor", *names])
    point = ((axis_x - left) / spacing[0], (top - axis_y) / spacing[1])
    return report.add("principal_point", point, "px", origin, source)
