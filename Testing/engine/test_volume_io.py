"""CTs in files: every format gives the same voxels at the same place, and what is no CT is refused in words."""

import os
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.poses import exp_rotation, transform_points
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.volume_io import load_volume, save_volume

SHAPE = (18, 20, 24)  # slices, rows, columns


def some_hu(shape=SHAPE, dtype=np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, shape).astype(dtype)


def an_image(values: np.ndarray, direction=None) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    if image.GetDimension() == 3:
        rotation = exp_rotation(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
        image.SetSpacing((0.8, 1.2, 2.5))
        image.SetOrigin((-50.0, 30.0, 700.0))
        image.SetDirection(direction or rotation.flatten().tolist())
    return image


def written(tmp_path, image: sitk.Image, name: str = "ct.nrrd"):
    path = tmp_path / name
    sitk.WriteImage(image, str(path))
    return path


def refused(path, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        load_volume(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["nrrd", "nhdr", "nii", "nii.gz", "mha", "mhd"])
def test_every_format_gives_the_same_ct(tmp_path, suffix):
    image = an_image(some_hu())
    volume = load_volume(written(tmp_path, image, f"my.{suffix}"))
    assert volume.hu.dtype == torch.int16 and volume.name == "my"
    np.testing.assert_array_equal(volume.hu, some_hu())
    for ijk in ((0, 0, 0), (23, 19, 17), (5, 0, 9)):
        found = transform_points(volume.ijk_to_ct, torch.tensor([ijk], dtype=torch.float64))[0]
        np.testing.assert_allclose(found, image.TransformIndexToPhysicalPoint(ijk), atol=1e-3)


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz", "mha"])
@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_what_is_saved_is_read_again(tmp_path, suffix, dtype):
    volume = load_volume(written(tmp_path, an_image(some_hu())))
    offset = 0 if dtype == torch.int16 else 0.25
    volume = Volume(volume.hu.to(dtype) + offset, volume.ijk_to_ct)
    save_volume(volume, tmp_path / f"again.{suffix}")
    again = load_volume(tmp_path / f"again.{suffix}")
    torch.testing.assert_close(again.hu, volume.hu)
    torch.testing.assert_close(again.ijk_to_ct, volume.ijk_to_ct, atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="written as"):
        save_volume(volume, tmp_path / "ct.png")


def test_nrrd_in_ras_and_in_lps_are_the_same_place(tmp_path):
    values = some_hu()
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: 24 20 18\nspace directions: {directions}\n"
        "kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: {origin}\n\n"
    )
    for space, directions, origin in (
        ("left-posterior-superior", "(1,0,0) (0,1,0) (0,0,2)", "(10,20,30)"),
        ("right-anterior-superior", "(-1,0,0) (0,-1,0) (0,0,2)", "(-10,-20,30)"),
    ):
        path = tmp_path / f"{space}.nrrd"
        text = header.format(space=space, directions=directions, origin=origin)
        path.write_bytes(text.encode() + values.tobytes())
        volume = load_volume(path)
        expected = torch.diag(torch.tensor([1.0, 1, 2, 1], dtype=torch.float64))
        expected[:3, 3] = torch.tensor([10.0, 20, 30])
        torch.testing.assert_close(volume.ijk_to_ct, expected)


def test_a_left_handed_grid_is_turned_round_in_place(tmp_path):
    image = an_image(some_hu(), direction=(1.0, 0, 0, 0, 1, 0, 0, 0, -1))
    volume = load_volume(written(tmp_path, image))
    assert torch.det(volume.ijk_to_ct[:3, :3]) > 0
    np.testing.assert_array_equal(volume.hu.flip(0), some_hu())
    first = transform_points(volume.ijk_to_ct, torch.tensor([[4.0, 3, 17]], dtype=torch.float64))[0]
    np.testing.assert_allclose(first, image.TransformIndexToPhysicalPoint((4, 3, 0)))


def test_nifti_slope_and_intercept_are_applied(tmp_path):
    path = written(tmp_path, an_image((some_hu() + 1024).astype(np.int16)), "ct.nii")
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([1.0, -1024.0], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    volume = load_volume(path)
    assert volume.hu.dtype == torch.int16
    np.testing.assert_array_equal(volume.hu, some_hu())


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64, np.int64])
def test_whole_numbers_of_any_type_become_int16(tmp_path, dtype):
    volume = load_volume(written(tmp_path, an_image(some_hu(dtype=dtype))))
    assert volume.hu.dtype == torch.int16
    np.testing.assert_array_equal(volume.hu, some_hu())


def test_fractions_and_large_metal_stay_float(tmp_path):
    values = some_hu(dtype=np.float32)
    values[3, 3, 3] = 0.5
    assert load_volume(written(tmp_path, an_image(values))).hu.dtype == torch.float32
    values = some_hu(dtype=np.int32)
    values[3, 3, 3] = 40000
    assert load_volume(written(tmp_path, an_image(values))).hu.max() == 40000


@pytest.mark.parametrize("padding", [-2000, -3024, -32768])
def test_padding_becomes_air(tmp_path, padding):
    values = some_hu()
    values[:, :3] = padding
    volume = load_volume(written(tmp_path, an_image(values)))
    assert volume.hu.min() == -1024
    assert volume.attenuation()[:, :3].max() == 0


def _with(place: tuple, value: float) -> np.ndarray:
    values = some_hu(dtype=np.float32)
    values[place] = value
    return values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (some_hu()[0], "2D image"),
        (some_hu((15, 20, 24)), "15 slices"),
        (some_hu((20, 12, 24)), "at least 16 along each axis"),
        (_with((3, 4, 5), np.nan), "NaN or infinite"),
        (_with((3, 4, 5), np.inf), "NaN or infinite"),
        (_with((3, 4, 5), 1e6), "from -1000 to 1e.06, which cannot be Hounsfield"),
        (np.zeros(SHAPE, np.int16), "from 0 to 0, which .* constant"),
        (np.abs(some_hu()).astype(np.uint8), "from 0 to 255, which cannot be Hounsfield.*air is -1000"),
        ((some_hu() + 1024).astype(np.uint16), "from 24 to 25.*1024 was added"),
        (np.random.default_rng(0).random(SHAPE).astype(np.float32) * 0.05, "bone is above 200"),
        (some_hu().astype(np.float32) / 1000 * 0.02, "which cannot be Hounsfield"),
    ],
)
def test_what_is_no_ct_is_refused(tmp_path, values, words):
    refused(written(tmp_path, an_image(values)), words)


def test_colour_and_vector_volumes_are_refused(tmp_path):
    image = sitk.Compose([sitk.GetImageFromArray(some_hu())] * 3)
    refused(written(tmp_path, image), "has 3 values a voxel")
    refused(written(tmp_path, sitk.Cast(image, sitk.sitkVectorUInt8), "ct.mha"), "has 3 values a voxel")


@pytest.mark.parametrize("suffix", ["nii.gz", "mha", "nrrd"])
def test_4d_is_refused_with_the_number_of_volumes(tmp_path, suffix):
    image = sitk.JoinSeries([sitk.GetImageFromArray(some_hu())] * 3)
    refused(written(tmp_path, image, f"ct.{suffix}"), "4D: it holds 3 volumes")


def test_4d_with_one_volume_is_3d(tmp_path):
    image = sitk.JoinSeries([sitk.GetImageFromArray(some_hu())])
    np.testing.assert_array_equal(load_volume(written(tmp_path, image, "ct.nii")).hu, some_hu())


def test_spacings_in_other_units_are_refused(tmp_path):
    for spacing in ((0.0008, 0.0008, 0.002), (800.0, 800, 2500)):
        image = sitk.GetImageFromArray(some_hu())
        image.SetSpacing(spacing)
        refused(written(tmp_path, image), "voxel spacing .* mm")


def _nrrd(directions: str) -> bytes:
    return (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 24 20 18\n"
        f"space directions: {directions}\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        "space origin: (0,0,0)\n\n"
    ).encode() + some_hu().tobytes()


@pytest.mark.parametrize(
    "directions", ["(1,0,0) (1,0,0) (0,0,2)", "(1,0,0) (0,0,0) (0,0,2)", "(1,0,0) (0.3,1,0) (0,0,2)"]
)
def test_degenerate_and_sheared_directions_are_refused(tmp_path, directions):
    path = tmp_path / "ct.nrrd"
    path.write_bytes(_nrrd(directions))
    refused(path, "damaged|degenerate|spacing")


def test_missing_damaged_and_other_files_are_refused(tmp_path):
    refused(tmp_path / "none.nrrd", "does not exist")
    path = tmp_path / "text.nrrd"
    path.write_text("hello")
    refused(path, "not an image that can be read")
    path = tmp_path / "cut.nrrd"
    path.write_bytes(_nrrd("(1,0,0) (0,1,0) (0,0,2)")[:5000])
    refused(path, "damaged or cut short")
    path = tmp_path / "empty.nii.gz"
    path.write_bytes(b"")
    refused(path, "not an image that can be read")
    folder = tmp_path / "folder"
    folder.mkdir()
    refused(folder, "holds no DICOM")


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="needs POSIX memory figures")
def test_a_large_ct_is_read_with_little_more_than_twice_its_size(tmp_path):
    resource = pytest.importorskip("resource")
    size = 256
    values = np.full((size,) * 3, -1000, np.int16)
    values[50:200, 50:200, 50:200] = some_hu((150, 150, 150))
    path = written(tmp_path, sitk.GetImageFromArray(values))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    volume = load_volume(path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert volume.hu.element_size() == 2
    assert grown < 2.5 * values.nbytes


def test_the_real_cts_are_read(shared_data):
    volume = load_volume(shared_data / "cases" / "wrist_0099" / "ct.nrrd")
    assert volume.shape == (128, 86, 68)
    assert volume.spacing == pytest.approx((0.39625, 0.39625, 0.625))


def test_nothing_is_printed_or_warned(tmp_path, capfd):
    path = tmp_path / "text.nrrd"
    path.write_text("hello")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError):
            load_volume(path)
        load_volume(written(tmp_path, an_image(some_hu()), "a.nii.gz"))
    assert capfd.readouterr() == ("", "")
