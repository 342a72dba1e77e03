"""Broken DICOM files: a clear message or a camera every time, never another exception, never a name."""

import io
import random
import warnings

import numpy as np
import pydicom
import pytest
from DeepReg2D3DLib.engine import dicom_tags
from DeepReg2D3DLib.engine.dicom_geometry import DicomGeometry, read_dicom_geometry
from DeepReg2D3DLib.engine.dicom_pixels import read_dicom_pixels
from DeepReg2D3DLib.engine.errors import InputError
from dicom_files import assert_no_secrets, dataset, item, write

PIXELS = np.arange(24, dtype=np.uint16).reshape(4, 6)
XA = {
    "PositionerPrimaryAngle": 10, "PositionerSecondaryAngle": -5, "DistanceSourceToDetector": 1200,
    "DistanceSourceToPatient": 800, "EstimatedRadiographicMagnificationFactor": 1.5, "ImagerPixelSpacing": [0.4, 0.5],
    "PixelSpacing": [0.27, 0.33], "PixelSpacingCalibrationType": "GEOMETRY", "PatientPosition": "HFS",
    "PatientOrientation": ["L", "F"], "FieldOfViewOrigin": [1, 2], "FieldOfViewRotation": 90,
    "FieldOfViewHorizontalFlip": "YES", "FieldOfViewDimensions": [2, 3], "DetectorElementSpacing": [0.2, 0.2],
    "DetectorActiveDimensions": [300, 300], "ImageType": ["ORIGINAL", "PRIMARY", "BIPLANE A"],
    "PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1, "RescaleSlope": 1, "RescaleIntercept": 0,
}  # fmt: skip
RT = {
    "RTImageSID": 1500, "RadiationMachineSAD": 1000, "GantryAngle": 30, "PatientSupportAngle": 5,
    "PatientPosition": "HFS", "ImagePlanePixelSpacing": [0.4, 0.4],
    "RTImagePosition": [-10, 10], "XRayImageReceptorTranslation": [0, 0, -500],
    "XRayImageReceptorAngle": 0, "RTImagePlane": "NORMAL", "RTImageOrientation": [1, 0, 0, 0, -1, 0],
}  # fmt: skip
ENHANCED = {
    "PatientPosition": "HFP", "PositionOfIsocenterProjection": [3, 4], "PhysicalDetectorSize": [300, 300],
    "DetectorElementSpacing": [0.2, 0.2], "NumberOfFrames": 1,
    "SharedFunctionalGroupsSequence": [
        item(
            XRayGeometrySequence=[item(DistanceSourceToIsocenter=800, DistanceSourceToDetector=1200)],
            FramePixelDataPropertiesSequence=[item(ImagerPixelSpacing=[0.4, 0.4], PixelIntensityRelationship="LIN")],
            FieldOfViewSequence=[
                item(FieldOfViewRotation=0, FieldOfViewHorizontalFlip="NO", FieldOfViewOrigin=[0, 0])
            ],
            PositionerPositionSequence=[item(PositionerPrimaryAngle=10.0, PositionerSecondaryAngle=0.0)],
            IsocenterReferenceSystemSequence=[
                item(
                    PositionerIsocenterPrimaryAngle=190.0, PositionerIsocenterSecondaryAngle=0.0,
                    PositionerIsocenterDetectorRotationAngle=0.0, TableHorizontalRotationAngle=0.0,
                    TableHeadTiltAngle=0.0, TableCradleTiltAngle=0.0,
                )
            ],
            PixelIntensityRelationshipLUTSequence=[
                item(LUTDescriptor=[16, 0, 16], LUTData=bytes(32), LUTFunction="TO_LINEAR")
            ],
        )
    ],
    "PerFrameFunctionalGroupsSequence": [item()],
}  # fmt: skip
DX = {
    "ViewPosition": "PA", "PatientOrientation": ["R", "F"], "DistanceSourceToDetector": 1800,
    "ImagerPixelSpacing": [0.1, 0.1], "PhotometricInterpretation": "MONOCHROME1",
}  # fmt: skip
FILES = [
    ("XA", XA), ("RF", XA), ("RTIMAGE", RT), ("enhanced XA", ENHANCED), ("enhanced XRF", ENHANCED),
    ("DX", DX), ("CR", DX),
]  # fmt: skip
# What a tag may hold instead, in its own kind of value, as bytes on the disk.
ABSURD = [
    b"", b" ", b"0", b"-1", b"1e308", b"-1e308", b"1e999", b"nan", b"NaN\\NaN", b"inf", b"0\\0", b"1\\2\\3\\4\\5\\6\\7",
    b"-0.4\\0.4", b"1e-12\\1e-12", b"abc", b"Zebedee^Quux", b"MRN-77713", b"HFX", b"\\", b"\\\\", b"0x10", b"1,5",
    b"\xff\xfe\x00", b"99999999999999999999", b"L", b"L\\R", b"A\\P\\H", b"Q\\F", b"\x00" * 8, b"\xff" * 8,
    b"\x00\x00\xc0\x7f", b"45.0000000000000000000001",
]  # fmt: skip


def attempt(path) -> None:
    """Geometry and pixels of a file: InputError or a sound result."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of a library could quote a name
        for read in (read_dicom_geometry, read_dicom_pixels):
            try:
                found = read(path)
            except InputError as error:
                message = str(error)
                assert "\n" not in message and len(message) < 600 and str(path) in message, message
                assert_no_secrets(message)
                continue
            if isinstance(found, DicomGeometry):
                text = "\n".join(found.report.lines())
                assert_no_secrets(text, found.camera.name)
                assert "nan" not in text.lower() and "inf " not in text
                assert np.isfinite(found.camera.projection_matrix.numpy()).all()
                assert 1 <= found.camera.source_to_detector < 1e5
            else:
                assert np.isfinite(found.values).all()


@pytest.fixture(autouse=True)
def silent_log(caplog):
    """Nothing may be logged either: pydicom's log quotes values."""
    yield
    assert_no_secrets(caplog.text)


@pytest.fixture
def in_memory(monkeypatch):
    """Files that are never written: thousands of small ones cost minutes on a slow disk."""

    class Memory(type(dicom_tags.Path())):
        content = b""

        def exists(self):
            return True

        def is_dir(self):
            return False

    real = pydicom.dcmread
    monkeypatch.setattr(dicom_tags.pydicom, "dcmread", lambda path, **how: real(io.BytesIO(Memory.content), **how))
    monkeypatch.setattr(dicom_tags, "Path", Memory)

    def read(content: bytes) -> None:
        Memory.content = content
        attempt(Memory("fuzzed.dcm"))

    return read


def encoded(kind, tags) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset(kind, PIXELS, **tags))
    return buffer.getvalue()


def element_of(content: bytes, keyword: str) -> tuple[int, int, int] | None:
    """(start of the length field, its width, start of the value) of an element in explicit little endian."""
    tag = pydicom.datadict.tag_for_keyword(keyword)
    at = content.find(bytes([tag >> 16 & 0xFF, tag >> 24, tag & 0xFF, tag >> 8 & 0xFF]))
    if at < 0:
        return None
    long = content[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return (at + 8, 4, at + 12) if long else (at + 6, 2, at + 8)


def with_value(content: bytes, keyword: str, value: bytes) -> bytes | None:
    """The file with other bytes as the value of an element (top level: the lengths around it still hold)."""
    place = element_of(content, keyword)
    if place is None:
        return None
    length_at, width, value_at = place
    length = int.from_bytes(content[length_at : length_at + width], "little")
    value += b" " * (len(value) % 2)
    return content[:length_at] + len(value).to_bytes(width, "little") + value + content[value_at + length :]


def test_missing_empty_and_absurd_tags(in_memory):
    count = 0
    draw = random.Random(3)
    for kind, tags in FILES:
        whole = encoded(kind, tags)
        in_memory(whole)
        base = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
                "PhotometricInterpretation", "Modality", "SOPClassUID", "NumberOfFrames")  # fmt: skip
        keywords = dict.fromkeys([*base, *tags])
        for keyword in keywords:
            in_memory(encoded(kind, tags | {keyword: None}))
            count += 1
            for value in ABSURD if kind == "XA" else draw.sample(ABSURD, 9):
                changed = with_value(whole, keyword, value)
                if changed is not None and "Sequence" not in keyword:
                    in_memory(changed)
                    count += 1
    assert count > 2000


def test_cut_off_and_scrambled_files(in_memory):
    draw = random.Random(7)
    for kind, tags in FILES:
        whole = encoded(kind, tags)
        for cut in sorted(draw.sample(range(len(whole)), 25)):
            in_memory(whole[:cut])
        for _ in range(40):
            scrambled = bytearray(whole)
            for _ in range(draw.choice((1, 3, 20))):
                scrambled[draw.randrange(132, len(whole))] = draw.randrange(256)
            in_memory(bytes(scrambled))
    for _ in range(20):
        in_memory(bytes(draw.randrange(256) for _ in range(300)))


def test_on_the_disk_it_is_the_same(tmp_path):
    (tmp_path / "empty.dcm").write_bytes(b"")
    attempt(tmp_path / "empty.dcm")
    (tmp_path / "head.dcm").write_bytes(bytes(128) + b"DICM")
    attempt(tmp_path / "head.dcm")
    attempt(write(tmp_path / "whole.dcm", dataset("XA", PIXELS, **XA)))
    attempt(tmp_path / "absent.dcm")
