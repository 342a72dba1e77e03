"""Views that agree, one with a wrong geometry, one that shows something else: what is said about them."""

from dataclasses import replace

import pytest
import torch
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.level import Level
from DeepReg2D3DLib.engine.metrics import mrpd
from DeepReg2D3DLib.engine.presets import Preset
from DeepReg2D3DLib.engine.registration import register
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.view_agreement import ViewAgreement, describe_disagreement, view_agreements
from DeepReg2D3DLib.engine.xray import XRay
from small_case import AP, CENTRE, LATERAL, TRUTH, camera, small_volume, start_pose

ROOT = 0.5**0.5
OBLIQUE = [[ROOT, ROOT, 0, 0], [0, 0, -1, 0], [-ROOT, ROOT, 0, 700], [0, 0, 0, 1]]
QUICK = Preset("quick", (Level(128, 6, 30.0, (12, 6), max_points=500),))


@pytest.fixture(scope="module")
def setup():
    return RegistrationSetup.prepare(small_volume(), "cpu")


@pytest.fixture(scope="module")
def xrays():
    """AP, lateral and oblique X-rays of the CT at TRUTH."""
    renderer = DrrRenderer.from_volume(small_volume())
    taken = []
    for name, matrix in (("AP", AP), ("LAT", LATERAL), ("OBL", OBLIQUE)):
        view = camera(name, matrix)
        image = renderer(view.ct_to_camera(TRUTH)[None], view.intrinsics, view.size).float()
        taken.append(XRay(image, torch.ones_like(image, dtype=torch.bool), view, name))
    return taken


def shifted(xray: XRay, down_mm: float) -> XRay:
    """The X-ray with a camera that is said to be ``down_mm`` lower than it was."""
    pose = xray.camera.world_to_camera.clone()
    pose[1, 3] -= down_mm
    return replace(xray, camera=replace(xray.camera, world_to_camera=pose))


def judged(setup, xrays):
    """Register jointly, then ask every view."""
    pose = TRUTH
    for step in register(None, xrays, start_pose(2.0), method="dppc", preset=QUICK, setup=setup):
        pose = step.ct_to_world
    return pose, view_agreements(setup, xrays, pose, method="dppc", preset=QUICK)


def test_views_that_agree_say_so(setup, xrays):
    pose, agreements = judged(setup, xrays)
    assert [view.name for view in agreements] == ["AP", "LAT", "OBL"]
    assert max(view.offset_mm for view in agreements) < 0.6
    assert min(view.similarity for view in agreements) > 0.8
    assert describe_disagreement(agreements) == []
    assert mrpd(pose, TRUTH, CENTRE[None], xrays[0].camera) < 0.5


def test_of_three_views_the_wrong_one_is_named_with_its_distance(setup, xrays):
    _, agreements = judged(setup, [xrays[0], shifted(xrays[1], 6.0), xrays[2]])
    told = describe_disagreement(agreements)
    assert len(told) == 1 and "'LAT' disagrees" in told[0]
    assert 2.5 < agreements[1].offset_mm < 6.5


def test_of_two_views_neither_can_be_blamed(setup, xrays):
    _, agreements = judged(setup, [xrays[0], shifted(xrays[1], 6.0)])
    told = describe_disagreement(agreements)
    assert len(told) == 1 and "'AP'" in told[0] and "'LAT'" in told[0] and "one of them is wrong" in told[0]
    assert agreements[0].offset_mm + agreements[1].offset_mm == pytest.approx(6.0, abs=1.2)


def test_an_image_of_something_else_is_named(setup, xrays):
    noise = torch.rand(xrays[1].line_integral.shape, generator=torch.Generator().manual_seed(3))
    _, agreements = judged(setup, [xrays[0], replace(xrays[1], line_integral=noise)])
    told = describe_disagreement(agreements)
    assert len(told) == 1 and "'LAT' shows hardly anything" in told[0]


def test_a_view_whose_source_lies_in_the_ct_is_poor(setup, xrays):
    inside = camera("IN", [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    taken = [xrays[0], replace(xrays[1], camera=inside, name="IN")]
    agreements = view_agreements(setup, taken, TRUTH, method="dppc", preset=QUICK)
    assert not agreements[0].poor and agreements[1].poor and agreements[1].offset_mm < 1e-6
    assert "'IN' shows hardly anything" in describe_disagreement(agreements)[0]


def test_nothing_is_said_of_one_view_or_where_all_fail():
    poor = ViewAgreement("AP", 0.05, 0.06, 40.0, TRUTH)
    assert describe_disagreement([poor]) == []
    assert describe_disagreement([poor, replace(poor, name="LAT")]) == []
