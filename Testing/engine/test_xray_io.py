"""X-ray images in files: every format gives the same pixels, and what is no X-ray is refused in words."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.xray_io import load_xray, read_pixels, save_image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, XRayAngiographicImageStorage, generate_uid
from xray_images import exposed, field, stored, torso

ROWS, COLUMNS = 120, 150


def a_camera(columns=COLUMNS, rows=ROWS) -> Camera:
    return Camera.from_parameters(
        source_to_detector=1000.0,
        pixel_spacing=(1.0, 1.0),
        principal_point=(70.0, 60.0),
        world_to_camera=torch.eye(4, dtype=torch.float64),
        columns=columns,
        rows=rows,
        name="AP",
    )


def intensities(bits=16, kind="none") -> np.ndarray:
    line_integrals, open_field = torso(ROWS, COLUMNS, 0.8), field(kind, ROWS, COLUMNS)
    image = stored(exposed(line_integrals, open_field), bits, 0.9)
    return image.numpy().astype(np.uint8 if bits == 8 else np.uint16)


def written(tmp_path, values, name="ap.png", vector=False):
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=vector), str(path))
    return path


def refused(path, words, camera=None, kind="auto"):
    with pytest.raises(InputError, match=words) as error:
        load_xray(path, camera or a_camera(), kind)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def write_dicom(path, values, frames=1):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = XRayAngiographicImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = XRayAngiographicImageStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.SeriesInstanceUID, data.StudyInstanceUID = "XA", generate_uid(), generate_uid()
    data.Rows, data.Columns = values.shape[-2:]
    if frames > 1:
        data.NumberOfFrames = frames
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = np.repeat(values[None], frames, 0).astype(np.uint16).tobytes()
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", ["png", "tif", "nrrd", "nii", "nii.gz", "mha"])
def test_every_format_gives_the_same_pixels(tmp_path, suffix, bits):
    values = intensities(bits)
    found = read_pixels(written(tmp_path, values, f"ap.{suffix}"))
    np.testing.assert_array_equal(found, values)


def test_dicom_pixels_are_read(tmp_path):
    values = intensities()
    path = write_dicom(tmp_path / "ap.dcm", values)
    np.testing.assert_array_equal(read_pixels(path), values)
    assert load_xray(path, a_camera(), "intensity").line_integral.shape == (1, 1, ROWS, COLUMNS)


@pytest.mark.parametrize("suffix", ["nrrd", "mha", "nii"])
def test_an_image_with_one_slice_is_an_image(tmp_path, suffix):
    values = intensities()
    np.testing.assert_array_equal(read_pixels(written(tmp_path, values[None], f"ap.{suffix}")), values)


@pytest.mark.parametrize("channels", [3, 4])
def test_grey_pictures_stored_in_colour_are_accepted(tmp_path, channels):
    grey = intensities(8)
    colours = np.repeat(grey[..., None], channels, -1)
    if channels == 4:
        colours[..., 3] = 255
    path = written(tmp_path, colours, vector=True)
    np.testing.assert_array_equal(read_pixels(path), grey)
    colours[5, 5, 1] ^= 1
    refused(written(tmp_path, colours, vector=True), "colour image")


def test_an_xray_is_what_it_promises(tmp_path):
    xray = load_xray(written(tmp_path, intensities(kind="round")), a_camera(), "intensity")
    assert xray.line_integral.dtype == torch.float32 and xray.mask.dtype == torch.bool
    assert xray.line_integral.shape == xray.mask.shape == (1, 1, ROWS, COLUMNS)
    assert bool(torch.isfinite(xray.line_integral).all()) and xray.name == "AP"
    assert float((xray.mask[0, 0] ^ field("round", ROWS, COLUMNS)).float().mean()) < 0.06
    # Bone bright, as it was before exposure.
    true = torso(ROWS, COLUMNS, 0.8)
    both = torch.stack([true[xray.mask[0, 0]], xray.line_integral[xray.mask]])
    assert torch.corrcoef(both)[0, 1] > 0.97


def test_line_integrals_are_taken_as_they_are(tmp_path):
    true = torso(ROWS, COLUMNS, 0.8)
    path = written(tmp_path, true.numpy(), "ap.nrrd")
    for kind in ("line_integral", "auto"):
        torch.testing.assert_close(load_xray(path, a_camera(), kind).line_integral[0, 0], true)


def test_auto_turns_inverted_pictures(tmp_path):
    upright = load_xray(written(tmp_path, intensities(8)), a_camera(), "auto")
    inverted = load_xray(written(tmp_path, 255 - intensities(8), "inv.png"), a_camera(), "auto")
    both = torch.stack([upright.line_integral.flatten(), inverted.line_integral.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.8


def test_a_kind_that_is_only_guessed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.engine.xray_kind._UNSURE", 1000.0)
    path = written(tmp_path, intensities())
    with pytest.warns(UserWarning, match=r"bone looks dark, but not clearly so; give the view's image_kind"):
        load_xray(path, a_camera(), "auto")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((ROWS, COLUMNS), np.uint8), "every pixel is 0; the image shows nothing"),
        (np.full((ROWS, COLUMNS), 65535, np.uint16), "every pixel is 65535"),
        (np.pad([[9, 9]], ((60, 59), (70, 78))).astype(np.uint8), "100.0 % of its pixels are 0"),
    ],
)
def test_images_that_show_nothing_are_refused(tmp_path, values, words):
    refused(written(tmp_path, values), words)


def test_values_that_are_not_finite_are_refused(tmp_path):
    values = torso(ROWS, COLUMNS).numpy()
    values[3, 4] = np.nan
    values[3, 5] = np.inf
    refused(written(tmp_path, values, "ap.nrrd"), "2 pixels are NaN or infinite")


def test_negative_intensities_are_refused_when_declared(tmp_path):
    refused(
        written(tmp_path, torso(ROWS, COLUMNS).numpy() - 2, "ap.nrrd"), "photons cannot be negative", None, "intensity"
    )


def test_other_sizes_than_the_cameras_are_refused(tmp_path):
    path = written(tmp_path, intensities())
    refused(path, "150 columns x 120 rows, but view 'AP' of the geometry has 100 x 100", a_camera(100, 100))
    refused(path, "turned by 90 degrees", a_camera(120, 150))


def test_frames_are_refused_with_their_number(tmp_path):
    refused(written(tmp_path, np.stack([intensities()] * 5), "run.nrrd"), "holds 5 frames")
    with pytest.raises(InputError, match="DICOM files only"):
        load_xray(written(tmp_path, intensities()), a_camera(), "auto", frame=2)


def test_of_a_dicom_run_the_first_frame_is_taken_with_a_warning_or_the_one_asked_for(tmp_path):
    path = write_dicom(tmp_path / "run.dcm", intensities(), frames=7)
    with pytest.warns(UserWarning, match="has 7 frames; the first is taken"):
        first = load_xray(path, a_camera(), "intensity")
    third = load_xray(path, a_camera(), "intensity", frame=3)
    torch.testing.assert_close(first.line_integral, third.line_integral)
    with pytest.raises(InputError, match="no frame 8"):
        load_xray(path, a_camera(), "intensity", frame=8)


def test_missing_damaged_and_other_files_are_refused(tmp_path):
    refused(tmp_path / "none.png", "does not exist")
    refused(tmp_path, "is a folder")
    text = tmp_path / "text.png"
    text.write_text("hello")
    refused(text, "not an image that can be read")
    path = written(tmp_path, intensities())
    cut = tmp_path / "cut.nrrd"
    whole = written(tmp_path, intensities(), "whole.nrrd").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    refused(cut, "damaged or cut short")
    refused(path, "image_kind 'negative' is unknown", None, "negative")


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz", "mha", "tif"])
def test_saved_numbers_come_back(tmp_path, suffix):
    image = torso(ROWS, COLUMNS)
    save_image(image[None, None], tmp_path / f"drr.{suffix}")
    np.testing.assert_array_equal(read_pixels(tmp_path / f"drr.{suffix}"), image)


def test_png_is_eight_bits_for_looking(tmp_path):
    save_image(torso(ROWS, COLUMNS) * 1e-3, tmp_path / "drr.png")
    found = read_pixels(tmp_path / "drr.png")
    assert found.dtype == np.uint8 and found.min() == 0 and found.max() == 255
    save_image(torch.zeros(4, 5), tmp_path / "flat.png")
    assert read_pixels(tmp_path / "flat.png").max() == 0
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    save_image(grey, tmp_path / "grey.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "grey.png"), grey)


def test_other_suffixes_are_not_written(tmp_path):
    with pytest.raises(InputError, match="written as"):
        save_image(torso(), tmp_path / "drr.jpg")


def test_the_real_images_are_read(shared_data):
    from DeepReg2D3DLib.engine.geometry_file import load_geometry

    for folder in ("thorax_b_cropped", "wrist_0158"):
        for view in load_geometry(shared_data / "cases" / folder / "geometry.json"):
            xray = load_xray(view.image, view.camera, view.image_kind)
            assert 0.7 < xray.mask.float().mean() < 0.95
            assert -0.3 < xray.line_integral[xray.mask].min() and xray.line_integral.max() < 10
