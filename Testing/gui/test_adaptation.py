"""Adapt to this CT: the section follows a process, and weights are used only where the user keeps them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

ERRORS = {"flow_px": 1.0, "start_mm": 5.0, "step_mm": 2.0, "below_2mm": 0.5}


class Process:
    """In place of the child: the test says what it prints and when it ends."""

    def __init__(self):
        self.command, self.written, self.killed = None, b"", False

    def start(self, program, arguments):
        self.command = [program, *arguments]

    def write(self, data):
        self.written += data

    def kill(self):
        self.killed = True

    def tell(self, **record):
        self.received(json.dumps(record).encode() + b"\n")

    @property
    def out(self) -> Path:
        return Path(self.command[self.command.index("--out") + 1])


@pytest.fixture
def adapting(widget, ui, host, monkeypatch):
    """(process, adaptation): a phantom-like CT and an X-ray in the scene, and an adaptation started by the button."""
    import slicer
    from DeepReg2D3DLib.mrml.carm import assumed_camera

    logic, process = widget.logic, Process()
    ct = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(ct, np.zeros((6, 7, 8), np.int16))
    xray = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "AP")
    slicer.util.updateVolumeFromArray(xray, np.zeros((1, 30, 40), np.float32))
    monkeypatch.setattr(logic.session.inputs, "_may_start", lambda: False)  # no engine
    logic.setCT(ct)
    node = logic.addXray(xray)
    logic.setGeometry(node, assumed_camera(40, 30, "AP", spacing_mm=2.0).to_json())
    monkeypatch.setattr(logic.client, "save_ct", lambda path, done, refused: done({"path": str(path)}))
    monkeypatch.setattr(logic.adaptation, "_make_transport", lambda: process)
    logic.adaptation.start(5.0, "cpu")
    host.process_events(0.02)
    return process, logic.adaptation


def test_it_is_started_with_the_views_and_the_pose_of_the_scene(adapting, widget):
    process, adaptation = adapting
    from DeepReg2D3DLib.engine.geometry_file import load_geometry
    from DeepReg2D3DLib.engine.pose_file import load_pose

    words = process.command
    assert words[words.index("--minutes") + 1] == "5" and "--messages" in words
    [view] = load_geometry(words[words.index("--geometry") + 1])
    assert (view.camera.columns, view.camera.rows, view.camera.pixel_spacing) == (40, 30, (2.0, 2.0))
    assert np.allclose(load_pose(words[words.index("--init") + 1]).numpy(), widget.logic.pose())
    assert adaptation.state == "preparing"


def test_progress_and_errors_are_shown(adapting, ui, host):
    process, adaptation = adapting
    process.tell(stage="before", **ERRORS)
    process.received(b'{"stage": "training", "step": 50, "do')  # cut anywhere
    process.received(b'ne": 0.25}\nnot json\n')
    host.process_events(0.02)
    assert adaptation.state == "training" and ui.adaptProgressBar.value == 25
    assert "2.00 mm" in ui.adaptBeforeValue.text and "50 %" in ui.adaptBeforeValue.text
    assert "50" in ui.adaptStateLabel.text and not ui.adaptStartButton.isEnabled()
    adaptation.stop()
    assert process.written == b"stop\n" and adaptation.state == "stopping"


def test_what_helps_is_used_once_it_is_kept(adapting, widget, ui, host, tmp_path):
    process, adaptation = adapting
    process.out.mkdir()
    (process.out / "manifest.json").write_text("{}")
    process.tell(stage="after", gain=0.21, **ERRORS)
    process.tell(stage="end", status="kept")
    process.exited(0, False)
    assert "21 %" in ui.adaptStateLabel.text and widget.logic.parameters.weights == ""
    adaptation.keep(str(tmp_path / "beside"))
    host.process_events(0.02)
    assert widget.logic.parameters.weights == str(tmp_path / "beside")
    assert (tmp_path / "beside" / "manifest.json").is_file() and not process.out.exists()
    assert ui.adaptInUseValue.text == str(tmp_path / "beside")
    ui.adaptInstalledButton.click()
    assert widget.logic.parameters.weights == "" and (tmp_path / "beside").is_dir()


def test_a_run_of_deep_iterative_alone_takes_the_weights(widget, monkeypatch):
    from DeepReg2D3DLib.gui.choices import Method

    given = []
    monkeypatch.setattr(type(widget.logic.session.inputs), "ready", True)
    monkeypatch.setattr(widget.logic.session.run, "start", lambda *arguments: given.append(arguments[-1]))
    widget.logic.parameters.weights = "/adapted"
    for method in (Method.DEEP_ITERATIVE, Method.DPPC):
        widget.logic.parameters.method = method
        widget.logic.startRegistration()
    assert given == ["/adapted", ""]


def test_refusal_and_failure_are_said(adapting, ui):
    process, adaptation = adapting
    process.tell(stage="end", status="refused")
    process.exited(3, False)
    assert "does not help" in ui.adaptStateLabel.text and adaptation.state == "refused"
    adaptation.start(5.0)
    process.logged(b"deepreg2d3d: no time is left.\n")
    process.exited(2, False)
    assert ui.adaptStateLabel.text == "Failed: no time is left."
    assert ui.adaptStartButton.isEnabled() is False  # without an engine there is no CT to adapt to


def test_another_ct_ends_it_and_goes_back_to_the_installed_network(adapting, widget, host):
    import slicer

    process, adaptation = adapting
    widget.logic.parameters.weights = "/adapted to the first CT"
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "another CT")
    slicer.util.updateVolumeFromArray(other, np.ones((6, 7, 8), np.int16))
    widget.logic.setCT(other)
    host.process_events(0.02)
    assert process.killed and adaptation.state == "idle" and widget.logic.parameters.weights == ""


def test_closing_ends_the_process_and_leaves_nothing(adapting, widget):
    process, adaptation = adapting
    folder = process.out.parent
    assert folder.is_dir()
    adaptation.close()
    assert process.killed and not folder.exists()


def test_a_full_disk_is_told_and_nothing_stays_behind(adapting, temporary):
    _process, adaptation = adapting
    adaptation.discard()
    with temporary.gone():
        adaptation.start(5.0, "cpu")
    assert adaptation.state == "failed" and "cannot be handed over" in adaptation.text
    adaptation.start(5.0, "cpu")
    assert adaptation.state == "preparing" and len(temporary.left()) == 1
