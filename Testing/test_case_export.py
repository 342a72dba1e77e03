"""Case folders of anybody's files: the same images, none of the names, and read by what reads cases."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from DeepReg2D3DLib.batch_list import read_batch
from DeepReg2D3DLib.case_export import CaseContent, write_case
from DeepReg2D3DLib.cli import main
from DeepReg2D3DLib.engine.case_file import load_case
from DeepReg2D3DLib.engine.dicom_xray import read_dicom_xrays
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.folder_lock import folder_lock
from DeepReg2D3DLib.engine.geometry_file import View, load_geometry, save_geometry
from DeepReg2D3DLib.engine.landmark_file import load_landmarks, save_landmarks
from DeepReg2D3DLib.engine.landmarks import Landmark
from DeepReg2D3DLib.engine.pose_file import load_pose, save_pose
from DeepReg2D3DLib.engine.volume_io import load_volume
from DeepReg2D3DLib.engine.xray_io import load_xray, save_image
from dicom_case import ROWS, intensities, write_dicom_case, xa_tags
from dicom_files import SECRETS, dataset, write
from small_case import AP, TRUTH, camera, small_volume, start_pose


@pytest.fixture(scope="module")
def handed_on(tmp_path_factory) -> tuple[Path, list[Path], Path]:
    """(CT folder, XA files, the case folder made of them), with a truth, a start and landmarks."""
    folder = tmp_path_factory.mktemp("Quux")
    ct, xrays = write_dicom_case(folder, TRUTH)
    save_pose(TRUTH, folder / "Quux.json")
    save_pose(start_pose(6.0), folder / "start.tfm")
    names = [xray.camera.name for xray, _ in read_dicom_xrays(xrays)]
    marks = [Landmark("screw", (1.0, 2.0, 3.0), {0: (10.0, 20.0)})]
    save_landmarks(marks, names, folder / "marks.json")
    files = ["--ct", str(ct), "--xray", *map(str, xrays), "--landmarks", str(folder / "marks.json")]
    poses = ["--reference", str(folder / "Quux.json"), "--init", str(folder / "start.tfm")]
    assert main(["case", *files, *poses, "--name", "hip 7", "--out", str(folder / "out")]) == 0
    return ct, xrays, folder / "out"


def test_the_images_are_the_same(handed_on):
    ct, xrays, folder = handed_on
    case, volume = load_case(folder), load_volume(ct)
    copy = load_volume(case.ct)
    assert torch.equal(copy.hu, volume.hu)
    torch.testing.assert_close(copy.ijk_to_ct, volume.ijk_to_ct, atol=1e-4, rtol=0)
    for view, (xray, geometry) in zip(load_geometry(case.geometry), read_dicom_xrays(xrays), strict=True):
        again = load_xray(view.image, view.camera, view.image_kind)
        torch.testing.assert_close(again.line_integral, xray.line_integral, atol=1e-4, rtol=0)
        assert torch.equal(again.mask, xray.mask)
        torch.testing.assert_close(view.camera.projection_matrix, geometry.camera.projection_matrix)
        assert view.sources["source_to_detector_mm"].startswith("file: (0018,1110)")


def test_truth_start_targets_and_landmarks_are_there(handed_on):
    _, _, folder = handed_on
    case = load_case(folder)
    assert case.name == "hip 7"
    torch.testing.assert_close(case.ground_truth, TRUTH)
    assert case.targets.shape == (300, 3)
    ((name, start),) = case.starts
    torch.testing.assert_close(start, start_pose(6.0), atol=1e-9, rtol=0)
    assert name == "given"
    views = [view.name for view in load_geometry(case.geometry)]
    (mark,) = load_landmarks(folder / "landmarks.json", views)
    assert (mark.name, mark.clicks) == ("screw", {0: (10.0, 20.0)})
    (item,) = read_batch(folder)
    torch.testing.assert_close(load_pose(item.init), start_pose(6.0), atol=1e-9, rtol=0)


def test_nobody_is_named_in_any_byte(handed_on):
    _, _, folder = handed_on
    for path in folder.iterdir():
        assert not any(secret.lower() in path.name.lower() for secret in SECRETS)
        header = path.read_bytes().split(b"\n\n", 1)[0]  # what follows in an NRRD is compressed
        assert not any(secret.lower().encode() in header.lower() for secret in SECRETS), path


def test_a_case_is_never_written_over_another(handed_on):
    _, _, folder = handed_on
    before = (folder / "case.json").read_bytes()
    with pytest.raises(InputError, match="holds a case already"):
        write_case(CaseContent("x", small_volume(), []), folder)
    assert (folder / "case.json").read_bytes() == before


def test_a_case_that_ended_in_the_middle_leaves_nothing_to_the_next_one(small_case, tmp_path):
    """Or an X-ray of one patient could stand beside the CT of another."""
    both = load_geometry(small_case / "geometry.json")

    def ended(text: str) -> None:
        if text == "writing the CT":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_case(CaseContent("one", small_volume(), both), tmp_path, ended)
    assert list(tmp_path.iterdir()) == []
    killed = tmp_path / ".part-result"
    killed.mkdir()
    (killed / "lat.nrrd").write_text("of one")
    case = write_case(CaseContent("other", small_volume(), both[:1]), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ap.nrrd", "case.json", "ct.nrrd", "geometry.json"]
    assert case.ct == load_case(tmp_path).ct and case.geometry == load_case(tmp_path).geometry


def test_two_cases_are_not_written_into_one_folder(small_case, tmp_path):
    views = load_geometry(small_case / "geometry.json")
    with folder_lock(tmp_path), pytest.raises(InputError, match="another process"):
        write_case(CaseContent("x", small_volume(), views), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".nrrd", ".tif"])
def test_other_formats_keep_their_pixels(small_case, tmp_path, suffix):
    view = load_geometry(small_case / "geometry.json")[0]
    lines = load_xray(view.image, view.camera, "line_integral").line_integral[0, 0]
    pixels = (255 * torch.exp(-lines)).round().to(torch.uint8)
    save_image(pixels, tmp_path / f"image{suffix}")
    source = View(view.camera, tmp_path / f"image{suffix}", "intensity")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_case(CaseContent("x", small_volume(), [source]), tmp_path / "out")
    (again,) = load_geometry(tmp_path / "out" / "geometry.json")
    one, other = (load_xray(each.image, view.camera, each.image_kind) for each in (source, again))
    assert torch.equal(one.line_integral, other.line_integral) and torch.equal(one.mask, other.mask)


def test_padding_becomes_a_shadow_and_burned_letters_are_told(tmp_path):
    volume = small_volume()
    view = camera("AP", AP)
    pixels = intensities(volume, view, TRUTH)
    pixels[:, :20] = 65535
    tags = xa_tags(0) | {"PixelPaddingValue": 65535, "BurnedInAnnotation": "YES"}
    path = write(tmp_path / "x.dcm", dataset("XA", pixels, **tags))
    with pytest.warns(UserWarning, match="burned into"):
        write_case(CaseContent("x", volume, [View(view, path)]), tmp_path / "out")
    (made,) = load_geometry(tmp_path / "out" / "geometry.json")
    mask = load_xray(made.image, view, made.image_kind).mask[0, 0].numpy()
    assert mask[:, :19].mean() < 0.1 and mask[:, 22:].mean() > 0.95 and len(mask) == ROWS


def test_a_case_without_a_truth_has_neither_targets_nor_starts(small_case, tmp_path):
    files = ["--ct", str(small_case / "ct.nrrd"), "--geometry", str(small_case / "geometry.json")]
    assert main(["case", *files, "--out", str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "case.json").read_text())
    assert set(content) == {"format", "version", "name", "ct", "geometry", "starts"} and content["starts"] == []


def test_a_view_without_an_image_is_refused(small_case, tmp_path, capsys):
    views = [View(view.camera) for view in load_geometry(small_case / "geometry.json")]
    save_geometry(views, tmp_path / "geometry.json")
    files = ["--ct", str(small_case / "ct.nrrd"), "--geometry", str(tmp_path / "geometry.json")]
    assert main(["case", *files, "--out", str(tmp_path / "out")]) == 2
    assert "--xray" in capsys.readouterr().err and not (tmp_path / "out").exists()
