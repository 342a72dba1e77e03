"""The README's example for Slicer's Python console, run as it is written there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).resolve().parents[2] / "README.md"

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the engine needs torch")


def example() -> str:
    blocks = [code for code in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf8"), re.DOTALL)]
    found = [code for code in blocks if "getModuleWidget" in code]
    assert len(found) == 1
    return found[0]


def test_the_example_registers_the_sample(widget, host, monkeypatch, tmp_path, capsys):
    import slicer
    from DeepReg2D3DLib.gui.results import motion

    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda name: getattr(slicer.modules, f"{name}Widget"))
    monkeypatch.chdir(tmp_path)
    names = {"slicer": slicer}
    exec(compile(example(), str(README), "exec"), names)
    assert names["result"]["status"] in capsys.readouterr().out
    centre, truth = widget.logic.session.pose.centre, names["truth"]
    assert motion(widget.logic.pose(), truth, centre)[0] < 3.0 < motion(names["start"], truth, centre)[0]
    assert (tmp_path / "registered.tfm").stat().st_size > 100


def test_what_is_missing_is_said_at_once(widget):
    with pytest.raises(RuntimeError, match="Choose a CT"):
        widget.logic.register()


def test_a_file_that_is_not_there_is_said(widget, tmp_path):
    with pytest.raises(RuntimeError, match=r"missing\.png"):
        widget.logic.loadXray(str(tmp_path / "missing.png"))


def test_geometry_by_hand(widget, host):
    import slicer
    from DeepReg2D3DLib.mrml.carm import assumed_camera
    from DeepReg2D3DLib.mrml.xray_node import camera_of, provenance_of

    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "shot")
    slicer.util.updateVolumeFromArray(volume, np.zeros((1, 30, 40), np.float32))
    node = widget.logic.addXray(volume)
    camera = assumed_camera(40, 30, "shot", lateral=True, spacing_mm=2.0)
    widget.logic.setGeometry(node, camera.to_json())
    assert camera_of(node).pixel_spacing == (2.0, 2.0)
    assert set(provenance_of(node).values()) == {"user"}
