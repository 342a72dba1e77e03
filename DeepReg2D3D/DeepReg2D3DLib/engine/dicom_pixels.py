"""The pixels of a DICOM X-ray image, undone of what was done to the beam's intensities, and what they then mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk

from .dicom_geometry import MAX_SIDE, OVER_FRAMES, Frame, check_frame
from .dicom_tags import DicomTags, quiet, tag_name
from .errors import InputError

_MAX_PIXELS = 64_000_000
_MAX_FRAMES = 100_000
_PROPERTIES, _RESCALE = "FramePixelDataPropertiesSequence", "PixelValueTransformationSequence"
_RELATIONS = ("LIN", "LOG", "SQRT", "DISP", "OTHER")
_MAX_TABLE = 65536
_ENCAPSULATED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")  # JPEG and its kin; RLE (PS3.5 annex A.4)
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


@dataclass(frozen=True)
class DicomPixels:
    """values: (rows, columns) float32.

    kind: 'intensity' (proportional to photons, bone dark), 'line_integral' (bone bright, of unknown scale),
    'bone_bright' (bone bright by the tags, curve unknown) or 'auto' (the file does not say).
    valid: (rows, columns) bool, False where the file says padding, or None.
    whole_numbers: the values are grey levels. steps: what was done, each with its tag.
    frames: how many the file has.
    """

    values: np.ndarray
    kind: str
    valid: np.ndarray | None
    whole_numbers: bool
    steps: tuple[str, ...]
    frames: int = 1


def read_dicom_pixels(path: str | Path, frame: Frame = None) -> DicomPixels:
    """Pixels of one frame, or their mean or maximum over all frames, mapped to intensities where the file tells how.

    In this order: bits stored; the Pixel Intensity Relationship LUT to linear (PS3.3 C.7.6.16.2.13), else the Modality
    LUT or rescale (C.11.1); Pixel Intensity Relationship (0028,1040) and its Sign (0028,1041): LIN is proportional to
    the intensity, LOG to its logarithm unless a table has mapped it back (C.8.19.6.4.1.1), and -1 means that more
    intensity has lower values (C.8.11.3.1.2). Without them MONOCHROME1 and 2 tell, for DX and CR, which end is bone,
    since bone is shown white. VOI LUT and window only serve the eye and are not applied. The mean is taken of
    intensities. Raises InputError for pixels that are missing, damaged, in colour or compressed in an unknown way.
    """
    path = Path(path)
    with quiet(), _named(path):
        return _frames_of(DicomTags.read(path, pixels=True), path).read(frame)


def open_dicom_frames(path: str | Path) -> DicomFrames:
    """The frames of a file, which is read once, however many of them are asked for. Raises InputError."""
    path = Path(path)
    with quiet(), _named(path):
        return _frames_of(DicomTags.read(path, pixels=True), path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the block begin with the file's name."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None


@dataclass(frozen=True)
class DicomFrames:
    """An open file of ``count`` frames. stored: a frame's index -> stored values; rescaled: they come rescaled."""

    path: Path
    tags: DicomTags
    count: int
    stored: Callable[[int], np.ndarray]
    rescaled: bool

    def __getitem__(self, frame: int) -> DicomPixels:
        """Of frame ``frame``, from 1."""
        with quiet(), _named(self.path):
            return self.read(frame)

    def read(self, frame: Frame) -> DicomPixels:
        """Of one frame, or over all of them; within ``quiet()``."""
        return _over_frames(self.tags, self.stored, self.rescaled, frame, self.count)


def _frames_of(tags: DicomTags, path: Path) -> DicomFrames:
    rows, columns = tags.count("Rows", None, MAX_SIDE), tags.count("Columns", None, MAX_SIDE)
    if rows * columns > _MAX_PIXELS:
        raise InputError(f"has {columns} x {rows} pixels, which no X-ray image has.")
    frames = max(tags.count("NumberOfFrames", 1, _MAX_FRAMES), tags.per_frame_items)
    if tags.count("SamplesPerPixel", 1, 4) > 1:
        raise InputError("is a colour image; save it as a grey one.")
    return DicomFrames(path, tags, frames, *_decoder(tags, path, rows, columns, frames))


def _over_frames(
    tags: DicomTags, stored: Callable[[int], np.ndarray], rescaled: bool, frame: Frame, frames: int
) -> DicomPixels:
    chosen = check_frame(frame, frames)
    indices = range(frames) if chosen in OVER_FRAMES else [chosen - 1]
    total: np.ndarray | None = None
    valid: np.ndarray | None = None
    for index in indices:
        of_frame = tags.of_frame(index)
        grey = stored(index)
        values, kind, whole, steps = _linearised(of_frame, grey, rescaled)
        if total is None:
            total, valid = values, _not_padding(of_frame, grey)
        elif chosen == "mean":
            total = total + values
        else:
            total = np.maximum(total, values)
    assert total is not None
    if chosen == "mean":
        total, whole = total / frames, False
    if chosen in OVER_FRAMES:
        steps = (*steps, f"{chosen} over {frames} frames")
    return DicomPixels(total.astype(np.float32), kind, valid, whole, steps, frames)


def _linearised(tags: DicomTags, grey: np.ndarray, rescaled: bool) -> tuple[np.ndarray, str, bool, tuple[str, ...]]:
    """Values (rows, columns) float64, their kind, whether they are grey levels, and the steps."""
    relation = tags.codes("PixelIntensityRelationship", _RELATIONS, _PROPERTIES)
    sign = tags.number("PixelIntensityRelationshipSign", _PROPERTIES, low=-1, high=1)
    modality = tags.codes("Modality", ("XA", "RF", "XRF", "DX", "CR", "RTIMAGE"))
    photometric = tags.codes("PhotometricInterpretation", ("MONOCHROME1", "MONOCHROME2"))
    ends = _ends_of_range(tags)
    table = _to_linear_table(tags)
    if table is not None:
        values = table(grey)
        step = f"{tag_name('PixelIntensityRelationshipLUTSequence')} to linear"
        return values, "intensity", bool(np.all(values == np.round(values))), (step,)
    mapping, steps, is_table = _modality_mapping(tags, rescaled)
    values = mapping(grey)
    low, high = (float(mapping(np.array([end]))[0]) for end in ends)
    rising = high >= low
    low, high = min(low, high), max(low, high)
    whole = bool(np.all(values == np.round(values)))
    name = relation.value if relation else None
    if is_table and name in ("LOG", "SQRT", "OTHER") and (modality is None or modality.value in ("XA", "RF", "XRF")):
        return values, "intensity", whole, (*steps, f"{relation.tag} is {name}; the table maps it to intensities")
    bone_low = (sign.value > 0) == rising if sign and sign.value else None
    if relation:
        steps = (*steps, f"{relation.tag} is {name}")
    if sign:
        steps = (*steps, f"{sign.tag} is {sign.value:+g}")
    if name == "LIN":
        if bone_low is False:
            return high + low - values, "intensity", whole, (*steps, "values turned round: more photons, more value")
        return values, "intensity", whole, steps
    if name == "LOG":
        if bone_low is False:
            return values - low, "line_integral", whole, steps
        return high - values, "line_integral", whole, (*steps, "values turned round: bone bright")
    if bone_low is not None:
        return values, "intensity" if bone_low else "bone_bright", whole, steps
    if photometric and modality and modality.value in ("DX", "CR"):
        bone_low = (photometric.value == "MONOCHROME1") == rising
        end = "low" if bone_low else "high"
        steps = (*steps, f"{photometric.tag} is {photometric.value}: bone, shown white, has {end} values")
        return values, "intensity" if bone_low else "bone_bright", whole, steps
    return values, "auto", whole, (*steps, "no tag says whether bone is dark or bright; the picture decides")


def _modality_mapping(
    tags: DicomTags, rescaled: bool
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...], bool]:
    """The Modality LUT, else rescale slope and intercept; what it is called, and whether it is a table."""
    if rescaled:
        return lambda grey: grey.astype(np.float64), (), False
    for item in tags.macro("ModalityLUTSequence")[:1]:
        table = _table(item, "ModalityLUTSequence")
        if table is not None:
            return table, (tag_name("ModalityLUTSequence"),), True
    slope = tags.number("RescaleSlope", _RESCALE, low=-1e9, high=1e9)
    intercept = tags.number("RescaleIntercept", _RESCALE, low=-1e9, high=1e9)
    a = slope.value if slope and slope.value else 1.0
    b = intercept.value if intercept else 0.0
    steps = () if (a, b) == (1.0, 0.0) else (f"{tag_name('RescaleSlope')} {a:g} and intercept {b:g}",)
    return lambda grey: a * grey.astype(np.float64) + b, steps, False


def _to_linear_table(tags: DicomTags) -> Callable[[np.ndarray], np.ndarray] | None:
    name = "PixelIntensityRelationshipLUTSequence"
    for item in tags.macro(name):
        if DicomTags(item).codes("LUTFunction", ("TO_LINEAR",)):
            return _table(item, name)
    return None


def _table(item: Any, name: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """A look-up table (PS3.3 C.11.1.1): values below and above its range take its first and last entry."""
    descriptor = DicomTags(item).numbers("LUTDescriptor", count=3)
    try:
        data = item.get("LUTData")
        bits = int(descriptor.value[2]) if descriptor else 16
        if isinstance(data, bytes):
            little = getattr(item, "is_little_endian", True) is not False
            data = np.frombuffer(data, ("<" if little else ">") + "u2")
        entries = np.asarray(data, dtype=np.float64).ravel()
    except Exception:
        entries, bits = np.empty(0), 16
    if descriptor is None or not 1 < len(entries) <= _MAX_TABLE:
        raise InputError(f"{tag_name(name)} is damaged; without it the pixels mean nothing.")
    count = int(descriptor.value[0]) or 65536
    first = int(descriptor.value[1])
    if bits == 8 and len(entries) * 2 == count:  # two entries of 8 bits in a word, the first in the lower byte
        words = entries.astype(np.uint16)
        entries = np.stack([words & 0xFF, words >> 8], axis=-1).ravel().astype(np.float64)
    if len(entries) < count:
        raise InputError(f"{tag_name(name)} has {len(entries)} entries instead of {count}.")
    entries = entries[:count]
    return lambda grey: entries[np.clip(grey.astype(np.int64) - first, 0, count - 1)]


def _ends_of_range(tags: DicomTags) -> tuple[int, int]:
    """The lowest and highest value that the stored bits can hold."""
    bits = tags.count("BitsStored", 16, 32)
    signed = tags.number("PixelRepresentation", low=0, high=1)
    if signed and signed.value == 1:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def _not_padding(tags: DicomTags, grey: np.ndarray) -> np.ndarray | None:
    """False where a pixel is Pixel Padding Value (0028,0120), or between it and the Range Limit (0028,0121)."""
    value, limit = tags.number("PixelPaddingValue"), tags.number("PixelPaddingRangeLimit")
    if value is None:
        return None
    low, high = sorted((value.value, limit.value if limit else value.value))
    valid = (grey < low) | (grey > high)
    # A padding value that all of the picture has is a mistake of the file.
    return valid if valid.mean() > 0.02 else None


def _decoder(
    tags: DicomTags, path: Path, rows: int, columns: int, frames: int
) -> tuple[Callable[[int], np.ndarray], bool]:
    """A function from a frame's index to its stored values (rows, columns) int64; True where they come rescaled."""
    dataset = tags.dataset
    syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
    compressed = syntax.startswith(_ENCAPSULATED)
    try:
        data = dataset.get("PixelData")
    except Exception:
        data = None
    if not isinstance(data, bytes) or not data:
        raise InputError("holds no pixels, or they are cut off.")
    if compressed:
        return _compressed(dataset, path, rows, columns, frames)
    big = syntax == _BIG_ENDIAN
    return lambda index: _native(tags, data, index, rows, columns, frames, big), False


def _native(
    tags: DicomTags, data: bytes, index: int, rows: int, columns: int, frames: int, big_endian: bool
) -> np.ndarray:
    allocated = tags.count("BitsAllocated", None, 32)
    if allocated not in (8, 16, 32):
        raise InputError(f"has pixels of {allocated} bits, which this program does not read.")
    size = rows * columns * allocated // 8
    chunk = data[index * size : (index + 1) * size]
    if len(chunk) < size:
        raise InputError(f"is cut off: frame {index + 1} of {frames} should have {size} bytes and has {len(chunk)}.")
    words = np.frombuffer(chunk, f"{'>' if big_endian else '<'}u{allocated // 8}").reshape(rows, columns)
    return _bits(tags, words.astype(np.int64), allocated)


def _bits(tags: DicomTags, words: np.ndarray, allocated: int) -> np.ndarray:
    """The bits that are stored, without overlays in the others, with their sign."""
    stored = min(tags.count("BitsStored", allocated, 32), allocated)
    high = tags.number("HighBit", low=0, high=31)
    shift = max(0, int(high.value) + 1 - stored) if high and high.value < allocated else 0
    values = (words >> shift) & (2**stored - 1)
    signed = tags.number("PixelRepresentation", low=0, high=1)
    if signed and signed.value == 1:
        values = np.where(values >= 2 ** (stored - 1), values - 2**stored, values)
    return values


def _compressed(
    dataset: pydicom.Dataset, path: Path, rows: int, columns: int, frames: int
) -> tuple[Callable[[int], np.ndarray], bool]:
    """By pydicom and whichever decoder it finds; else by SimpleITK, which applies the rescale by itself."""
    if frames * rows * columns > 8 * _MAX_PIXELS:
        raise InputError(f"has {frames} compressed frames of {columns} x {rows}; export those that are needed.")
    rescaled = False
    try:
        decoded = np.asarray(dataset.pixel_array)
    except Exception:
        try:
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.SetImageIO("GDCMImageIO")
            decoded, rescaled = sitk.GetArrayFromImage(reader.Execute()), True
        except RuntimeError:
            raise InputError("its pixels are compressed in a way not read here; save it uncompressed.") from None
    if decoded.size != frames * rows * columns:
        raise InputError(f"its pixels are not {frames} frames of {columns} x {rows}; the file is damaged.")
    decoded = decoded.reshape(frames, rows, columns)
    return lambda index: decoded[index], rescaled
