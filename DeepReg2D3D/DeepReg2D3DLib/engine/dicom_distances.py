"""How far source, isocentre and detector are apart, and what contradicts that."""

from __future__ import annotations

from dataclasses import dataclass

from .dicom_findings import Report
from .dicom_tags import DicomTags, Found, tag_name

_SHORTEST, _LONGEST = 50.0, 20000.0  # mm
_AGREE = 0.01  # of the magnification, which files round
DEFAULT_SDD = 1000.0
DEFAULT_SOD_SHARE = 0.75
_DX_GAP = 100.0  # mm between the isocentre that is put into the patient and the detector
_GEOMETRY = "XRayGeometrySequence"


@dataclass(frozen=True)
class Distances:
    """source_to_detector, source_to_isocentre: mm.  known: of each, whether the file says it."""

    source_to_detector: float
    source_to_isocentre: float
    detector_known: bool
    isocentre_known: bool

    @property
    def magnification(self) -> float:
        """Of an object at the isocentre."""
        return self.source_to_detector / self.source_to_isocentre


def read_distances(tags: DicomTags, report: Report, c_arm: bool) -> Distances:
    """Distances by X-Ray Geometry (PS3.3 C.8.19.6.14), else the plain tags (C.8.7.5), else magnification, else default.

    c_arm: Distance Source to Patient then means the isocentre (C.8.7.5, note 2); for DX and CR it is the distance to
    the table's or stand's near side (C.8.11.7), which is no isocentre.
    """
    limits = {"low": _SHORTEST, "high": _LONGEST}
    detector = tags.number("DistanceSourceToDetector", _GEOMETRY, **limits)
    isocentre = tags.number("DistanceSourceToIsocenter", _GEOMETRY, **limits)
    if isocentre is None and c_arm:
        isocentre = tags.number("DistanceSourceToPatient", **limits)
    ratio = tags.number("EstimatedRadiographicMagnificationFactor", low=1.0, high=20.0)
    isocentre = _in_order(detector, isocentre, report)
    if detector and isocentre and ratio:
        _compare(detector, isocentre, ratio, report)
    sdd = _source_to_detector(detector, isocentre, ratio, report)
    detector_known = bool(detector or (isocentre and ratio))
    isocentre_known = bool(isocentre or (ratio and detector_known))
    if isocentre:
        sod = report.add("source_to_isocentre", isocentre.value, "mm", "file", isocentre.tag)
    elif isocentre_known:
        how = f"source_to_detector / {ratio.tag} ({ratio.value:g})"
        sod = report.add("source_to_isocentre", sdd / ratio.value, "mm", "derived", how)
    else:
        sod = DEFAULT_SOD_SHARE * sdd if c_arm else max(sdd - _DX_GAP, DEFAULT_SOD_SHARE * sdd)
        report.add("source_to_isocentre", sod, "mm", "assumed", "no tag says it; only the depth of a start rests on it")
    return Distances(sdd, sod, detector_known, isocentre_known)


def _in_order(detector: Found | None, isocentre: Found | None, report: Report) -> Found | None:
    if detector and isocentre and isocentre.value >= detector.value:
        report.warn(
            f"{isocentre.tag} is {isocentre.value:g} mm, which is not less than the {detector.value:g} mm of "
            f"{detector.tag}; the former is ignored"
        )
        return None
    return isocentre


def _compare(detector: Found, isocentre: Found, ratio: Found, report: Report) -> None:
    own = detector.value / isocentre.value
    if abs(ratio.value / own - 1) > _AGREE:
        report.warn(
            f"{ratio.tag} is {ratio.value:g}, but the distances source to detector ({detector.value:g} mm) and source "
            f"to isocentre ({isocentre.value:g} mm) give {own:.4g}; the distances are taken"
        )


def _source_to_detector(detector: Found | None, isocentre: Found | None, ratio: Found | None, report: Report) -> float:
    name = "source_to_detector"
    if detector:
        return report.add(name, detector.value, "mm", "file", detector.tag)
    if isocentre and ratio:
        how = f"{isocentre.tag} ({isocentre.value:g} mm) x {ratio.tag} ({ratio.value:g})"
        return report.add(name, isocentre.value * ratio.value, "mm", "derived", how)
    report.missing.append(f"{tag_name('DistanceSourceToDetector')}: the distance from the source to the detector")
    value = max(DEFAULT_SDD, isocentre.value / DEFAULT_SOD_SHARE if isocentre else 0.0)
    return report.add(name, value, "mm", "assumed", "no tag says it")
