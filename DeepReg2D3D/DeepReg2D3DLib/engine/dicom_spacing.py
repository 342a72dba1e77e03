"""Pixel spacing at the detector: found, converted from the isocentre, or assumed; the two are never mixed silently.

DICOM gives spacings as (between rows, between columns), PS3.3 10.7.1.3; here they are (su, sv), along columns and rows.
"""

from __future__ import annotations

from .dicom_distances import Distances
from .dicom_findings import Report
from .dicom_tags import DicomTags, Found, tag_name

_LIMITS = {"low": 0.001, "high": 20.0}  # mm
_FIELD = 300.0  # mm, of the detector's longer side where nothing is known
_SAME = 0.01
_DIFFERENT = 0.05
_PROPERTIES, _FIELD_OF_VIEW = "FramePixelDataPropertiesSequence", "FieldOfViewSequence"


def read_spacing(tags: DicomTags, report: Report, columns: int, rows: int, distances: Distances) -> tuple[float, float]:
    """(su, sv) in mm at the detector.

    In the order of trust: Imager Pixel Spacing (0018,1164), which is measured at the detector and never corrected for
    magnification (C.8.7.3, C.8.11.4, C.8.19.6.4); Nominal Scanned Pixel Spacing of film; Field of View Dimensions over
    the size of the image; Pixel Spacing (0028,0030), which 10.7.1.1 puts into the patient where the image was
    calibrated: it is then multiplied by the magnification.
    """
    imager = tags.numbers("ImagerPixelSpacing", _PROPERTIES, count=2, **_LIMITS)
    patient = tags.numbers("PixelSpacing", count=2, **_LIMITS)
    calibration = tags.codes("PixelSpacingCalibrationType", ("GEOMETRY", "FIDUCIAL"))
    if imager:
        spacing = _add(report, imager.value, "file", f"{imager.tag} (at the detector)")
        if patient:
            _compare(imager, patient, calibration, distances, report)
        _check_field(tags, report, columns, rows, spacing)
        return spacing
    film = tags.numbers("NominalScannedPixelSpacing", count=2, **_LIMITS)
    if film:
        return _add(report, film.value, "file", f"{film.tag} (on the film)")
    field = _field_dimensions(tags)
    if field:
        height, width = field.value if len(field.value) == 2 else field.value * 2
        return _add(report, (height / rows, width / columns), "derived", f"{field.tag} / size of the image")
    if patient:
        return _from_patient(patient, calibration, distances, report)
    report.missing.append(f"{tag_name('ImagerPixelSpacing')}: the pixel spacing at the detector")
    guess = _FIELD / max(columns, rows)
    return _add(report, (guess, guess), "assumed", f"no tag says it; {_FIELD:g} mm over the longer side")


def _add(report: Report, row_column: tuple[float, ...], origin: str, source: str) -> tuple[float, float]:
    return report.add("pixel_spacing", (row_column[1], row_column[0]), "mm", origin, source)


def _from_patient(
    patient: Found, calibration: Found | None, distances: Distances, report: Report
) -> tuple[float, float]:
    if calibration is None:
        report.warn(
            f"{patient.tag} stands alone: whether it is measured at the detector or in the patient cannot be told "
            "(PS3.3 10.7.1.1); it is taken as at the detector, and is too small by the magnification if it is not"
        )
        return _add(report, patient.value, "file", f"{patient.tag} (taken as at the detector)")
    if not (distances.detector_known and distances.isocentre_known):
        report.missing.append(
            f"{tag_name('ImagerPixelSpacing')}: {patient.tag} is measured in the patient, and without the distances "
            "from the source to the isocentre and to the detector it cannot be converted"
        )
    ratio = distances.magnification
    converted = tuple(value * ratio for value in patient.value)
    how = f"{patient.tag} (in the patient, {calibration.value}) x magnification {ratio:.5g}"
    report.warn(
        f"the pixel spacing is given in the patient ({patient.tag}, {calibration.value}) and was converted to the "
        f"detector by the magnification {ratio:.4g} at the isocentre"
    )
    return _add(report, converted, "derived" if distances.isocentre_known else "assumed", how)


def _compare(imager: Found, patient: Found, calibration: Found | None, distances: Distances, report: Report) -> None:
    """Pixel Spacing beside Imager Pixel Spacing: the same, or smaller by the magnification."""
    ratios = [at_detector / inside for at_detector, inside in zip(imager.value, patient.value, strict=True)]
    if max(abs(ratio - 1) for ratio in ratios) < _SAME:
        if calibration:
            report.warn(f"{calibration.tag} says that the spacing was corrected, but both spacings are the same")
        return
    middle = sum(ratios) / 2
    report.add(
        "pixel_spacing_in_patient", (patient.value[1], patient.value[0]), "mm", "file", f"{patient.tag} (not used)"
    )
    if distances.detector_known and distances.isocentre_known:
        expected = distances.magnification
        if abs(middle / expected - 1) > _DIFFERENT:
            report.warn(
                f"{imager.tag} over {patient.tag} is a magnification of {middle:.4g}, but the distances give "
                f"{expected:.4g} at the isocentre; the spacing at the detector is taken"
            )


def _field_dimensions(tags: DicomTags) -> Found | None:
    """(height, width) in mm, or (diameter,)."""
    for keyword, groups in (("FieldOfViewDimensionsInFloat", (_FIELD_OF_VIEW,)), ("FieldOfViewDimensions", ())):
        found = tags.numbers(keyword, *groups, low=5.0, high=2000.0)
        if found and len(found.value) in (1, 2):
            return found
    return None


def _check_field(tags: DicomTags, report: Report, columns: int, rows: int, spacing: tuple[float, float]) -> None:
    field = _field_dimensions(tags)
    if field is None:
        return
    height, width = field.value if len(field.value) == 2 else field.value * 2
    size = (spacing[0] * columns, spacing[1] * rows)
    # A round field may fill the image's shorter side, and rotation may swap the sides.
    close = [abs(a / b - 1) < 2 * _DIFFERENT for a, b in ((size[0], width), (size[1], height))]
    swapped = [abs(a / b - 1) < 2 * _DIFFERENT for a, b in ((size[0], height), (size[1], width))]
    if not any(close) and not any(swapped):
        report.warn(
            f"{columns} x {rows} pixels of {spacing[0]:.4g} x {spacing[1]:.4g} mm cover {size[0]:.4g} x {size[1]:.4g} "
            f"mm, but {field.tag} is {' x '.join(f'{value:g}' for value in field.value)} mm; was the image resized?"
        )
