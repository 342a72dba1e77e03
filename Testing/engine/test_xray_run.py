"""Runs of frames from DICOM, stacks and folders: the same X-rays in the right order, read in one and the same way."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.geometry_file import View
from DeepReg2D3DLib.engine.view_files import views_of_dicom
from DeepReg2D3DLib.engine.xray_io import load_xray
from DeepReg2D3DLib.engine.xray_run import XRayRun, frame_files, runs_of_dicom
from dicom_case import intensities, write_xa, xa_tags
from dicom_files import dataset, write
from small_case import AP, TRUTH, camera, small_volume, start_pose

POSES = [TRUTH, start_pose(3.0), start_pose(6.0)]


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """(3, 112, 128) uint16 intensities of the small phantom as it moves."""
    return np.stack([intensities(small_volume(), camera("AP", AP), pose) for pose in POSES])


def view_of(path, kind="auto") -> View:
    return View(camera("AP", AP), path, kind)


def as_line_integrals(frames: np.ndarray, index: int) -> torch.Tensor:
    return -torch.log(torch.from_numpy(frames[index].astype(np.float32)) / 50000)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz", ".tif"])
def test_a_stack_is_read_frame_by_frame(frames, tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(frames), str(path))
    run = XRayRun(view_of(path))
    assert len(run) == 3 and run.name == "AP"
    for index in range(3):
        xray = run[index + 1]
        assert float((xray.line_integral[0, 0] - as_line_integrals(frames, index)).abs().mean()) < 0.01


def test_a_folder_is_read_in_the_order_of_its_numbers(frames, tmp_path):
    for number, index in ((2, 0), (10, 1), (11, 2)):
        sitk.WriteImage(sitk.GetImageFromArray(frames[index]), str(tmp_path / f"frame {number}.png"))
    (tmp_path / "notes.doc").write_text("not an image")
    assert [path.name for path in frame_files(tmp_path)] == ["frame 2.png", "frame 10.png", "frame 11.png"]
    run = XRayRun(view_of(tmp_path))
    assert len(run) == 3
    assert float((run[2].line_integral[0, 0] - as_line_integrals(frames, 1)).abs().mean()) < 0.01


def test_dicom_frames_are_those_that_are_read_one_by_one(tmp_path):
    path = write_xa(tmp_path / "run.dcm", small_volume(), POSES, 0)
    (run,) = runs_of_dicom([path], views_of_dicom([path], 1))
    assert len(run) == 3
    for number in (1, 3):
        alone = load_xray(path, run.camera(number), frame=number)
        torch.testing.assert_close(run[number].line_integral, alone.line_integral, atol=1e-4, rtol=0)


def test_the_camera_of_a_turning_c_arm_changes_with_the_frame(tmp_path):
    tags = xa_tags(0) | {"PositionerPrimaryAngle": 10.0, "PositionerPrimaryAngleIncrement": [0.0, 5.0, 10.0]}
    pixels = np.random.default_rng(0).integers(100, 60000, (3, 112, 128)).astype(np.uint16)
    path = write(tmp_path / "turning.dcm", dataset("XA", pixels, **tags))
    (run,) = runs_of_dicom([path], views_of_dicom([path], 1))
    cosine = float(run.camera(1).axis @ run.camera(3).axis)
    assert cosine == pytest.approx(np.cos(np.radians(10.0)), abs=1e-6)
    assert run.camera(1).name == run.camera(3).name == run.name


def test_a_frame_that_is_read_the_other_way_alone_keeps_to_the_run(frames, tmp_path):
    """A nearly empty frame says little; the run says that bone is dark."""
    empty = np.full_like(frames[0], 49000)
    empty[50:60, 50:60] = 30000
    path = tmp_path / "run.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([*frames, *frames, empty])), str(path))
    xray = XRayRun(view_of(path))[7]
    assert float(xray.line_integral[0, 0, 55, 55]) > float(xray.line_integral[0, 0, 20, 20]) + 0.3


def test_a_frame_that_shows_nothing_is_refused_alone_and_black_in_pictures(frames, tmp_path):
    path = tmp_path / "run.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([*frames, np.zeros_like(frames[0])])), str(path))
    run = XRayRun(view_of(path))
    with pytest.raises(InputError, match="shows nothing"):
        run[4]
    black = run.shown(4)
    assert not black.mask.any() and not black.line_integral.any() and black.camera.size == run[1].camera.size
    assert torch.equal(run.shown(2).line_integral, run[2].line_integral)
    # Nor does it change how the others are read.
    assert float((run[1].line_integral[0, 0] - as_line_integrals(frames, 0)).abs().mean()) < 0.01


def test_a_damaged_image_and_one_of_another_size_do_not_refuse_a_run(frames, tmp_path):
    for number, image in enumerate((*frames, frames[0][:, :100]), start=1):
        sitk.WriteImage(sitk.GetImageFromArray(image), str(tmp_path / f"frame {number}.png"))
    (tmp_path / "frame 5.png").write_bytes(b"nothing")
    run = XRayRun(view_of(tmp_path))
    assert len(run) == 5 and run[3].mask.any()
    for number, words in ((4, "100 columns"), (5, "frame 5")):
        with pytest.raises(InputError, match=words):
            run[number]


def test_what_is_no_run_is_refused(frames, tmp_path):
    one = tmp_path / "one.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(frames[0]), str(one))
    with pytest.raises(InputError, match="one frame"):
        XRayRun(view_of(one))
    with pytest.raises(InputError, match="missing"):
        XRayRun(view_of(tmp_path / "none.nrrd"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        XRayRun(view_of(tmp_path / "empty"))
    sitk.WriteImage(sitk.GetImageFromArray(frames[:, :100]), str(tmp_path / "small.nrrd"))
    with pytest.raises(InputError, match="128 columns x 100 rows"):
        XRayRun(view_of(tmp_path / "small.nrrd"))
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\nnothing")
    with pytest.raises(InputError, match="not an image that can be read"):
        XRayRun(view_of(tmp_path / "broken.nrrd"))
