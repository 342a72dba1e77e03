"""The whole way with the real engine process, by clicks: what ends, breaks, closes or reloads something."""

from __future__ import annotations

import importlib.util
import os
import signal

import numpy as np
import pytest
from sample_panel import load_sample

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the engine needs torch")


def process_exists(pid: int) -> bool:
    """False for a zombie, too."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def sample(widget, host):
    """The sample, loaded by a click and taken over by an engine of its own; returns the widget."""
    load_sample(host, widget)
    return widget


def test_the_modules_own_test_passes(widget, host):
    import slicer

    engines = widget.logic.client
    slicer.selfTests["DeepReg2D3D"](msec=1)
    assert widget.logic.client is engines and widget.logic.result()["status"] in ("converged", "stopped")


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


def test_what_a_run_is_at_work_on_is_told(sample, ui, click, host):
    run, client = sample.logic.session.run, sample.logic.client
    click(ui.registerButton)
    assert host.wait_for(lambda: len(run.iterations) > 0, 180)
    before = ui.engineStateLabel.text
    client.progress.emit("Looking for a better start...", None)
    assert ui.runProgressBar.format == ui.engineStateLabel.text == "Looking for a better start..."
    sample.panel.update()  # as on coming back to the module: it is told once
    assert ui.runProgressBar.format == ui.engineStateLabel.text == "Looking for a better start..."
    client.progress.emit("", 1.0)
    assert ui.engineStateLabel.text == before != "Looking for a better start..."
    count = len(run.iterations)
    assert host.wait_for(lambda: len(run.iterations) > count or run.state == "idle", 180)
    assert ui.runProgressBar.format != "Looking for a better start..."
    client.progress.emit("Looking for a better start...", None)
    click(ui.stopButton)
    assert host.wait_for(lambda: run.state == "idle", 30)
    click(ui.registerButton)  # what the run before was at work on is over
    assert ui.runProgressBar.format == "Starting..."
    click(ui.stopButton)
    assert host.wait_for(lambda: run.state == "idle", 30)


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


@pytest.mark.parametrize("gone", ["scene", "ct"])
def test_an_automatic_start_ends_with_its_ct(sample, ui, host, gone, monkeypatch):
    import slicer
    from DeepReg2D3DLib.worker import link

    monkeypatch.setattr(link, "CANCEL_SECONDS", 30.0)  # a busy machine's engine takes its time, too
    logic, told, started = sample.logic, [], []
    logic.client.ready.connect(started.append)

    def leave(text, _fraction):
        if text == "Looking for a better start..." and not told:
            told.append(text)
            scene = slicer.mrmlScene
            logic.callLater(0.0, scene.Clear if gone == "scene" else lambda: scene.RemoveNode(logic.session.ct))

    logic.client.progress.connect(leave)
    logic.automaticStart()  # waits, but not for what will not come
    assert told and not logic.searching
    assert host.wait_for(lambda: logic.client.state == "ready", 60)
    assert ui.poseAutoButton.text == "Automatic start" and not ui.poseAutoButton.isEnabled()
    host.process_events(0.1)
    assert logic.session.ct is None and not ui.poseUndoButton.isEnabled()  # nothing was taken over
    assert not started  # by an engine that was there before


def test_a_message_goes_with_its_scene(widget, ui, host):
    import slicer
    from PySide6 import QtWidgets

    line = widget.parent.findChild(QtWidgets.QLabel, "messageLabel")
    widget.logic.message.emit("Saved pose.tfm.")
    assert line.isVisible()
    slicer.mrmlScene.Clear()
    host.process_events(0.02)
    assert not line.isVisible() and line.text == ""


def test_nothing_is_left_behind(sample, host):
    logic = sample.logic
    pid, folder = logic.client.info["pid"], logic.client.folder.path
    assert process_exists(pid) and folder.exists()
    host.unload_module(sample)
    assert host.wait_for(lambda: not process_exists(pid), 10)
    assert not folder.exists()


@pytest.mark.parametrize("end", ["unload", "reload"])
def test_ending_in_the_middle_of_a_run_is_quiet(sample, ui, click, host, caplog, capsys, own_modules, end):
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
