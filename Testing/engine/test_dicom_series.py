"""CTs as folders of DICOM slices: order, place, slope and intercept, and folders that are not one even CT."""

import numpy as np
import pydicom
import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.poses import transform_points
from DeepReg2D3DLib.engine.volume_io import load_volume
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS, SLICES = 20, 24, 18
AXIAL = (1.0, 0, 0, 0, 1, 0)


def hu_of_slice(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(-1000, 1500, (ROWS, COLUMNS)).astype(np.int16)


def write_slice(path, index, *, series, z=None, shift=0.0, axes=AXIAL, slope=1.0, intercept=-1024.0, **tags):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID = series, generate_uid()
    data.Modality, data.SeriesDescription = "CT", tags.get("description", "thin")
    data.Rows, data.Columns = ROWS, COLUMNS
    data.PixelSpacing, data.SliceThickness = [0.7, 0.9], 2.0
    place = np.array([-10.0, 20.0 + shift, 100.0])
    normal = np.cross(axes[:3], axes[3:])
    data.ImagePositionPatient = list(place + normal * (2.0 * index if z is None else z))
    data.ImageOrientationPatient = list(axes)
    data.InstanceNumber = index + 1
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept = slope, intercept
    data.PixelData = ((hu_of_slice(index) - intercept) / slope).astype(np.uint16).tobytes()
    for tag in tags.get("without", ()):
        delattr(data, tag)
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def write_series(folder, count=SLICES, change=lambda index: {}, **common):
    """``count`` slices whose file names are not in the order of their places."""
    folder.mkdir(exist_ok=True)
    series = common.pop("series", generate_uid())
    for index in range(count):
        name = f"{common.get('description', 'thin')}{(index * 7) % count:03d}.dcm"
        write_slice(folder / name, index, series=series, **(common | change(index)))
    return folder


def refused(folder, words):
    with pytest.raises(InputError, match=words) as error:
        load_volume(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -1024.0), (0.5, -1000.0)])
def test_slices_are_put_in_order_at_their_place(tmp_path, slope, intercept):
    folder = write_series(tmp_path / "ct", slope=slope, intercept=intercept)
    volume = load_volume(folder)
    assert volume.shape == (SLICES, ROWS, COLUMNS) and volume.hu.dtype == torch.int16 and volume.name == "ct"
    assert volume.spacing == pytest.approx((0.9, 0.7, 2.0))
    for index in (0, 5, SLICES - 1):
        place = torch.tensor([[-10.0, 20.0, 100.0 + 2.0 * index]], dtype=torch.float64)
        i, j, k = transform_points(torch.linalg.inv(volume.ijk_to_ct), place)[0].round().int().tolist()
        assert (i, j) == (0, 0)
        np.testing.assert_array_equal(volume.hu[k], hu_of_slice(index))


def test_coronal_slices_lie_where_they_were_taken(tmp_path):
    volume = load_volume(write_series(tmp_path / "ct", axes=(1.0, 0, 0, 0, 0, -1)))
    place = torch.tensor([[-10.0 + 3 * 0.9, 20.0 + 2.0 * 4, 100.0 - 2 * 0.7]], dtype=torch.float64)
    i, j, k = transform_points(torch.linalg.inv(volume.ijk_to_ct), place)[0].round().int().tolist()
    assert volume.hu[k, j, i] == hu_of_slice(4)[2, 3]
    assert torch.det(volume.ijk_to_ct[:3, :3]) > 0


def test_a_localiser_beside_the_ct_is_left_out(tmp_path):
    folder = write_series(tmp_path / "ct")
    write_series(folder, 2, description="scout")
    (folder / "README.txt").write_text("not DICOM")
    assert load_volume(folder).shape[0] == SLICES


def test_two_series_are_named_and_one_file_chooses(tmp_path):
    folder = write_series(tmp_path / "ct")
    write_series(folder, 17, description="bone")
    refused(folder, "2 DICOM series: .*CT 'thin' 18 images.*|.*CT 'bone' 17 images")
    assert load_volume(folder / "bone003.dcm").shape[0] == 17
    assert load_volume(folder / "thin003.dcm").shape[0] == 18


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: {"z": 2.0 * i + (2.0 if i > 9 else 0.0)}, "not uniform: 2 mm usually, but 4 mm"),
        (lambda i: {"z": 2.0 * i + (0.1 if i == 7 else 0.0)}, "not uniform: 2 mm usually, but"),
        (lambda i: {"z": 2.0 * (i // 2)}, "9 of its 18 slices lie where another one does"),
        (lambda i: {"shift": 0.5 * i}, "shifted by 0.50 mm against each other .a tilted gantry"),
        (lambda i: {"axes": AXIAL if i < 9 else (0.98, 0.199, 0, -0.199, 0.98, 0)}, "not parallel|DICOM series"),
        (lambda i: {"without": ("ImagePositionPatient",)}, "does not say where its slice lies|damaged|not uniform"),
    ],
)
def test_uneven_slices_are_refused(tmp_path, change, words):
    refused(write_series(tmp_path / "ct", change=change), words)


def test_a_little_rounding_of_positions_is_fine(tmp_path):
    volume = load_volume(write_series(tmp_path / "ct", change=lambda i: {"z": round(0.625 * 3 * i, 2)}))
    assert volume.spacing[2] == pytest.approx(1.875, abs=0.01)


def test_few_slices_are_refused(tmp_path):
    refused(write_series(tmp_path / "ct", 12), "12 slices")
    refused(write_series(tmp_path / "one", 1), "1 slices|3 dimensions")


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path, "holds no DICOM")


def test_a_damaged_slice_is_named_or_refused(tmp_path):
    folder = write_series(tmp_path / "ct")
    path = folder / "thin007.dcm"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError):
        load_volume(folder)
