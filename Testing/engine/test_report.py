"""What report.json says of measurements that have no value."""

import json
import math

import torch
from DeepReg2D3DLib.engine.confidence import Confidence
from DeepReg2D3DLib.engine.iteration import Iteration
from DeepReg2D3DLib.engine.report import RunFacts, Seconds, build_report
from DeepReg2D3DLib.engine.uncertainty import Uncertainty
from DeepReg2D3DLib.engine.view_agreement import ViewAgreement

POSE = torch.eye(4, dtype=torch.float64)


def test_what_has_no_value_is_null_and_never_the_best_value_there_is():
    judged = Confidence(
        0.3, "red", ("x",), {"offset": 0.0}, {"offset_mm": math.nan, "found": 0.0, "scatter_mm": math.inf},
        Uncertainty(0.2, math.inf, math.nan, 0.5),
    )  # fmt: skip
    steps = [
        Iteration(0, POSE, math.nan, 0, math.nan, 0.1, ()),
        Iteration(1, POSE, 0.5, 40, 0.25, 0.1, (), True, "unreliable", judged),
    ]
    agreements = [ViewAgreement("AP", 0.6, math.nan, math.inf, POSE), ViewAgreement("LAT", 0.6, 0.7, 0.0, POSE)]
    facts = RunFacts("unreliable", "dppc", "fast", "cpu", Seconds(1.0, 1.0, 1.0), agreements=agreements)
    report = json.loads(json.dumps(build_report(steps, facts), allow_nan=False))
    components = report["confidence_components"]
    assert (components["offset_mm"], components["found"], components["scatter_mm"]) == (None, 0.0, None)
    assert (components["similarity_start"], components["similarity_end"]) == (None, 0.25)
    assert list(report["uncertainty"].values()) == [0.2, None, None, 0.5]
    assert [view["offset_mm"] for view in report["views"]] == [None, 0.0]
    assert report["views"][0]["edge_similarity_alone"] is None
    # Other programs draw the curve of the iterations.
    assert [(step["motion_mm"], step["similarity"]) for step in report["iterations"]] == [(0.0, 0.0), (0.5, 0.25)]
