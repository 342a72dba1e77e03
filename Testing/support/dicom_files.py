"""DICOM X-ray files as the tests write them: tiny, valid, with planted names that must never come out again."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SOP_CLASSES = {
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
    "RF": "1.2.840.10008.5.1.4.1.1.12.2",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "RTIMAGE": "1.2.840.10008.5.1.4.1.1.481.1",
    "enhanced XA": "1.2.840.10008.5.1.4.1.1.12.1.1",
    "enhanced XRF": "1.2.840.10008.5.1.4.1.1.12.2.1",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
}
SECRETS = ("Zebedee", "Quux", "19530417", "MRN-77713", "Whipsnade", "Featherstone")
"""Pieces of every planted identity."""


def dataset(kind: str = "XA", pixels: np.ndarray | None = None, **tags) -> FileDataset:
    """A file of ``kind`` (a key of SOP_CLASSES) with pixels (rows, columns) or (frames, rows, columns).

    ``tags`` are set by keyword; None removes one. Identity is planted in every tag that usually holds some.
    """
    pixels = np.arange(6 * 8, dtype=np.uint16).reshape(6, 8) if pixels is None else pixels
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SOP_CLASSES[kind], generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = SOP_CLASSES[kind], meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.Modality = {"enhanced XA": "XA", "enhanced XRF": "RF"}.get(kind, kind)
    data.PatientName, data.PatientID, data.PatientBirthDate = "Zebedee^Quux", "MRN-77713", "19530417"
    data.InstitutionName = data.ReferringPhysicianName = data.OperatorsName = "Whipsnade Featherstone"
    data.ImageComments = data.StudyDescription = data.SeriesDescription = data.ProtocolName = "Zebedee Quux again"
    data.add_new(0x00091010, "LO", "Zebedee Quux in private")
    data.Rows, data.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    bits = pixels.dtype.itemsize * 8
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        if value is None:
            if keyword in data:
                delattr(data, keyword)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # values that are wrong on purpose
                setattr(data, keyword, value)
    return data


def item(**tags) -> Dataset:
    """A sequence item."""
    made = Dataset()
    for keyword, value in tags.items():
        setattr(
            made,
            keyword,
            Sequence(value) if isinstance(value, list) and value and isinstance(value[0], Dataset) else value,
        )
    return made


def write(path: Path, data: FileDataset) -> Path:
    """Write a file, and give its path."""
    pydicom.dcmwrite(path, data)
    return path


def assert_no_secrets(*texts: str) -> None:
    """Fail when a piece of a planted identity is in any of the texts."""
    for text in texts:
        for secret in SECRETS:
            assert secret.lower() not in text.lower(), f"{secret} came out: {text[:500]}"
