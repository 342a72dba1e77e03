"""In place of a child process, for the panel's tests: the test says what it tells and when it ends."""

from __future__ import annotations

import numpy as np


class Process:
    """A transport without a child."""

    def __init__(self):
        self.command, self.input_closed, self.ended = None, False, False

    def start(self, program, arguments):
        self.command = [program, *arguments]

    def close_input(self):
        self.input_closed = True

    def terminate(self):
        self.ended = True

    kill = terminate

    def wait(self, seconds):
        return True

    def call_later(self, seconds, call):
        class Timer:
            def cancel(self):
                pass

        return Timer()

    def option(self, name):
        return self.command[self.command.index(name) + 1]


def scene_of_phantoms(widget, monkeypatch, section: str, program) -> Process:
    """A CT and an X-ray of named nodes, a pose 1, 2, 3 mm off, the section open, and ``program`` without a child."""
    import slicer
    from DeepReg2D3DLib.gui.choices import Method, Preset
    from DeepReg2D3DLib.mrml.carm import assumed_camera

    logic, process = widget.logic, Process()
    ct = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Quux CT")
    slicer.util.updateVolumeFromArray(ct, np.zeros((6, 7, 8), np.int16))
    xray = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Quux AP")
    slicer.util.updateVolumeFromArray(xray, np.ones((1, 30, 40), np.float32))
    monkeypatch.setattr(logic.session.inputs, "_may_start", lambda: False)  # no engine
    logic.setCT(ct)
    node = logic.addXray(xray)
    logic.setGeometry(node, assumed_camera(40, 30, "AP", spacing_mm=2.0).to_json())
    monkeypatch.setattr(type(logic.session.inputs), "ready", property(lambda self: True))
    monkeypatch.setattr(logic.client, "save_ct", lambda path, done, refused: done({"path": str(path)}))
    monkeypatch.setattr(program, "_make_transport", lambda: process)
    pose = np.eye(4)
    pose[:3, 3] = [1.0, 2.0, 3.0]
    logic.setPose(pose)
    logic.parameters.method, logic.parameters.preset = Method.DPPC, Preset.FAST
    part = next(s for s in widget.panel.sections if type(s).__name__ == section)
    getattr(part.ui, part.ui_name.lower() + "Section").setCollapsed(False)
    return process
