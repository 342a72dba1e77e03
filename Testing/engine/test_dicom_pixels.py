"""Pixels of DICOM X-rays: every way to store an intensity gives it back, and the tags decide what is bone."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.engine.dicom_pixels import read_dicom_pixels
from DeepReg2D3DLib.engine.dicom_xray import read_dicom_xray
from DeepReg2D3DLib.engine.errors import InputError
from dicom_files import assert_no_secrets, dataset, item, write
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from xray_images import exposed, field, stored, torso

GREY = (np.arange(48, dtype=np.uint16).reshape(6, 8) * 60 + 7).astype(np.uint16)


def pixels_of(tmp_path, kind="XA", values=GREY, frame=None, **tags):
    return read_dicom_pixels(write(tmp_path / "x.dcm", dataset(kind, values, **tags)), frame)


@pytest.mark.parametrize("kind", ["XA", "RF", "DX", "CR", "RTIMAGE", "enhanced XA"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_values_are_those_that_were_stored(tmp_path, kind, dtype):
    values = (GREY % 200).astype(dtype) - (50 if dtype == np.int16 else 0)
    found = pixels_of(tmp_path, kind, values, PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1)
    np.testing.assert_array_equal(found.values, values)
    assert (found.kind, found.whole_numbers, found.frames) == ("intensity", True, 1)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_transfer_syntaxes(tmp_path, syntax):
    data = dataset("XA", GREY)
    path = tmp_path / "x.dcm"
    if syntax == RLELossless:
        data.compress(RLELossless)
        write(path, data)
    else:
        big = syntax == ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = GREY.astype(">u2" if big else "<u2").tobytes()
        del data[0x00091010]
        pydicom.dcmwrite(path, data, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=not big)
    np.testing.assert_array_equal(read_dicom_pixels(path).values, GREY)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_lossless_compression(tmp_path, compressor):
    image = sitk.GetImageFromArray(np.tile(GREY, (4, 4)))
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "x.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(image)
    assert pydicom.dcmread(tmp_path / "x.dcm").file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_dicom_pixels(tmp_path / "x.dcm").values, np.tile(GREY, (4, 4)))


def test_twelve_bits_with_an_overlay_above_and_a_shift(tmp_path):
    twelve = GREY & 0xFFF
    overlay = (twelve | 0x1000).astype(np.uint16)
    found = pixels_of(tmp_path, values=overlay, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(found.values, twelve)
    shifted = pixels_of(tmp_path, values=(twelve << 4).astype(np.uint16), BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(shifted.values, twelve)


def test_linear_values_turned_round_by_their_sign(tmp_path):
    found = pixels_of(tmp_path, BitsStored=12, HighBit=11, PixelIntensityRelationship="LIN",
                      PixelIntensityRelationshipSign=-1)  # fmt: skip
    np.testing.assert_array_equal(found.values, 4095 - GREY)
    assert found.kind == "intensity"
    # A falling rescale turns the same values round once more: they already are intensities.
    falling = pixels_of(tmp_path, BitsStored=12, HighBit=11, PixelIntensityRelationship="LIN",
                        PixelIntensityRelationshipSign=-1, RescaleSlope=-1, RescaleIntercept=4095)  # fmt: skip
    np.testing.assert_array_equal(falling.values, 4095 - GREY)


def test_logarithms_become_line_integrals(tmp_path):
    rising = pixels_of(tmp_path, PixelIntensityRelationship="LOG", PixelIntensityRelationshipSign=1)
    assert rising.kind == "line_integral" and rising.values[0, 0] > rising.values[-1, -1]
    falling = pixels_of(tmp_path, PixelIntensityRelationship="LOG", PixelIntensityRelationshipSign=-1)
    assert falling.kind == "line_integral" and falling.values[0, 0] < falling.values[-1, -1]
    np.testing.assert_array_equal(rising.values + falling.values, 65535)


def lut(values, first=0, bits=16, **more):
    return item(LUTDescriptor=[len(values) % 65536, first, bits], LUTData=values.astype("<u2").tobytes(), **more)


def test_tables_map_back_to_intensities(tmp_path):
    intensities = (GREY.astype(float) + 100) * 10
    logs = np.round(1000 * np.log(intensities)).astype(np.uint16)
    table = np.exp(np.arange(0, 12000) / 1000)
    relation = {"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": 1}
    plain = pixels_of(tmp_path, values=logs, ModalityLUTSequence=[lut(np.round(table).clip(0, 65535))], **relation)
    assert plain.kind == "intensity"
    np.testing.assert_allclose(plain.values, intensities, rtol=2e-3)
    group = item(
        FramePixelDataPropertiesSequence=[item(**relation)],
        PixelIntensityRelationshipLUTSequence=[
            lut(np.zeros(12000), LUTFunction="TO_LOG"),
            lut(np.round(table).clip(0, 65535), LUTFunction="TO_LINEAR"),
        ],
    )
    enhanced = pixels_of(tmp_path, "enhanced XA", logs, SharedFunctionalGroupsSequence=[group])
    assert enhanced.kind == "intensity" and "to linear" in enhanced.steps[0]
    np.testing.assert_allclose(enhanced.values, intensities, rtol=2e-3)


def test_tables_begin_where_they_say_and_clamp(tmp_path):
    table = lut(np.arange(100, 110), first=1000)
    values = np.array([[0, 1000, 1004, 1009, 4000]] * 2, dtype=np.uint16)
    found = pixels_of(tmp_path, values=values, ModalityLUTSequence=[table])
    np.testing.assert_array_equal(found.values[0], [100, 100, 104, 109, 109])
    del table.LUTData
    table.add_new(0x00283006, "US", list(range(100, 110)))  # the other way that the standard allows
    again = pixels_of(tmp_path, values=values, ModalityLUTSequence=[table])
    np.testing.assert_array_equal(again.values, found.values)
    short = item(LUTDescriptor=[50, 0, 16], LUTData=bytes(6))
    with pytest.raises(InputError, match="3 entries instead of 50"):
        pixels_of(tmp_path, ModalityLUTSequence=[short])


@pytest.mark.parametrize("kind", ["DX", "CR"])
def test_photometric_interpretation_tells_where_nothing_else_does(tmp_path, kind):
    assert pixels_of(tmp_path, kind, PhotometricInterpretation="MONOCHROME1").kind == "intensity"
    assert pixels_of(tmp_path, kind, PhotometricInterpretation="MONOCHROME2").kind == "bone_bright"
    signed = {"PixelIntensityRelationship": "OTHER", "PixelIntensityRelationshipSign": 1}
    assert pixels_of(tmp_path, kind, PhotometricInterpretation="MONOCHROME2", **signed).kind == "intensity"
    assert pixels_of(tmp_path, "XA").kind == "auto"


def test_frames_one_by_one_mean_and_maximum(tmp_path):
    run = np.stack([GREY, GREY + 10, GREY + 2])
    np.testing.assert_array_equal(pixels_of(tmp_path, values=run).values, GREY)
    np.testing.assert_array_equal(pixels_of(tmp_path, values=run, frame=2).values, GREY + 10)
    np.testing.assert_allclose(pixels_of(tmp_path, values=run, frame="mean").values, GREY + 4.0)
    np.testing.assert_array_equal(pixels_of(tmp_path, values=run, frame="maximum").values, GREY + 10)
    assert pixels_of(tmp_path, values=run).frames == 3
    for frame in (0, 4, "median", True, 1.0):
        with pytest.raises(InputError, match="frame"):
            pixels_of(tmp_path, values=run, frame=frame)


def test_padding_is_not_valid(tmp_path):
    values = GREY.copy()
    values[:2] = 0
    found = pixels_of(tmp_path, values=values, PixelPaddingValue=0)
    np.testing.assert_array_equal(found.valid, values > 0)
    assert pixels_of(tmp_path).valid is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PixelData": GREY.tobytes()[:-2]}, "cut off: frame 1 of 1 should have 96 bytes and has 94"),
        ({"PixelData": None}, "holds no pixels"),
        ({"BitsAllocated": 24}, "24 bits"),
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0}, "colour"),
        ({"NumberOfFrames": 40}, "cut off"),
        ({"Rows": 30000, "Columns": 30000}, "no X-ray image has"),
    ],
)
def test_damaged_pixels_are_refused_in_words(tmp_path, change, words):
    with pytest.raises(InputError, match=words) as error:
        pixels_of(tmp_path, frame="mean" if "NumberOfFrames" in change else None, **change)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    assert_no_secrets(str(error.value))


ROWS, COLUMNS = 120, 150
LINES = torso(ROWS, COLUMNS, 0.8)
INTENSITIES = stored(exposed(LINES, field("none", ROWS, COLUMNS)), 12).numpy().astype(np.uint16)
TWELVE = {"BitsStored": 12, "HighBit": 11}


@pytest.mark.parametrize(
    ("kind", "values", "tags"),
    [
        ("XA", INTENSITIES, {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1}),
        ("XA", 4095 - INTENSITIES, {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": -1}),
        ("RF", INTENSITIES, {}),
        ("DX", INTENSITIES, {"PhotometricInterpretation": "MONOCHROME1"}),
        ("CR", 4095 - INTENSITIES, {"PhotometricInterpretation": "MONOCHROME2"}),
        (
            "DX",
            np.round(700 * -np.log(INTENSITIES.clip(1) / 4095)).astype(np.uint16),
            {"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1},
        ),
        ("RTIMAGE", INTENSITIES, {"RTImageSID": 1500, "ImagePlanePixelSpacing": [0.4, 0.4]}),
    ],
)
def test_every_storage_gives_the_same_line_integrals(tmp_path, kind, values, tags):
    path = write(tmp_path / "x.dcm", dataset(kind, values.astype(np.uint16), **TWELVE, **tags))
    xray, geometry = read_dicom_xray(path)
    assert xray.line_integral.shape == (1, 1, ROWS, COLUMNS) and bool(torch.isfinite(xray.line_integral).all())
    both = torch.stack([LINES[xray.mask[0, 0]], xray.line_integral[xray.mask]])
    assert torch.corrcoef(both)[0, 1] > 0.98
    if kind == "XA":
        assert float((xray.line_integral[0, 0] - LINES).abs().median()) < 0.06
    assert not any("looks the other way" in text for text in geometry.report.warnings)


def test_tags_that_contradict_the_picture_are_followed_and_told(tmp_path):
    tags = {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": -1}
    xray, geometry = read_dicom_xray(write(tmp_path / "x.dcm", dataset("XA", INTENSITIES, **TWELVE, **tags)))
    assert any("looks the other way" in text for text in geometry.report.warnings)
    both = torch.stack([LINES.flatten(), xray.line_integral.flatten()])
    assert torch.corrcoef(both)[0, 1] < 0
