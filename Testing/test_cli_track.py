"""``track`` from end to end on a DICOM run: poses, transforms, table and animation; and what is refused."""

import csv
import json
import os

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib import tracking_run
from DeepReg2D3DLib.cli import main
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.folder_lock import folder_lock
from DeepReg2D3DLib.engine.geometry_file import View, save_geometry
from DeepReg2D3DLib.engine.metrics import mrpd
from DeepReg2D3DLib.engine.pose_file import load_pose, save_pose
from DeepReg2D3DLib.engine.view_files import views_of_dicom
from DeepReg2D3DLib.tracking_run import parse_frames
from dicom_case import write_xa
from dicom_files import assert_no_secrets
from PIL import Image
from small_case import AP, CENTRE, TRUTH, camera, small_volume, start_pose

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


def still_run(case, folder, blank):
    """The command line for the small case's AP view as a run of four frames in which nothing moves; blank: numbers of
    frames that show nothing."""
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(case / "AP.nrrd"))).reshape(1, 112, 128)
    stack = np.repeat(image, 4, axis=0)
    stack[[number - 1 for number in blank]] = 0
    sitk.WriteImage(sitk.GetImageFromArray(stack), str(folder / "Quux.nrrd"))
    save_geometry([View(camera("AP", AP), folder / "Quux.nrrd", "line_integral")], folder / "geometry.json")
    files = ["--ct", case / "ct.nrrd", "--geometry", folder / "geometry.json", "--init", case / "start.json"]
    how = ["--method", "dppc", "--preset", "paper", "--device", "cpu", "--out", folder / "out"]
    return [str(word) for word in ("track", *files, *how)]


def test_frames_that_show_nothing_cost_themselves_alone(small_case, tmp_path, capsys):
    assert main([*still_run(small_case, tmp_path, blank=(2, 4)), "--keep-images"]) == 3
    told = capsys.readouterr()
    out = tmp_path / "out"
    found = json.loads((out / "poses.json").read_text())["frames"]
    assert [(frame["frame"], frame["status"] == "unreliable") for frame in found] == [
        (1, False), (2, True), (3, False), (4, True)
    ]  # fmt: skip
    assert found[1]["ct_to_world"] == found[0]["ct_to_world"] and found[3]["ct_to_world"] == found[2]["ct_to_world"]
    assert "frame 4: unreliable, at the last sound pose" in told.err and "shows nothing" in told.err
    assert "2 in doubt" in told.out and "Traceback" not in told.err
    images = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "images_AP.nrrd")))
    assert images.shape == (4, 112, 128) and [bool(image.any()) for image in images] == [True, False, True, False]
    with Image.open(out / "track.gif") as animation:
        assert animation.n_frames == 4
    assert_no_secrets((out / "poses.json").read_text(), (out / "track.csv").read_text())


def test_a_first_frame_that_shows_nothing_refuses_the_run(small_case, tmp_path, capsys):
    assert main(still_run(small_case, tmp_path, blank=(1,))) == 2
    assert "shows nothing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_was_tracked_is_written_whatever_happens_then(small_case, tmp_path, monkeypatch):
    original = tracking_run.track

    def failing(*arguments):
        run = original(*arguments)
        yield next(run)
        raise MemoryError("of the device")

    monkeypatch.setattr(tracking_run, "track", failing)
    assert main(still_run(small_case, tmp_path, blank=())) == 1
    found = json.loads((tmp_path / "out" / "poses.json").read_text())["frames"]
    assert [frame["frame"] for frame in found] == [1]
    assert (tmp_path / "out" / "track.csv").exists() and (tmp_path / "out" / "frames" / "pose_0001.tfm").exists()


def test_a_killed_run_leaves_what_was_written_every_few_frames(small_case, tmp_path, monkeypatch):
    """Nothing may be done after a kill: what is there before the fourth frame is what would be left of it."""
    original, found = tracking_run.track, []

    def watched(*arguments):
        for frame in original(*arguments):
            if frame.frame == 4:
                found.extend(json.loads((tmp_path / "out" / "poses.json").read_text())["frames"])
                assert (tmp_path / "out" / "frames" / "pose_0002.tfm").exists()
                assert (tmp_path / "out" / "track.csv").read_text().count("\n") == 3
            yield frame

    monkeypatch.setattr(tracking_run, "_EVERY", 2)
    monkeypatch.setattr(tracking_run, "track", watched)
    assert main(still_run(small_case, tmp_path, blank=())) == 0
    assert [frame["frame"] for frame in found] == [1, 2]
    assert len(json.loads((tmp_path / "out" / "poses.json").read_text())["frames"]) == 4
    assert len(list((tmp_path / "out" / "frames").iterdir())) == 4


def test_nothing_of_an_earlier_run_stays_and_nothing_of_the_users_goes(small_case, tmp_path):
    words, out = still_run(small_case, tmp_path, blank=()), tmp_path / "out"
    assert main([*words, "--frames", "1-3", "--keep-images"]) == 0
    assert (out / "images_AP.nrrd").exists()
    (out / "images_LAT.nrrd").write_text("mine: no view of that name was tracked")
    words[words.index("--init") + 1] = str(out / "frames" / "pose_0003.tfm")  # it goes on where that one ended
    assert main([*words, "--frames", "4-4"]) == 0
    assert sorted(path.name for path in (out / "frames").iterdir()) == ["pose_0003.tfm", "pose_0004.tfm"]
    assert sorted(path.name for path in out.iterdir()) == [
        "frames", "images_LAT.nrrd", "poses.json", "track.csv", "track.gif"
    ]  # fmt: skip


def test_two_runs_do_not_write_into_one_folder(small_case, tmp_path, capsys):
    with folder_lock(tmp_path / "out"):
        assert main(still_run(small_case, tmp_path, blank=())) == 2
    assert "another process is writing into this folder" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_images_without_room_are_told(small_case, tmp_path, capsys):
    import resource

    words = still_run(small_case, tmp_path, blank=())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))  # for poses, not for images
    try:
        assert main([*words, "--keep-images"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = capsys.readouterr().err
    assert "images_AP.nrrd: the image cannot be written there" in told and "Traceback" not in told
    assert len(json.loads((tmp_path / "out" / "poses.json").read_text())["frames"]) == 4


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
