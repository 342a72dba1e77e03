"""A second look at a result: what is said, and what becomes of its light."""

import torch
from DeepReg2D3DLib.engine.confidence import Confidence
from DeepReg2D3DLib.engine.result_checks import DISAGREEMENT, ResultChecks
from DeepReg2D3DLib.engine.view_agreement import ViewAgreement

GREEN = Confidence(0.97, "green", ("the edges agree",))


def views(*offsets: float) -> ResultChecks:
    """Views that would each have the CT so many mm elsewhere, where it fits better."""
    pose = torch.eye(4, dtype=torch.float64)
    return ResultChecks((), tuple(ViewAgreement(f"view{n}", 0.6, 0.7, mm, pose) for n, mm in enumerate(offsets)))


def test_a_result_is_at_most_yellow_where_its_views_do_not_agree():
    doubted = views(3.0, 2.5).applied_to(GREEN)
    assert doubted.light == "yellow" and doubted.reasons == (DISAGREEMENT,)
    assert doubted.reliable and doubted.probability == GREEN.probability


def test_nothing_changes_where_they_agree_or_where_it_was_in_doubt_already():
    red, yellow = Confidence(0.1, "red", ("lost",)), Confidence(0.7, "yellow", ("few contours",))
    assert views(0.3, 0.2).applied_to(GREEN) is GREEN and ResultChecks().applied_to(GREEN) is GREEN
    assert views(3.0, 2.5).applied_to(red) is red and views(3.0, 2.5).applied_to(yellow) is yellow
    assert views(3.0, 2.5).applied_to(None) is None
