"""A registration as a DICOM Spatial Registration object (PS3.3 A.39.1), to be stored beside the CT and the X-rays.

Two items of the Registration Sequence (0070,0308) relate two frames of reference to the registered one: the world in
which the cameras are given, by the identity, and the CT's, by the pose. X-ray images have no 3D frame of their own, so
the X-rays are named as the source images (PS3.3 C.12.4), and world gets a UID that follows from them and their
geometry: several CTs registered to the same X-rays share it.

Patient and study are copied from the CT's files, since the object belongs beside them: unlike everything else that this
program writes, it identifies the patient.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
import torch
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds
from torch import Tensor

from .. import __version__
from .atomic import atomic_path
from .camera import Camera
from .dicom_series import series_files
from .dicom_tags import is_dicom, quiet
from .errors import InputError
from .poses import check_rigid

SPATIAL_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"
_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "IssuerOfPatientID")
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
          "StudyDescription")  # fmt: skip
_OWN = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "NumberOfFrames",
        "SpecificCharacterSet")  # fmt: skip
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_TYPE_3 = ("IssuerOfPatientID", "StudyDescription")
_SIDE = ("BodyPartExamined", "Laterality", "ImageLaterality")
# PS3.16 table L-1: defined terms of body parts of which there is one, so that no side is told (PS3.3 C.7.3.1).
_UNPAIRED = frozenset(
    "ABDOMEN ABDOMENPELVIS BLADDER BRAIN CERVIX CHEST CHESTABDOMEN CHESTABDPELVIS COCCYX CSPINE CTSPINE ESOPHAGUS HEAD "
    "HEADNECK HEART JAW LARYNX LIVER LSPINE LSSPINE MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN "
    "NECKCHESTABDPELV NOSE PANCREAS PELVIS PHARYNX PROSTATE RECTUM SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TLSPINE "
    "TRACHEA TSPINE UTERUS WHOLEBODY".split()
)
# PS3.16 CID 7100, RCS Registration Method Type.
_IDENTITY = ("125021", "Frame of Reference Identity")
_BY_CONTENT = ("125024", "Image Content-based Alignment")


@dataclass(frozen=True)
class DicomSource:
    """The files that a registration came from. ct: one dataset a slice; xrays: one a view; frames: of each view."""

    ct: Sequence[Dataset]
    xrays: Sequence[Dataset]
    frames: Sequence[int | None]


def read_dicom_source(ct: Path, xrays: Sequence[Path], frames: Sequence[int | str | None] = ()) -> DicomSource:
    """Read which instances a CT folder and the X-ray files are.

    Raises InputError where one of them is not DICOM, lacks the UIDs that an object must name, or where CT and X-rays
    are of different patients by their Patient ID.
    """
    if ct.is_file() and not is_dicom(ct):
        raise InputError(f"{ct}: a DICOM registration object needs the CT as DICOM; this is another format.")
    for path in xrays:
        if not is_dicom(path):
            raise InputError(f"{path}: a DICOM registration object needs the X-rays as DICOM; this is another format.")
    slices = [_read(Path(name)) for name in series_files(ct)]
    views = [_read(path) for path in xrays]
    frame_uids = {data.get("FrameOfReferenceUID") for data in slices}
    if len(frame_uids) != 1 or not next(iter(frame_uids)):
        raise InputError(f"{ct}: its slices do not share one Frame of Reference UID (0020,0052), which must be named.")
    for path, data in [(ct, slices[0]), *zip(xrays, views, strict=True)]:
        lacking = [key for key in _NEEDED if not data.get(key)]
        if lacking:
            raise InputError(f"{path}: lacks {', '.join(lacking)}, without which a DICOM object cannot name it.")
    ids = [data.get("PatientID") or None for data in (slices[0], *views)]
    if len({each for each in ids if each}) > 1:
        raise InputError("CT and X-rays have different Patient IDs (0010,0020); no DICOM registration object is made.")
    numbers = [frame if isinstance(frame, int) else None for frame in (frames or [None] * len(views))]
    return DicomSource(slices, views, numbers)


def registration_object(
    source: DicomSource, cameras: Sequence[Camera], ct_to_world: Tensor, comment: str = ""
) -> FileDataset:
    """The object of a pose (4, 4), LPS mm. comment: how it came about, of which 64 characters are kept."""
    pose = check_rigid(ct_to_world, "The pose")
    first = source.ct[0]
    now = datetime.datetime.now().astimezone()
    world = world_frame_uid(source, cameras)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SPATIAL_REGISTRATION
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    if first.get("SpecificCharacterSet"):
        data.SpecificCharacterSet = first.SpecificCharacterSet
    data.SOPClassUID, data.SOPInstanceUID = SPATIAL_REGISTRATION, meta.MediaStorageSOPInstanceUID
    for keyword in (*_PATIENT, *_STUDY):
        value = first.get(keyword)
        if value or keyword not in _TYPE_3:
            setattr(data, keyword, value or "")
    data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "REG", generate_uid(), None
    data.SeriesDescription = "2D/3D registration (research)"
    _tell_body_part(data, first)
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = world, ""
    data.Manufacturer, data.ManufacturerModelName, data.SoftwareVersions = "DeepReg2D3D", "DeepReg2D3D", __version__
    data.InstanceCreationDate = data.ContentDate = now.strftime("%Y%m%d")
    data.InstanceCreationTime = data.ContentTime = now.strftime("%H%M%S")
    data.InstanceNumber, data.ContentLabel = 1, "REGISTRATION"
    data.ContentDescription, data.ContentCreatorName = "CT registered to X-rays; research software", ""
    data.RegistrationSequence = [
        _registration(world, torch.eye(4, dtype=torch.float64), _IDENTITY, "world of the X-ray cameras"),
        _registration(first.FrameOfReferenceUID, pose, _BY_CONTENT, comment),
    ]
    data.RegistrationSequence[1].ReferencedImageSequence = [_reference(each) for each in source.ct]
    data.SourceImageSequence = [
        _reference(each, frame) for each, frame in zip(source.xrays, source.frames, strict=True)
    ]
    _add_common_references(data, [*source.ct, *source.xrays])
    return data


def save_registration_object(data: FileDataset, path: Path) -> None:
    """Write the object, whole or not at all."""
    with atomic_path(path) as part:
        data.save_as(part, enforce_file_format=True)


def world_frame_uid(source: DicomSource, cameras: Sequence[Camera]) -> str:
    """The UID of the frame in which the cameras are given; the same X-rays with the same geometry give the same."""
    matrices = [str([round(x, 6) for x in camera.projection_matrix.flatten().tolist()]) for camera in cameras]
    return generate_uid(entropy_srcs=[str(data.SOPInstanceUID) for data in source.xrays] + matrices)


def _read(path: Path) -> Dataset:
    with quiet():
        try:
            return pydicom.dcmread(path, specific_tags=[*_PATIENT, *_STUDY, *_SIDE, *_OWN], stop_before_pixels=True)
        except Exception:
            raise InputError(f"{path}: is not a DICOM file that can be read, or it is damaged.") from None


def _tell_body_part(data: Dataset, ct: Dataset) -> None:
    """What was examined and its side, as the CT says; an empty side says that it isn't known (PS3.3 C.7.3.1)."""
    part = str(ct.get("BodyPartExamined") or "")
    side = ct.get("Laterality") or ct.get("ImageLaterality")
    if part:
        data.BodyPartExamined = part
    if side in ("L", "R"):
        data.Laterality = side
    elif part not in _UNPAIRED:
        data.Laterality = ""


def _registration(frame: str, matrix: Tensor, kind: tuple[str, str], comment: str) -> Dataset:
    transform = Dataset()
    transform.FrameOfReferenceTransformationMatrix = [format_number_as_ds(float(x)) for x in matrix.flatten()]
    transform.FrameOfReferenceTransformationMatrixType = "RIGID"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = kind[0], "DCM", kind[1]
    registration = Dataset()
    if comment:
        registration.FrameOfReferenceTransformationComment = comment[:64]
    registration.RegistrationTypeCodeSequence = [code]
    registration.MatrixSequence = [transform]
    item = Dataset()
    item.FrameOfReferenceUID = frame
    item.MatrixRegistrationSequence = [registration]
    return item


def _reference(data: Dataset, frame: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    if frame is not None and int(data.get("NumberOfFrames") or 1) > 1:
        item.ReferencedFrameNumber = frame
    return item


def _add_common_references(data: FileDataset, instances: Sequence[Dataset]) -> None:
    """The Common Instance Reference module (PS3.3 C.12.2): every instance named, by study and series."""
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for instance in instances:
        series = studies.setdefault(str(instance.StudyInstanceUID), {})
        series.setdefault(str(instance.SeriesInstanceUID), []).append(_reference(instance))

    def listed(series: dict[str, list[Dataset]]) -> list[Dataset]:
        items = []
        for uid, references in series.items():
            item = Dataset()
            item.SeriesInstanceUID, item.ReferencedInstanceSequence = uid, references
            items.append(item)
        return items

    own = studies.pop(str(data.StudyInstanceUID), None)
    if own:
        data.ReferencedSeriesSequence = listed(own)
    others = []
    for uid, series in studies.items():
        item = Dataset()
        item.StudyInstanceUID, item.ReferencedSeriesSequence = uid, listed(series)
        others.append(item)
    if others:
        data.StudiesContainingOtherReferencedInstancesSequence = others
