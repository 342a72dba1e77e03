"""The record of a run, and the words of the Result section."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def results(host):
    from DeepReg2D3DLib.gui import results

    return results


def pose(angle_deg=0.0, shift=(0.0, 0.0, 0.0)):
    a = math.radians(angle_deg)
    made = np.eye(4)
    made[:2, :2] = [[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]
    made[:3, 3] = shift
    return made


def test_motion_about_the_centre(results):
    # A turn about the origin moves a centre at radius 100 by the chord.
    moved, turned = results.motion(pose(), pose(10.0), (100.0, 0.0, 0.0))
    assert turned == pytest.approx(10.0)
    assert moved == pytest.approx(2 * 100 * math.sin(math.radians(5.0)))
    assert results.motion(pose(), pose(shift=(3, 4, 0)), (0, 0, 0)) == pytest.approx((5.0, 0.0))


@pytest.mark.parametrize(
    ("status", "report", "light"),
    [
        ("converged", {"confidence_light": "green"}, "green"),
        ("converged", {}, "yellow"),
        ("unreliable", {"confidence_light": "green"}, "red"),
        ("failed", {}, "red"),
        ("cancelled", {"confidence_light": "green"}, "yellow"),
        ("converged", {"confidence_light": "<script>"}, "yellow"),
    ],
)
def test_the_light_is_never_better_than_the_status(results, status, report, light):
    assert results.light_of(status, report) == light


def test_the_light_is_a_shape_with_a_name(widget, ui):
    import json

    for light, words in (("green", "Good"), ("yellow", "Uncertain"), ("red", "Not reliable")):
        widget.logic.parameters.result = json.dumps({"status": "converged", "light": light, "iterations": 3})
        widget.logic.resultChanged.emit()
        assert ui.lightLabel.isVisible() and not ui.lightLabel.property("pixmap").isNull()
        assert ui.lightLabel.property("accessibleName") == words
    widget.logic.parameters.result = ""
    widget.logic.resultChanged.emit()
    assert not ui.lightLabel.isVisible()


def test_a_result_of_another_pose_is_said_to_be(widget, ui, host):
    import json

    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    widget.logic.parameters.poseTransform = node
    result = {"status": "converged", "iterations": 3, "ct_to_world": pose().tolist()}
    widget.logic.parameters.result = json.dumps(result)
    widget.logic.resultChanged.emit()
    assert "moved since" not in ui.confidenceLabel.text
    widget.logic.setPose(pose(shift=(1, 0, 0)))
    assert "moved since" in ui.confidenceLabel.text


def test_revert_after_hardening_leads_to_where_the_ct_was(widget, ui, click, host):
    import slicer
    from DeepReg2D3DLib.mrml.ct import ct_grid

    ct = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(ct, np.zeros((4, 5, 6), np.int16))
    logic = widget.logic
    logic.parameters.ct = ct
    host.process_events(0.1)
    grid, start, end = ct_grid(ct), pose(10.0, (5.0, 0.0, 0.0)), pose(-20.0, (0.0, 7.0, 1.0))
    logic.setPose(end)
    record = {"status": "converged", "iterations": 3, "start": start.tolist(), "ct_to_world": end.tolist()}
    logic.parameters.result = json.dumps(record)
    click(ui.hardenButton)
    host.process_events(0.1)
    assert ct_grid(ct) == pytest.approx(end @ grid) and "moved since" not in ui.confidenceLabel.text
    click(ui.revertButton)
    assert logic.pose() @ ct_grid(ct) == pytest.approx(start @ grid)


def test_record_is_plain_json(results):
    finished = SimpleNamespace(
        status="converged", text="", report={"confidence": math.nan, "warnings": ["w"]}, iterations=2, seconds=math.nan,
        pose=pose(5.0),
    )  # fmt: skip
    iterations = [SimpleNamespace(similarity=math.nan), SimpleNamespace(similarity=0.9)]
    record = results.result_record(finished, iterations, pose(), SimpleNamespace(centre=(0.0, 0.0, 0.0)))
    text = json.dumps(record, allow_nan=False)  # raises on NaN
    assert json.loads(text)["confidence"] is None
    assert record["turned_deg"] == pytest.approx(5.0)
    assert record["similarity"] == 0.9 and record["start_similarity"] is None


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "No result yet."),
        ({"status": "converged", "confidence": 0.87, "light": "yellow"}, "Uncertain. Confidence 87 %"),
        ({"status": "converged", "confidence": 0.97, "light": "green"}, "Good. Confidence 97 %"),
        (
            {"status": "unreliable", "confidence": 0.1, "light": "red", "reasons": ["the views disagree"]},
            "disagree.</li>",
        ),
        (
            {"status": "converged", "light": "green", "uncertainty": {"in_plane_mm": 0.3, "depth_mm": 2.0}},
            "2.0 mm in depth",
        ),
        ({"status": "converged", "region": "L3"}, "Only the region &#x27;L3&#x27;"),
        ({"status": "converged", "warnings": ["<b>x</b>"]}, "&lt;b&gt;x"),
        ({"status": "converged", "confidence": None}, "Check the overlay"),
        ({"status": "unreliable", "confidence": 0.9, "warnings": ["The views disagree."]}, "Do not rely"),
        ({"status": "unreliable", "warnings": ["The views disagree."]}, "The views disagree."),
        ({"status": "failed", "text": "Out of memory."}, "Out of memory."),
        ({"status": "cancelled"}, "Stopped before the end"),
    ],
)
def test_confidence_in_words(host, result, words):
    from DeepReg2D3DLib.gui.result_section import confidence_words

    assert words in confidence_words(result)
