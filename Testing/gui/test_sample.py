"""The sample and what is done with it by clicks, on one real engine process: drag, step, register, replay, edit."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sample_panel import error_mm, load_sample, opened, overlays_drawn

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the engine needs torch")


@pytest.fixture(scope="module")
def widget(host):
    """The module's widget with the sample in it, kept for all tests here."""
    with opened(host) as made:
        load_sample(host, made)
        made.start = made.logic.pose().copy()
        yield made


@pytest.fixture
def sample(widget, host):
    """The sample as it was loaded, whatever the test before has done to it."""
    from DeepReg2D3DLib.gui.choices import Preset

    session = widget.logic.session
    assert host.wait_for(lambda: session.inputs.ready and not session.run.is_running, 60)
    widget.logic.parameters.preset = Preset.PAPER
    widget.logic.parameters.result = ""
    widget.logic.setPose(widget.start)
    host.process_events(0.05)
    return widget


def test_sample_is_shown(sample, ui, host):
    session = sample.logic.session
    assert session.ct is not None and len(session.xrays) == 2
    assert ui.viewsTable.rowCount == 2
    assert session.layout.is_shown
    assert host.wait_for(lambda: overlays_drawn(sample), 30)
    assert ui.registerButton.isEnabled(), ui.registerHint.text
    assert "ready" in ui.engineStateLabel.text.lower() or "bone" in ui.engineStateLabel.text.lower()


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


def test_three_clicks_to_a_registered_overlay(sample, ui, click, host):
    from DeepReg2D3DLib.gui.choices import Preset

    sample.logic.parameters.preset = Preset.FAST
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


def test_the_overlay_follows_while_the_automatic_start_looks_and_it_is_given_up(sample, ui, click, host, monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.worker.link.CANCEL_SECONDS", 60.0)
    logic, client, told, drawn = sample.logic, sample.logic.client, [], []
    pid = client.info["pid"]
    note_told, note_drawn = lambda text, _fraction: told.append(text), lambda result: drawn.append(result.pose)
    client.progress.connect(note_told)
    client.rendered.connect(note_drawn)
    click(ui.poseAutoButton)
    assert host.wait_for(lambda: "Looking for a better start..." in told, 120)
    ui.translationRSlider.setValue(ui.translationRSlider.value + 7.0)
    moved = logic.pose()
    assert host.wait_for(lambda: any(np.allclose(pose, moved, atol=1e-6) for pose in drawn), 60)
    assert logic.searching and ui.poseAutoButton.text == "Stop looking"
    click(ui.poseAutoButton)
    assert host.wait_for(lambda: not logic.searching, 60)
    assert client.info["pid"] == pid and logic.session.inputs.ready
    assert logic.pose() == pytest.approx(moved)
    client.progress.disconnect(note_told)
    client.rendered.disconnect(note_drawn)


def test_leaving_restores_the_layout(sample, host):
    import slicer

    session = sample.logic.session
    assert session.layout.is_shown
    host.exit(sample)
    conventional = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    assert slicer.app.layoutManager().layout == conventional
    host.enter(sample)
    assert session.layout.is_shown


def test_views_that_do_not_agree_are_told_beside_the_light_after_the_result(sample, ui, click, host):
    from DeepReg2D3DLib.gui.choices import Preset
    from DeepReg2D3DLib.mrml.xray_node import camera_of

    logic, node = sample.logic, sample.logic.session.xrays[1]
    logic.parameters.preset = Preset.FAST
    own = camera_of(node).to_json()
    lowered = np.array(own["world_to_camera"])
    lowered[1, 3] -= 4.0
    logic.setGeometry(node, own | {"world_to_camera": lowered.tolist()})
    assert host.wait_for(lambda: logic.session.inputs.ready, 60)
    click(ui.registerButton)
    assert host.wait_for(lambda: logic.result() is not None, 180)
    first = logic.result()
    assert first["warnings"] == [] and ui.registerButton.isEnabled()
    click(ui.acceptButton)
    assert host.wait_for(lambda: logic.result()["warnings"], 120)
    then = logic.result()
    assert "the views do not agree" in then["warnings"][0] and "he views do not agree" in ui.confidenceLabel.text
    assert (first["light"], then["light"]) == ("green", "yellow") and then["accepted"]
    assert ui.lightLabel.property("accessibleName") == "Uncertain"
    assert then["ct_to_world"] == first["ct_to_world"]
    logic.setGeometry(node, own)
    assert host.wait_for(lambda: logic.session.inputs.ready, 60)


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
