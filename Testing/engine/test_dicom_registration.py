"""The Spatial Registration object: the attributes that the standard wants, the right matrix, and what is refused."""

import copy
import shutil
import subprocess

import pydicom
import pytest
import torch
from DeepReg2D3DLib.engine.dicom_registration import (
    read_dicom_source,
    registration_object,
    save_registration_object,
    world_frame_uid,
)
from DeepReg2D3DLib.engine.dicom_xray import read_dicom_geometries
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.volume import Volume
from dicom_case import FRAME, SERIES, STUDY, XRAY_SERIES, XRAY_STUDY, write_dicom_ct, xa_tags
from dicom_files import dataset, write
from small_case import TRUTH

# Types of PS3.3 tables C.7-1, C.7-3, C.7-5a, C.20.1-1, C.7-6, C.7-8, C.20.2-1 with 10-12, C.12-1: 1 is there with a
# value, 2 is there, maybe empty.
TYPE_1 = """
    StudyInstanceUID Modality SeriesInstanceUID FrameOfReferenceUID SOPClassUID SOPInstanceUID ContentDate ContentTime
    InstanceNumber ContentLabel RegistrationSequence
""".split()
TYPE_2 = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID AccessionNumber
    SeriesNumber PositionReferenceIndicator Manufacturer ContentDescription ContentCreatorName
""".split()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(CT folder, two XA files, of which one has several frames), of one planted patient."""
    folder = tmp_path_factory.mktemp("dicom")
    matrix = torch.eye(4, dtype=torch.float64)
    ct = write_dicom_ct(folder / "ct", Volume(torch.zeros(16, 16, 16, dtype=torch.int16), matrix))
    pixels = torch.zeros(3, 8, 8, dtype=torch.int16).numpy().astype("uint16")
    run = write(folder / "run.dcm", dataset("XA", pixels, **xa_tags(0)))
    still = write(folder / "still.dcm", dataset("XA", pixels[0], **xa_tags(90)))
    return ct, [run, still]


def made(files, pose=TRUTH):
    ct, xrays = files
    cameras = [view.camera for view in read_dicom_geometries(xrays)]
    return registration_object(read_dicom_source(ct, xrays, [2, None]), cameras, pose, "by a test")


@pytest.fixture(scope="module")
def written(files, tmp_path_factory) -> pydicom.Dataset:
    """The object, written and read again."""
    path = tmp_path_factory.mktemp("out") / "registration.dcm"
    save_registration_object(made(files), path)
    return pydicom.dcmread(path)


def test_every_module_of_the_iod_is_complete(written):
    for keyword in TYPE_1:
        assert keyword in written and written[keyword].value not in ("", None), keyword
    for keyword in TYPE_2:
        assert keyword in written, keyword
    assert written.file_meta.MediaStorageSOPClassUID == written.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.1"
    assert written.Modality == "REG" and written.StudyInstanceUID == STUDY
    assert written.SeriesInstanceUID not in (SERIES, XRAY_SERIES)
    assert "PixelData" not in written
    for element in written.iterall():
        if element.VR == "DS":
            values = (
                element.value if isinstance(element.value, (list, pydicom.multival.MultiValue)) else [element.value]
            )
            assert all(len(str(value.original_string)) <= 16 for value in values)
        longest = {"CS": 16, "SH": 16, "LO": 64, "UI": 64}.get(element.VR)
        assert longest is None or len(str(element.value)) <= longest, element


# The sequences of PS3.3 C.20.2, C.12.4 and C.12.2: what each item holds (type 1 alike), from the tables' rows with ">".
_REFERENCE = {"ReferencedSOPClassUID": None, "ReferencedSOPInstanceUID": None}
_SERIES = {"SeriesInstanceUID": None, "ReferencedInstanceSequence": _REFERENCE}
NESTED = {
    "RegistrationSequence": {
        "FrameOfReferenceUID": None,
        "MatrixRegistrationSequence": {
            "RegistrationTypeCodeSequence": {"CodeValue": None, "CodingSchemeDesignator": None, "CodeMeaning": None},
            "MatrixSequence": {
                "FrameOfReferenceTransformationMatrix": None,
                "FrameOfReferenceTransformationMatrixType": None,
            },
        },
    },
    "SourceImageSequence": _REFERENCE,
    "ReferencedSeriesSequence": _SERIES,
    "StudiesContainingOtherReferencedInstancesSequence": {
        "StudyInstanceUID": None,
        "ReferencedSeriesSequence": _SERIES,
    },
}


def lacking(data, wanted, path=""):
    """What is missing or empty of the attributes of a dataset and of the items of its sequences."""
    for keyword, items in wanted.items():
        value = data.get(keyword)
        if value in (None, "") or (items is not None and len(value) == 0):
            yield f"{path}{keyword}"
        elif items is not None:
            for item in value:
                yield from lacking(item, items, f"{path}{keyword}.")


def test_every_item_of_its_sequences_is_complete(written):
    assert list(lacking(written, NESTED)) == []
    broken = copy.deepcopy(written)
    (matrix,) = broken.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence
    del matrix.FrameOfReferenceTransformationMatrixType
    (found,) = lacking(broken, NESTED)
    assert found.endswith("MatrixSequence.FrameOfReferenceTransformationMatrixType")


def test_an_outside_validator_finds_no_error(written, tmp_path):
    """dciodvfy of dicom3tools, where it is installed."""
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    written.save_as(tmp_path / "registration.dcm")
    found = subprocess.run([validator, "-new", tmp_path / "registration.dcm"], capture_output=True, text=True)
    assert "SpatialRegistration" in found.stderr and "Error" not in found.stderr, found.stderr


@pytest.mark.parametrize(
    ("told", "side"),
    [
        ({"BodyPartExamined": "WRIST", "Laterality": "L"}, "L"),
        ({"BodyPartExamined": "WRIST", "ImageLaterality": "R"}, "R"),
        ({"BodyPartExamined": "WRIST"}, ""),  # not known: Laterality is of type 2C
        ({"BodyPartExamined": "CHEST"}, None),  # there is one: it must not be there
        ({"BodyPartExamined": "CHEST", "ImageLaterality": "U"}, None),
        ({}, ""),
    ],
)
def test_the_side_of_a_paired_body_part_is_the_cts(files, told, side):
    ct, xrays = files
    source = read_dicom_source(ct, xrays)
    for keyword, value in told.items():
        setattr(source.ct[0], keyword, value)
    cameras = [view.camera for view in read_dicom_geometries(xrays)]
    data = registration_object(source, cameras, TRUTH)
    assert data.get("BodyPartExamined") == told.get("BodyPartExamined")
    assert data.get("Laterality") == side and ("Laterality" in data) is (side is not None)


def test_the_matrix_takes_ct_points_to_the_registered_frame(written):
    world, ct = written.RegistrationSequence
    assert world.FrameOfReferenceUID == written.FrameOfReferenceUID != FRAME
    assert ct.FrameOfReferenceUID == FRAME
    for item, wanted in ((world, torch.eye(4, dtype=torch.float64)), (ct, TRUTH)):
        (registration,) = item.MatrixRegistrationSequence
        (code,) = registration.RegistrationTypeCodeSequence
        assert code.CodingSchemeDesignator == "DCM" and code.CodeValue and code.CodeMeaning
        (matrix,) = registration.MatrixSequence
        assert matrix.FrameOfReferenceTransformationMatrixType == "RIGID"
        found = torch.tensor([float(x) for x in matrix.FrameOfReferenceTransformationMatrix], dtype=torch.float64)
        torch.testing.assert_close(found.reshape(4, 4), wanted, atol=1e-9, rtol=0)


def test_every_instance_is_named_with_its_series_and_study(written, files):
    ct, xrays = files
    slices = {str(pydicom.dcmread(path).SOPInstanceUID) for path in ct.iterdir()}
    runs = [str(pydicom.dcmread(path).SOPInstanceUID) for path in xrays]
    referenced = written.RegistrationSequence[1].ReferencedImageSequence
    assert {str(item.ReferencedSOPInstanceUID) for item in referenced} == slices and len(referenced) == 16
    assert [str(item.ReferencedSOPInstanceUID) for item in written.SourceImageSequence] == runs
    assert written.SourceImageSequence[0].ReferencedFrameNumber == 2
    assert "ReferencedFrameNumber" not in written.SourceImageSequence[1]
    (own,) = written.ReferencedSeriesSequence
    assert own.SeriesInstanceUID == SERIES and len(own.ReferencedInstanceSequence) == 16
    (other,) = written.StudiesContainingOtherReferencedInstancesSequence
    assert other.StudyInstanceUID == XRAY_STUDY
    (series,) = other.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == XRAY_SERIES
    assert [str(item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence] == runs


def test_the_patient_is_the_cts(written, files):
    ct, _ = files
    first = pydicom.dcmread(sorted(ct.iterdir())[0])
    assert written.PatientName == first.PatientName and written.PatientID == first.PatientID


def test_the_same_x_rays_share_a_world_and_other_geometry_has_another(files):
    ct, xrays = files
    source = read_dicom_source(ct, xrays)
    cameras = [view.camera for view in read_dicom_geometries(xrays)]
    assert world_frame_uid(source, cameras) == made(files, torch.eye(4)).FrameOfReferenceUID
    assert world_frame_uid(source, cameras) != world_frame_uid(source, [camera.flipped_columns() for camera in cameras])


def test_other_formats_and_other_patients_are_refused(files, tmp_path):
    ct, xrays = files
    (tmp_path / "ct.nrrd").write_bytes(b"NRRD0004\n")
    with pytest.raises(InputError, match="needs the CT as DICOM"):
        read_dicom_source(tmp_path / "ct.nrrd", xrays)
    with pytest.raises(InputError, match="needs the X-rays as DICOM"):
        read_dicom_source(ct, [tmp_path / "ct.nrrd"])
    stranger = write(tmp_path / "b.dcm", dataset("XA", PatientID="MRN-1"))
    with pytest.raises(InputError, match="different Patient IDs") as error:
        read_dicom_source(ct, [stranger])
    assert "MRN" not in str(error.value)
    nameless = write(tmp_path / "c.dcm", dataset("XA", SeriesInstanceUID=None))
    with pytest.raises(InputError, match="lacks SeriesInstanceUID"):
        read_dicom_source(ct, [nameless])
    first = pydicom.dcmread(sorted(ct.iterdir())[0])
    del first.FrameOfReferenceUID
    (tmp_path / "one").mkdir()
    with pytest.raises(InputError, match="Frame of Reference UID"):
        read_dicom_source(write(tmp_path / "one" / "a.dcm", first), xrays)
