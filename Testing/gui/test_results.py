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
        ({"status": "converged", "confidence": 0.87}, "Confidence 87 %"),
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
