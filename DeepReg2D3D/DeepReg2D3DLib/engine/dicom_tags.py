"""Numbers and codes of a DICOM header, each with the tag it came from; never names, dates or free text.

Only the tags listed here are taken from a file, so that nothing that identifies a patient gets past this module: other
elements are not even parsed, and text found in a listed tag is compared with known codes but never repeated.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import dictionary_description, tag_for_keyword

from .errors import InputError

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_HEADER = """
    SOPClassUID Modality ImageType Rows Columns NumberOfFrames RepresentativeFrameNumber PatientPosition
    PatientOrientation ViewPosition PositionerType PlaneIdentification DistanceSourceToDetector DistanceSourceToPatient
    DistanceSourceToIsocenter EstimatedRadiographicMagnificationFactor PositionerPrimaryAngle PositionerSecondaryAngle
    PositionerPrimaryAngleIncrement PositionerSecondaryAngleIncrement DetectorPrimaryAngle DetectorSecondaryAngle
    ColumnAngulation TableMotion TableVerticalIncrement TableLateralIncrement TableLongitudinalIncrement
    ImagerPixelSpacing PixelSpacing PixelSpacingCalibrationType NominalScannedPixelSpacing DetectorElementSpacing
    DetectorActiveDimensions DetectorActiveOrigin PhysicalDetectorSize PositionOfIsocenterProjection
    FieldOfViewShape FieldOfViewDimensions FieldOfViewOrigin FieldOfViewRotation FieldOfViewHorizontalFlip
    PatientOrientationCodeSequence PatientGantryRelationshipCodeSequence PatientEquipmentRelationshipCodeSequence
    RadiationMachineSAD RTImageSID GantryAngle GantryPitchAngle PatientSupportAngle TableTopPitchAngle
    TableTopRollAngle TableTopEccentricAngle BeamLimitingDeviceAngle ImagePlanePixelSpacing RTImagePlane
    RTImagePosition RTImageOrientation XRayImageReceptorTranslation XRayImageReceptorAngle BurnedInAnnotation
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
""".split()
_PIXELS = """
    Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation PlanarConfiguration BitsAllocated BitsStored
    HighBit PixelRepresentation RescaleSlope RescaleIntercept ModalityLUTSequence PixelIntensityRelationship
    PixelIntensityRelationshipSign PixelPaddingValue PixelPaddingRangeLimit Modality PixelData
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
""".split()


@dataclass(frozen=True)
class Found:
    """A value of a file and the tag that it stands in: '(0018,1110) Distance Source to Detector'."""

    value: Any
    tag: str


@cache
def tag_name(keyword: str) -> str:
    """'(gggg,eeee) Name' of a keyword of the standard's dictionary."""
    number = tag_for_keyword(keyword)
    assert number is not None, keyword
    return f"({number >> 16:04X},{number & 0xFFFF:04X}) {dictionary_description(number)}"


def is_dicom(path: str | Path) -> bool:
    """True for a file with DICOM's preamble, or named as one."""
    path = Path(path)
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom", ".ima")
    except OSError:
        return False


class DicomTags:
    """The listed tags of one file, to be asked within ``quiet()``.

    Where the file has functional groups (PS3.3 C.7.6.16), those of a frame come first. A value that is empty counts as
    absent. One that cannot be read, has the wrong number of values or lies outside what is physically possible counts
    as absent too, and leaves a sentence in ``complaints``.
    """

    def __init__(self, dataset: pydicom.Dataset, frame: int = 0) -> None:
        self.dataset, self.frame = dataset, frame
        self.complaints: list[str] = []

    @classmethod
    def read(cls, path: str | Path, pixels: bool = False) -> DicomTags:
        """Read the header (or what describes the pixels, and these). Raises InputError for what is no DICOM file."""
        return cls(_read(Path(path), _PIXELS if pixels else _HEADER, pixels))

    def of_frame(self, frame: int) -> DicomTags:
        """The same file, for another frame (from 0); complaints go to the same list."""
        other = DicomTags(self.dataset, frame)
        other.complaints = self.complaints
        return other

    def number(self, keyword: str, *groups: str, low: float = -math.inf, high: float = math.inf) -> Found | None:
        """One number from ``low`` to ``high``; ``groups``: sequences of the functional groups it may stand in."""
        found = self.numbers(keyword, *groups, count=1, low=low, high=high)
        return None if found is None else Found(found.value[0], found.tag)

    def numbers(
        self, keyword: str, *groups: str, count: int | None = None, low: float = -math.inf, high: float = math.inf
    ) -> Found | None:
        """A tuple of ``count`` numbers (None: any) from ``low`` to ``high``."""
        for value, tag in self._values(keyword, groups):
            try:
                values = tuple(float(item) for item in _items(value))
            except (TypeError, ValueError, OverflowError):
                self._complain(f"{tag} is not a number; it is ignored")
                continue
            if count is not None and len(values) != count:
                self._complain(f"{tag} has {len(values)} values instead of {count}; it is ignored")
            elif not all(math.isfinite(number) for number in values):
                self._complain(f"{tag} is not a finite number; it is ignored")
            elif not all(low <= number <= high for number in values):
                shown = ", ".join(f"{number:g}" for number in values[:6])
                self._complain(f"{tag} is {shown}, which cannot be; it is ignored")
            else:
                return Found(values, tag)
        return None

    def count(self, keyword: str, default: int | None, largest: int) -> int:
        """A whole number from 1 to ``largest``; raises InputError for another, or where there is none to default to."""
        found = self.numbers(keyword)
        if found is None and default is not None:
            return default
        value = found.value[0] if found is not None and len(found.value) == 1 else 0.0
        if value != int(value) or not 1 <= value <= largest:
            what = "is missing" if found is None else f"is not a whole number from 1 to {largest}"
            raise InputError(f"{tag_name(keyword)} {what}; without it the image cannot be read.")
        return int(value)

    def codes(self, keyword: str, known: Iterable[str], *groups: str, separate: bool = False) -> Found | None:
        """The first code, or all as a tuple where ``separate``; a code that is not ``known`` counts as absent."""
        known = set(known)
        for value, tag in self._values(keyword, groups):
            codes = tuple(str(item).strip().upper() for item in _items(value))
            if all(code in known for code in codes):
                return Found(codes if separate else codes[0], tag)
            self._complain(f"{tag} has a value that this program does not know; it is ignored")
        return None

    def words(self, keyword: str, known: Iterable[str]) -> set[str]:
        """Those of the ``known`` codes that are among the values of a tag."""
        return {str(item).strip().upper() for value, _ in self._values(keyword, ()) for item in _items(value)} & set(
            known
        )

    def coded(self, known: dict[str, str], *path: str) -> Found | None:
        """The meaning, by ``known``, of the Code Value in the sequence at the end of ``path`` (sequence keywords)."""
        datasets: Sequence[Any] = [self.dataset]
        for keyword in path:
            datasets = [item for dataset in datasets for item in _sequence(dataset, keyword)]
        for dataset in datasets:
            code = str(_get(dataset, "CodeValue")).strip().upper()
            if code in known:
                return Found(known[code], tag_name(path[-1]))
        return None

    def macro(self, keyword: str) -> tuple[Any, ...]:
        """Items of a sequence among the functional groups of the frame, else of all frames, else in the file itself."""
        per_frame = _sequence(self.dataset, _PER_FRAME)[self.frame : self.frame + 1]
        for outer in (*per_frame, *_sequence(self.dataset, _SHARED), self.dataset):
            items = _sequence(outer, keyword)
            if items:
                return items
        return ()

    def has(self, keyword: str, *groups: str) -> bool:
        """True where the tag has a value, of whatever kind."""
        return next(iter(self._values(keyword, groups)), None) is not None

    @property
    def per_frame_items(self) -> int:
        """How many frames have functional groups of their own."""
        return len(_sequence(self.dataset, _PER_FRAME))

    def _places(self, groups: Sequence[str]) -> Iterable[tuple[Any, str]]:
        """Datasets in which a tag may stand, the most specific first, with the path to be told."""
        if groups:
            per_frame = _sequence(self.dataset, _PER_FRAME)
            frames = per_frame[self.frame : self.frame + 1]
            for outer, items in ((f"frame {self.frame + 1}", frames), ("all frames", _sequence(self.dataset, _SHARED))):
                for item in items:
                    for group in groups:
                        for inner in _sequence(item, group)[:1]:
                            yield inner, f" in {tag_name(group)} of {outer}"
        yield self.dataset, ""

    def _values(self, keyword: str, groups: Sequence[str]) -> Iterable[tuple[Any, str]]:
        for dataset, where in self._places(groups):
            tag = tag_name(keyword) + where
            try:
                value = _get(dataset, keyword)
            except _Unreadable:
                self._complain(f"{tag} cannot be read; it is ignored")
                continue
            if value is not None and value != "" and not (hasattr(value, "__len__") and len(value) == 0):
                yield value, tag

    def _complain(self, text: str) -> None:
        if text not in self.complaints:
            self.complaints.append(text)


class _Unreadable(Exception):
    """A value that pydicom cannot make sense of."""


def _get(dataset: Any, keyword: str) -> Any:
    """The value, or None. pydicom converts values only when they are asked for, and raises many kinds of errors."""
    try:
        return dataset.get(keyword)
    except Exception:
        raise _Unreadable from None


def _sequence(dataset: Any, keyword: str) -> tuple[Any, ...]:
    try:
        value = _get(dataset, keyword)
        return tuple(item for item in value if isinstance(item, pydicom.Dataset)) if value else ()
    except (_Unreadable, TypeError):
        return ()


def _items(value: Any) -> list[Any]:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings and log: they quote values, which may be names."""
    log = logging.getLogger("pydicom")
    was = log.disabled
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            log.disabled = True
            yield
    finally:
        log.disabled = was


def _read(path: Path, keywords: Sequence[str], pixels: bool) -> pydicom.Dataset:
    if path.is_dir() or not path.exists():
        raise InputError(f"{path}: {'is a folder, not a DICOM file' if path.is_dir() else 'does not exist'}.")
    known = [keyword for keyword in keywords if tag_for_keyword(keyword) is not None]
    try:
        return pydicom.dcmread(path, force=True, specific_tags=known, stop_before_pixels=not pixels)
    except Exception as error:  # a damaged file makes the parser fail in any of its steps
        reason = getattr(error, "strerror", None)
        told = f"cannot be read ({reason})" if reason else "is damaged, or not a DICOM file"
        raise InputError(f"{path}: {told}.") from None
