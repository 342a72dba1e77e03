"""The whole way with the real engine process, by clicks: sample, drag, register, step, stop, crash, close."""

from __future__ import annotations

import importlib.util
import os
import signal

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the engine needs torch")


def process_exists(pid: int) -> bool:
    """False for a zombie, too."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def sample(widget, ui, click, host):
    """The sample, loaded by a click and taken over by the engine; returns the widget."""
    from DeepReg2D3DLib.gui.choices import Method, Preset

    widget.logic.parameters.method = Method.DPPC
    widget.logic.parameters.preset = Preset.FAST
    click(ui.loadSampleButton)
    assert host.wait_for(lambda: widget.logic.session.inputs.ready, 120), ui.engineLogText.toPlainText()
    return widget


def error_mm(widget, truth) -> float:
    from DeepReg2D3DLib.gui.results import motion

    return motion(widget.logic.pose(), truth, widget.logic.session.pose.centre)[0]


def overlays_drawn(widget) -> bool:
    session = widget.logic.session
    return bool(session.live.overlays) and session.live.drawn > 0


def test_sample_is_shown(sample, ui, host):
    session = sample.logic.session
    assert session.ct is not None and len(session.xrays) == 2
    assert ui.viewsTable.rowCount == 2
    assert session.layout.is_shown
    assert host.wait_for(lambda: overlays_drawn(sample), 30)
    assert ui.registerButton.isEnabled(), ui.registerHint.text
    assert "ready" in ui.engineStateLabel.text.lower() or "bone" in ui.engineStateLabel.text.lower()


def test_three_clicks_to_a_registered_overlay(sample, ui, click, host):
    truth = sample.logic.sampleTruth
    before = error_mm(sample, truth)
    click(ui.registerButton)
    assert sample.logic.session.run.is_running
    assert host.wait_for(lambda: sample.logic.result() is not None, 180)
    result = sample.logic.result()
    assert result["status"] in ("converged", "stopped"), result
    assert error_mm(sample, truth) < min(before, 3.0)
    assert result["similarity"] > result["start_similarity"]
    assert ui.acceptButton.isEnabled() and ui.revertButton.isEnabled() and ui.saveReportButton.isEnabled()
    assert int(ui.iterationValue.text) == result["iterations"]
    # Revert takes the pose back, and the record says so.
    click(ui.revertButton)
    assert error_mm(sample, truth) == pytest.approx(before, abs=1e-6)
    assert sample.logic.result()["reverted"]


def test_the_modules_own_test_passes(widget, host):
    import slicer

    engines = widget.logic.client
    slicer.selfTests["DeepReg2D3D"](msec=1)
    assert widget.logic.client is engines and widget.logic.result()["status"] in ("converged", "stopped")


def test_step_then_continue_then_stop(sample, ui, click, host):
    run = sample.logic.session.run
    click(ui.stepButton)
    assert host.wait_for(lambda: run.state == "paused", 180)
    assert len(run.iterations) == 2  # the start and one step
    click(ui.stepButton)
    assert host.wait_for(lambda: run.state == "paused" and len(run.iterations) == 3, 180)
    click(ui.stopButton)
    assert host.wait_for(lambda: run.state == "idle", 30)
    assert sample.logic.result()["status"] in ("cancelled", "stopped")


def test_replay_leaves_the_pose(sample, ui, click, host):
    click(ui.registerButton)
    assert host.wait_for(lambda: sample.logic.result() is not None, 180)
    end = sample.logic.pose().copy()
    ui.replaySlider.value = 0.0
    host.process_events(0.05)
    assert sample.logic.pose() == pytest.approx(end)
    last = ui.replaySlider.maximum
    ui.replaySlider.value = last
    host.process_events(0.05)
    assert sample.logic.pose() == pytest.approx(end)


def test_sliders_move_the_pose_and_undo_takes_it_back(sample, ui, click, host):
    before = sample.logic.pose().copy()
    ui.translationASlider.value = ui.translationASlider.value + 7.0
    host.process_events(0.02)
    # Slicer's anterior is LPS -y.
    moved = sample.logic.pose() - before
    assert moved[1, 3] == pytest.approx(-7.0, abs=0.06)
    assert np.abs(np.delete(moved[:3, 3], 1)).max() < 0.06
    assert host.wait_for(lambda: overlays_drawn(sample), 30)
    click(ui.poseUndoButton)
    assert sample.logic.pose() == pytest.approx(before)
    click(ui.poseRedoButton)
    assert sample.logic.pose()[1, 3] == pytest.approx(before[1, 3] - 7.0, abs=0.06)


def test_dragging_the_overlay_moves_it_under_the_pointer(sample, host):
    import slicer
    from DeepReg2D3DLib.mrml.xray_node import camera_of

    session = sample.logic.session
    slice_node, node = session.layout.slice_node(0), session.xrays[0]
    host.process_events(0.2)
    interactor = slicer.app.layoutManager().sliceWidget(slice_node.GetLayoutName()).sliceView().interactor()
    camera, centre = camera_of(node), session.pose.centre

    def seen():
        world = session.pose.pose @ np.append(centre, 1.0)
        return camera.project(world[:3][None])[0]

    before = seen()
    per_pixel = slice_node.GetFieldOfView()[0] / slice_node.GetDimensions()[0]
    spacing = node.GetSpacing()
    interactor.SetEventInformation(150, 150)
    interactor.LeftButtonPressEvent()
    interactor.SetEventInformation(170, 140)
    interactor.MouseMoveEvent()
    interactor.LeftButtonReleaseEvent()
    du, dv = seen() - before
    # 20 screen pixels to the right, 10 down (screen y goes up, rows go down)
    assert du == pytest.approx(20 * per_pixel / spacing[0], rel=0.05)
    assert dv == pytest.approx(10 * per_pixel / spacing[1], rel=0.05)
    assert session.pose.can_undo


def test_removing_a_shown_view(sample, ui, click, host):
    session = sample.logic.session
    ui.viewsTable.selectRow(1)
    click(ui.removeViewButton)
    assert len(session.xrays) == 1 and ui.viewsTable.rowCount == 1
    assert host.wait_for(lambda: session.inputs.ready, 60)
    assert len(session.live.overlays) == 1


def test_deleting_an_xray_node_during_a_run(sample, ui, click, host):
    import slicer

    session = sample.logic.session
    click(ui.registerButton)
    assert host.wait_for(lambda: len(session.run.iterations) > 0, 180)
    slicer.mrmlScene.RemoveNode(session.xrays[0])
    assert host.wait_for(lambda: session.run.state == "idle", 30)
    assert len(session.xrays) == 1
    assert host.wait_for(lambda: session.inputs.ready, 60)


def test_editing_the_geometry(sample, ui, click, host):
    from DeepReg2D3DLib.mrml.carm import numbers_from_camera
    from DeepReg2D3DLib.mrml.xray_node import camera_of, provenance_of

    node = sample.logic.session.xrays[0]
    ui.viewsTable.selectRow(0)
    click(ui.editViewButton)
    assert ui.geometryGroup.isVisible()
    before = numbers_from_camera(camera_of(node))
    ui.sddSpinBox.setValue(before.source_to_detector + 50)
    click(ui.geometryApplyButton)
    after = numbers_from_camera(camera_of(node))
    assert after.source_to_detector == pytest.approx(before.source_to_detector + 50)
    assert after.principal_point == pytest.approx(before.principal_point)
    assert provenance_of(node)["source_to_detector_mm"] == "user"
    assert ui.sddSourceLabel.text == "entered"
    assert host.wait_for(lambda: sample.logic.session.inputs.ready, 60)


def test_killed_engine_comes_back_with_the_inputs(sample, ui, host):
    logic = sample.logic
    pose, pid = logic.pose().copy(), logic.client.info["pid"]
    os.kill(pid, signal.SIGKILL)
    assert host.wait_for(lambda: not logic.session.inputs.ready, 10)
    assert host.wait_for(lambda: logic.session.inputs.ready, 120)
    assert logic.client.info["pid"] != pid
    assert logic.pose() == pytest.approx(pose)
    assert ui.registerButton.isEnabled()


def test_engine_killed_during_a_run_leaves_the_pose_reached(sample, ui, click, host):
    logic = sample.logic
    click(ui.registerButton)
    assert host.wait_for(lambda: len(logic.session.run.iterations) > 1, 180)
    os.kill(logic.client.info["pid"], signal.SIGKILL)
    assert host.wait_for(lambda: logic.session.run.state == "idle", 30)
    reached = logic.session.run.iterations[-1].pose
    assert logic.pose() == pytest.approx(np.asarray(reached), abs=1e-6)
    assert logic.result()["status"] == "failed"
    assert "stopped unexpectedly" in logic.result()["text"]


def test_scene_close_during_a_run(sample, ui, click, host):
    import slicer

    click(ui.registerButton)
    assert host.wait_for(lambda: len(sample.logic.session.run.iterations) > 0, 180)
    slicer.mrmlScene.Clear()
    host.process_events(0.3)
    assert sample.logic.session.ct is None and sample.logic.session.xrays == []
    assert ui.viewsTable.rowCount == 0
    assert not ui.registerButton.isEnabled()


def test_leaving_restores_the_layout(sample, host):
    import slicer

    session = sample.logic.session
    assert session.layout.is_shown
    host.exit(sample)
    conventional = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    assert slicer.app.layoutManager().layout == conventional
    host.enter(sample)
    assert session.layout.is_shown


def test_nothing_is_left_behind(sample, host):
    logic = sample.logic
    pid, folder = logic.client.info["pid"], logic.client.folder.path
    assert process_exists(pid) and folder.exists()
    host.unload_module(sample)
    assert host.wait_for(lambda: not process_exists(pid), 10)
    assert not folder.exists()


@pytest.mark.parametrize("end", ["unload", "reload"])
def test_ending_in_the_middle_of_a_run_is_quiet(sample, ui, click, host, caplog, capsys, end):
    logic = sample.logic
    click(ui.registerButton)
    assert host.wait_for(lambda: len(logic.session.run.iterations) > 0, 180)
    pid, folder, pose = logic.client.info["pid"], logic.client.folder.path, logic.session.pose.node
    host.unload_module(sample) if end == "unload" else host.reload_module(sample)
    assert host.wait_for(lambda: not process_exists(pid), 10)
    host.process_events(0.5)
    assert not folder.exists()
    assert pose.GetScene() is not None  # the scene stays as it was
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
    assert "Traceback" not in capsys.readouterr().err


def test_deleting_the_ct_and_the_pose_during_a_run(sample, ui, click, host, capsys):
    import slicer

    logic = sample.logic
    click(ui.registerButton)
    assert host.wait_for(lambda: len(logic.session.run.iterations) > 0, 180)
    slicer.mrmlScene.RemoveNode(logic.session.pose.node)
    host.process_events(0.2)
    slicer.mrmlScene.RemoveNode(logic.session.ct)
    assert host.wait_for(lambda: logic.session.run.state == "idle", 30)
    host.process_events(0.5)
    assert logic.session.ct is None and not ui.registerButton.isEnabled()
    assert "Traceback" not in capsys.readouterr().err


def test_saved_scene_reopens_as_it_was(sample, ui, click, host, save_scene):
    import slicer

    click(ui.registerButton)
    assert host.wait_for(lambda: sample.logic.result() is not None, 180)
    sample.logic.parameters.overlayOpacity = 0.3
    pose, result = sample.logic.pose().copy(), sample.logic.result()
    names = [node.GetName() for node in sample.logic.session.xrays]
    save_scene()
    slicer.mrmlScene.Clear()
    host.process_events(0.1)
    slicer.mrmlScene.Connect()
    host.process_events(0.2)
    logic = sample.logic
    assert [node.GetName() for node in logic.session.xrays] == names
    assert logic.parameters.overlayOpacity == pytest.approx(0.3)
    assert logic.result()["status"] == result["status"]
    assert logic.pose() == pytest.approx(pose, abs=1e-4)


def test_brightness_of_a_file_can_be_declared(widget, ui, click, host, tmp_path):
    import SimpleITK as sitk
    from DeepReg2D3DLib.mrml.xray_node import image_of, provenance_of

    values = np.linspace(0.0, 4.0, 64 * 48, dtype=np.float32).reshape(48, 64)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "shot.mha"))
    node = widget.logic.loadXray(str(tmp_path / "shot.mha"), kind="line_integral")
    host.process_events(0.05)
    assert image_of(node) == pytest.approx(values, abs=1e-5)
    assert set(provenance_of(node).values()) == {"assumed"}
    assert "assumed" in ui.viewsTable.item(0, 2).text()
    click(ui.editViewButton)
    ui.imageKindComboBox.setCurrentIndex(1)  # photons: bone dark
    click(ui.geometryApplyButton)
    # Photons become line integrals by -ln(I / I0): the brightest pixel has the least.
    assert host.wait_for(lambda: image_of(node)[0, 0] > image_of(node)[-1, -1], 60)
