"""The sequence section follows a process, and its frames play on the pose and the X-ray view."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fake_process import scene_of_phantoms


@pytest.fixture
def tracking(widget, ui, host, click, monkeypatch, tmp_path, temporary):
    """(process, run): a CT and an X-ray in the scene, and the tracking of a run started by the button."""
    process = scene_of_phantoms(widget, monkeypatch, "SequenceSection", widget.logic.sequence.program)
    ui.runFileEdit.setText(str(tmp_path / "run.dcm"))
    host.process_events(0.05)
    click(ui.trackButton)
    return process, widget.logic.sequence


def pose_of(index: int) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = [float(index), 0.0, -5.0]
    return pose


def finish(process, count: int = 3, status: int = 3, images: str = "all", cut: bool = False) -> None:
    """The process leaves poses and images of some frames, the second in doubt, and ends.

    images: "all", "none" or "damaged"; cut: the file of the poses ends in its middle.
    """
    out = Path(process.option("--out"))
    out.mkdir()
    frames = [
        {"frame": 1 + i, "ct_to_world": pose_of(i).tolist(), "status": "unreliable" if i == 1 else "converged",
         "confidence": 0.9, "agreement": 0.6, "moved_mm": 1.0 * i}
        for i in range(count)
    ]  # fmt: skip
    (out / "poses.json").write_text(json.dumps({"frames": frames})[: -2 if cut else None])
    if images == "damaged":
        (out / "images_view1.nrrd").write_text("no image")
    elif images == "all":
        stack = np.stack([np.full((30, 40), 5.0 * i, np.float32) for i in range(count)])
        sitk.WriteImage(sitk.GetImageFromArray(stack), str(out / "images_view1.nrrd"))
    process.exited(status, False)


def test_it_starts_at_the_present_pose_with_the_geometry_of_the_first_view(tracking, tmp_path):
    process, run = tracking
    assert run.state == "running" and "track" in process.command and "--keep-images" in process.command
    assert process.option("--xray") == str(tmp_path / "run.dcm") and process.option("--method") == "dppc"
    start = json.loads(Path(process.option("--init")).read_text())["ct_to_world"]
    np.testing.assert_allclose(np.array(start)[:3, 3], [1.0, 2.0, 3.0])
    (view,) = json.loads(Path(process.option("--geometry")).read_text())["views"]
    assert view["image_kind"] == "auto" and view["columns"] == 40


def test_networks_adapted_to_this_ct_follow_it(tracking, widget, tmp_path):
    process, run = tracking
    assert "--weights" not in process.command
    finish(process)
    widget.logic.parameters.weights = "/adapted"
    run.start(str(tmp_path / "run.dcm"), "deep-iterative", "fast", "cpu")
    assert process.option("--weights") == "/adapted"


def test_frames_come_back_as_sequences_that_a_click_goes_to(tracking, ui, widget, host):
    import slicer

    process, run = tracking
    process.logged(b"[1/3] frame 1: converged, moved 0.00 mm, edges 0.60, 1.00 s\n")
    assert ui.trackProgressBar.value == 1 and "frame 1: converged" in ui.trackSummaryLabel.text
    folder = Path(process.option("--out")).parent
    finish(process)
    assert not folder.exists()
    assert ui.framesTable.rowCount == 3 and "3 frames, 1 in doubt" in ui.trackSummaryLabel.text
    assert ui.framesTable.item(1, 1).text() == "unreliable (90 %)"
    ui.framesTable.cellClicked.emit(2, 0)
    assert run.sequence.browser.GetSelectedItemNumber() == 2
    sequences = slicer.vtkSlicerSequencesLogic()
    sequences.SetMRMLScene(slicer.mrmlScene)
    sequences.UpdateProxyNodesFromSequences(run.sequence.browser)
    np.testing.assert_allclose(widget.logic.pose(), pose_of(2), atol=1e-9)
    assert slicer.util.arrayFromVolume(widget.logic.session.xrays[0]).mean() == 10.0
    sequences.SetMRMLScene(None)


def test_another_run_takes_the_place_of_the_last(tracking, ui, click):
    import slicer

    process, run = tracking
    finish(process)
    click(ui.trackButton)
    finish(process, 2, 0)
    assert run.sequence.count == 2
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode") == 1


def test_stop_keeps_what_was_tracked_and_failures_are_told(tracking, ui, click, widget):
    process, run = tracking
    heard = []
    widget.logic.message.connect(heard.append)
    click(ui.stopTrackButton)
    assert run.state == "stopping" and process.input_closed
    finish(process, 2, 130)
    assert run.state == "idle" and run.sequence.count == 2 and "2 frames" in heard[-1]
    click(ui.trackButton)
    process.logged(b"deepreg2d3d: run.dcm: holds one frame; use 'register' for a single image.\n")
    process.exited(2, False)
    assert "holds one frame" in heard[-1] and run.sequence.count == 2
    click(ui.trackButton)
    folder = Path(process.option("--out")).parent
    run.close()
    assert process.ended and not folder.exists()


@pytest.mark.parametrize("status", [1, 2, 137, -1])
def test_frames_that_were_followed_before_a_failure_are_taken_over(tracking, widget, temporary, status):
    process, run = tracking
    heard = []
    widget.logic.message.connect(heard.append)
    process.logged(b"deepreg2d3d: internal error; please report.\n")
    finish(process, 2, status, images="none")
    assert run.sequence.count == 2 and run.sequence.images is None and len(run.frames) == 2
    assert "before the last frame: internal error" in heard[-1] and "2 frames were followed" in heard[-1]
    assert temporary.left() == []


@pytest.mark.parametrize("trouble", ["no pose", "no view", "damaged images", "damaged poses"])
def test_poses_that_cannot_be_played_are_kept_and_it_is_told_where(tracking, ui, click, widget, temporary, trouble):
    import slicer

    process, run = tracking
    finish(process)
    click(ui.trackButton)
    before, heard = run.sequence, []
    widget.logic.message.connect(heard.append)
    if trouble in ("no pose", "no view"):
        session = widget.logic.session
        slicer.mrmlScene.RemoveNode(session.pose.node if trouble == "no pose" else session.xrays[0])
    out = Path(process.option("--out"))
    finish(process, 2, 0, images="damaged" if trouble == "damaged images" else "all", cut=trouble == "damaged poses")
    assert str(out) in heard[-1] and "\n" not in heard[-1] and run.state == "idle"
    assert (out / "poses.json").is_file() and [path.name for path in out.parent.iterdir()] == ["tracked"]
    assert run.sequence is before and before.is_there and len(run.frames) == 3
    run.close()
    assert (out / "poses.json").is_file()


def test_a_run_plays_on_the_pose_that_it_began_with(tracking, widget):
    import slicer

    process, run = tracking
    began = widget.logic.session.pose.node
    widget.logic.parameters.poseTransform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    finish(process)
    assert run.sequence.browser.GetProxyNode(run.sequence.poses) is began


@pytest.mark.parametrize("full", ["from the start", "at the first image"])
def test_a_full_disk_is_told_and_nothing_stays_behind(tracking, ui, click, widget, temporary, full):
    process, run = tracking
    finish(process)
    heard = []
    widget.logic.message.connect(heard.append)
    with temporary.gone() if full == "from the start" else temporary.full():
        click(ui.trackButton)
    assert "cannot be handed over" in heard[-1] and "\n" not in heard[-1]
    assert run.state == "idle" and temporary.left() == [] and ui.trackButton.isEnabled()
