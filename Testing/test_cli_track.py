"""``track`` from end to end on a DICOM run: poses, transforms, table and animation; and what is refused."""

import csv
import json

import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.cli import main
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.metrics import mrpd
from DeepReg2D3DLib.engine.pose_file import load_pose, save_pose
from DeepReg2D3DLib.engine.view_files import views_of_dicom
from DeepReg2D3DLib.tracking_run import parse_frames
from dicom_case import write_xa
from dicom_files import assert_no_secrets
from PIL import Image
from small_case import CENTRE, TRUTH, small_volume, start_pose

POSES = [TRUTH, start_pose(2.0), start_pose(4.0)]


@pytest.fixture(scope="module")
def tracked(small_case, tmp_path_factory):
    """(run, output folder) of a run of three frames from one view."""
    folder = tmp_path_factory.mktemp("track")
    run = write_xa(folder / "Quux.dcm", small_volume(), POSES, 0)
    save_pose(start_pose(1.0), folder / "start.json")
    files = ["--ct", str(small_case / "ct.nrrd"), "--xray", str(run), "--init", str(folder / "start.json")]
    how = ["--method", "dppc", "--preset", "paper", "--device", "cpu"]
    assert main(["track", *files, *how, "--out", str(folder / "out")]) in (0, 3)
    return run, folder / "out"


def test_every_frame_has_its_pose(tracked):
    run, out = tracked
    content = json.loads((out / "poses.json").read_text())
    assert (content["format"], content["coordinate_system"]) == ("deepreg2d3d-poses", "LPS")
    assert [frame["frame"] for frame in content["frames"]] == [1, 2, 3]
    (view,) = views_of_dicom([run], 1)
    targets = torch.eye(3, dtype=torch.float64) * 30 + CENTRE
    for frame, wanted in zip(content["frames"], POSES, strict=True):
        pose = torch.tensor(frame["ct_to_world"], dtype=torch.float64)
        assert mrpd(pose, wanted, targets, view.camera) < 1.0
        torch.testing.assert_close(
            load_pose(out / "frames" / f"pose_{frame['frame']:04d}.tfm"), pose, atol=1e-9, rtol=0
        )
    with (out / "track.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["1", "2", "3"] and float(rows[1]["agreement"]) > 0.3
    assert_no_secrets((out / "poses.json").read_text(), (out / "track.csv").read_text())


def test_the_animation_shows_every_frame(tracked):
    with Image.open(tracked[1] / "track.gif") as animation:
        assert animation.n_frames == 3 and animation.width > 200


@pytest.mark.parametrize(
    ("text", "numbers"),
    [(None, [1, 2, 3, 4]), ("2-3", [2, 3]), ("1-4:2", [1, 3]), ("4", [4]), ("3-", [3, 4]), ("2:3", [2])],
)
def test_frames_are_chosen_by_number(text, numbers):
    assert parse_frames(text, 4) == numbers


@pytest.mark.parametrize("text", ["0-2", "3-2", "1-5", "a", "-2", "1-2:0", ""])
def test_frames_that_are_not_there_are_refused(text):
    with pytest.raises(InputError, match="--frames"):
        parse_frames(text, 4)


def test_runs_out_of_step_and_single_images_are_refused(small_case, tracked, tmp_path, capsys):
    stacks = []
    for index, view in enumerate(("AP", "LAT")):
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(small_case / f"{view}.nrrd"))).reshape(1, 112, 128)
        path = tmp_path / f"{view}.nrrd"
        sitk.WriteImage(sitk.GetImageFromArray(image.repeat(2 + index, 0)), str(path))
        stacks.append(str(path))
    files = ["--ct", str(small_case / "ct.nrrd"), "--geometry", str(small_case / "geometry.json")]
    how = ["--method", "dppc", "--out", str(tmp_path / "out")]
    assert main(["track", *files, "--xray", *stacks, *how]) == 2
    assert "2 and 3 frames" in capsys.readouterr().err
    assert main(["track", *files, *how]) == 2
    assert "one frame" in capsys.readouterr().err
    assert main(["track", *files[:2], *how]) == 2
    assert "--geometry" in capsys.readouterr().err
