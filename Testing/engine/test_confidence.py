"""The self-check and what the confidence makes of it, on a small torso with vertebrae that look alike."""

import math
from dataclasses import replace

import pytest
import torch
from DeepReg2D3DLib.engine import confidence_model
from DeepReg2D3DLib.engine.confidence import (
    BETTER_NEARBY,
    CONTRADICTION,
    GREEN_FROM,
    RED_BELOW,
    Confidence,
    confidence_of,
    judge_result,
    light_of,
)
from DeepReg2D3DLib.engine.confidence_signals import SIGNALS
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.patch_steps import steps_from
from DeepReg2D3DLib.engine.poses import FARTHEST_MM, motion_about, transform_points
from DeepReg2D3DLib.engine.rival_places import rival_places
from DeepReg2D3DLib.engine.self_check import TRIAL, SelfCheck, check_result, seen_distance
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.uncertainty import Uncertainty, pose_errors
from DeepReg2D3DLib.engine.xray import XRay
from small_case import AP, CENTRE, LATERAL, TRUTH, camera, small_volume


@pytest.fixture(scope="module")
def setup() -> RegistrationSetup:
    return RegistrationSetup.prepare(small_volume(), "cpu")


def photograph(name: str, matrix: list, zoom: float = 1.0) -> XRay:
    """An X-ray at the truth; ``zoom``: of the camera that it claims, against the one that took it."""
    view = camera(name, matrix)
    image = DrrRenderer.from_volume(small_volume())(view.ct_to_camera(TRUTH)[None], view.intrinsics, view.size)
    intrinsics = view.intrinsics.clone()
    intrinsics[:2, :2] *= zoom
    claimed = replace(view, intrinsics=intrinsics)
    return XRay(image.float(), torch.ones(1, 1, *view.size, dtype=torch.bool), claimed, name)


@pytest.fixture(scope="module")
def ap() -> XRay:
    return photograph("AP", AP)


@pytest.fixture(scope="module")
def lateral() -> XRay:
    return photograph("LAT", LATERAL)


@pytest.fixture(scope="module")
def right(setup, ap) -> SelfCheck:
    return check_result(setup, [ap], TRUTH)


def moved(*shift: float, turn: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    vectors = [torch.tensor(v, dtype=torch.float64) for v in (turn, shift)]
    return motion_about(*vectors, transform_points(TRUTH, CENTRE[None])[0]) @ TRUTH


def test_the_truth_is_trusted_in_one_view_and_in_two(setup, ap, lateral):
    for xrays in ([ap], [lateral], [ap, lateral]):
        judged = judge_result(setup, xrays, TRUTH)
        assert judged.reliable and judged.probability > RED_BELOW, judged
        assert judged.reasons


@pytest.mark.parametrize("shift", [(0, 0, 38.0), (0, 0, -38.0), (9.0, 0, 4.0), (-25.0, 0, 20.0)])
def test_a_wrong_place_is_not(setup, ap, lateral, shift):
    for xrays in ([ap], [ap, lateral]):
        judged = judge_result(setup, xrays, moved(*shift))
        assert judged.light == "red", judged
        assert judged.reasons[0]


def test_noise_and_a_mirrored_image_are_not(setup, ap):
    generator = torch.Generator().manual_seed(1)
    noise = replace(ap, line_integral=torch.rand(ap.line_integral.shape, generator=generator))
    upside_down = replace(ap, line_integral=ap.line_integral.flip(-2).contiguous())
    for xray in (noise, upside_down):
        assert not judge_result(setup, [xray], TRUTH).reliable


def test_nothing_to_measure_is_red_in_words(setup, ap):
    beside = judge_result(setup, [ap], moved(900.0, 0, 0))
    assert beside.light == "red" and beside.probability == 0 and "contour" in beside.reasons[0]
    assert beside.uncertainty is None


def test_a_rival_place_is_one_vertebra_away(setup, ap):
    places = rival_places(setup, ap, moved(0, 0, 38.0))
    # One vertebra up, and the rival is where the CT belongs.
    best = max(zip(places.scores, places.poses, strict=True), key=lambda pair: pair[0])
    assert best[0] > places.here
    assert seen_distance(setup, [ap], best[1], TRUTH) < 8.0
    at_the_truth = rival_places(setup, ap, TRUTH)
    assert at_the_truth.here > 1.2 * max(at_the_truth.scores)


def test_one_vertebra_off_the_right_place_is_told(setup, ap, right):
    off = confidence_of(check_result(setup, [ap], moved(0, 0, 38.0)))
    assert seen_distance(setup, [ap], off.other_place, TRUTH) < 4.0
    assert off.measurements.keys() == right.numbers().keys()


def test_steps_to_where_no_pose_can_be_lead_nowhere(setup, ap):
    """The truth lies 2 mm beyond the farthest place that a pose may have, the start 4 mm before it."""
    away = torch.eye(4, dtype=torch.float64)
    away[2, 3] = -FARTHEST_MM - 2 - float(TRUTH[2, 3])
    there = replace(ap, camera=replace(ap.camera, world_to_camera=ap.camera.world_to_camera @ torch.linalg.inv(away)))
    start = moved(0, 0, 4.0)
    near = steps_from(setup, [ap], start, TRIAL, 4, 1e-4)
    assert seen_distance(setup, [ap], near, TRUTH) < 1.0
    assert steps_from(setup, [there], away @ start, TRIAL, 4, 1e-4) is None


def test_a_place_that_fits_hardly_is_not_worth_a_try(right):
    low = replace(right, similarity=0.1, elsewhere=0.12, other_place=TRUTH)
    assert confidence_of(low).other_place is None
    assert confidence_of(replace(low, elsewhere=0.3)).other_place is TRUTH


def test_contours_are_found_where_they_are(right):
    assert right.similarity > 0.8 and right.found > 0.6
    assert right.offset_mm < 0.3
    assert right.elsewhere < right.similarity - 0.2
    assert all(math.isfinite(value) for value in right.numbers().values())


def test_depth_is_less_sure_than_the_image_plane_and_a_second_view_mends_it(setup, ap, lateral, right):
    alone = right.uncertainty
    assert alone.depth_mm > 4 * alone.in_plane_mm
    assert alone.turn_out_of_plane_deg > alone.turn_in_plane_deg
    both = check_result(setup, [ap, lateral], TRUTH).uncertainty
    assert both.depth_mm < 0.5 * alone.depth_mm


def test_a_wrong_source_detector_distance_shows(setup, right):
    assert check_result(setup, [photograph("AP", AP)], TRUTH, moved(0, 2.0, 0)).depth_moved == pytest.approx(
        0, abs=0.01
    )
    for zoom in (0.9, 1.1):
        # Where the CT would be put with the wrong distance: farther or nearer, so that its picture has the same size.
        xray = photograph("AP", AP, zoom)
        seen = xray.camera.ct_to_camera(TRUTH)
        depth = float(transform_points(seen, CENTRE[None])[0, 2])
        farther = torch.linalg.inv(xray.camera.world_to_camera)[:3, 2] * depth * (zoom - 1)
        check = check_result(setup, [xray], moved(*farther.tolist()), TRUTH)
        assert check.depth_moved == pytest.approx(1 - 1 / zoom, rel=0.05)
        assert confidence_of(check).signals["depth"] == 0.0 and check.focal_error == 0


def test_views_that_contradict_each_other_show_without_any_start(setup, ap, lateral):
    for zoom in (0.95, 1.05):
        check = check_result(setup, [ap, photograph("LAT", LATERAL, zoom)], TRUTH)
        assert check.focal_error == pytest.approx(1 - 1 / zoom, abs=0.015)
        judged = confidence_of(check)
        assert judged.signals["geometry"] < CONTRADICTION and judged.light != "green"
        assert any("contradict each other" in reason for reason in judged.reasons)
    agreeing = check_result(setup, [ap, lateral], TRUTH)
    assert abs(agreeing.focal_error) < 0.01
    assert confidence_of(agreeing).signals["geometry"] == 1.0


def test_errors_come_apart_by_direction(ap):
    view = ap.camera.world_to_camera
    centre = transform_points(TRUTH, CENTRE[None])[0]
    away = pose_errors(moved(0, 7.0, 0), TRUTH, centre, view)  # the AP source looks along y
    assert away.depth_mm == pytest.approx(7.0) and away.in_plane_mm == pytest.approx(0, abs=1e-9)
    turned = pose_errors(moved(0, 0, 0, turn=(0, math.radians(3), 0)), TRUTH, centre, view)
    assert turned.turn_in_plane_deg == pytest.approx(3.0) and turned.turn_out_of_plane_deg == pytest.approx(0, abs=1e-9)
    sideways = pose_errors(moved(2.0, 0, -1.0, turn=(math.radians(2), 0, 0)), TRUTH, centre, view)
    assert sideways.in_plane_mm > 1.9 and sideways.turn_out_of_plane_deg == pytest.approx(2.0)


def test_no_signal_counts_against_its_sense(right):
    assert set(confidence_model.WEIGHTS) == {signal.name for signal in SIGNALS}
    assert all(weight >= 0 for weight in confidence_model.WEIGHTS.values())
    better = {"similarity": 1.0, "elsewhere": 0.0, "found": 0.95, "offset_mm": 0.1}
    worse = {"similarity": 0.1, "elsewhere": 0.5, "found": 0.1, "offset_mm": 3.0}
    middle = confidence_of(right).probability
    for name, value in better.items():
        assert confidence_of(replace(right, **{name: value})).probability >= middle - 1e-12
    for name, value in worse.items():
        assert confidence_of(replace(right, **{name: value})).probability <= middle + 1e-12


def test_measurements_that_are_not_finite_count_as_the_worst(right):
    broken = confidence_of(replace(right, similarity=math.nan, offset_mm=math.inf, found=math.nan))
    assert 0 <= broken.probability <= confidence_of(right).probability
    assert broken.signals["similarity"] == broken.signals["found"] == 0


def test_reasons_name_what_is_wrong(right):
    low = replace(right, similarity=0.05, elsewhere=0.45, found=0.05, offset_mm=2.5)
    text = "; ".join(confidence_of(low).reasons)
    assert any(words in text for words in ("little in common", "another place", "few of the CT's contours"))
    assert confidence_of(low).light == "red"


def test_a_better_place_elsewhere_overrules_everything(right):
    assert confidence_of(right).light != "red"
    overruled = confidence_of(replace(right, elsewhere=right.similarity + 0.1))
    assert overruled.light == "red" and "another place" in overruled.reasons[0]


def test_a_better_pose_close_by_overrules_everything_and_is_worth_a_try(right):
    nearby = torch.eye(4, dtype=torch.float64)
    better = replace(right, nearby=right.similarity + BETTER_NEARBY + 0.01, place_nearby=nearby)
    judged = confidence_of(better)
    assert judged.light == "red" and "close by fits as well or better" in judged.reasons[0]
    assert judged.other_place is nearby and judged.place_in_doubt
    hardly = confidence_of(replace(better, nearby=right.similarity + BETTER_NEARBY - 0.01))
    assert hardly.light != "red" and hardly.other_place is not nearby
    # The better of two better ones.
    assert confidence_of(replace(better, elsewhere=better.nearby + 0.1, other_place=TRUTH)).other_place is TRUTH


def test_lights_go_by_the_probability():
    assert [light_of(p) for p in (0.0, RED_BELOW - 1e-6, RED_BELOW, GREEN_FROM, 1.0)] == [
        "red", "red", "yellow", "green", "green"
    ]  # fmt: skip


def test_uncertainty_is_never_smaller_than_what_no_residual_shows(right):
    tiny = replace(right, uncertainty=Uncertainty(0.0, 0.0, 0.0, 0.0))
    sure = confidence_of(tiny).uncertainty
    assert all(getattr(sure, name) == pytest.approx(floor) for name, floor in confidence_model.FLOOR.items())


def test_a_wrong_geometry_casts_no_doubt_on_the_place(right):
    far = confidence_of(replace(right, depth_moved=0.12))
    assert far.light == "red" and not far.place_in_doubt  # no search finds a better place
    assert confidence_of(replace(right, depth_moved=0.12, elsewhere=right.similarity + 0.1)).place_in_doubt
    assert confidence_of(replace(right, depth_moved=0.12, found=0.1, offset_mm=3.0, similarity=0.1)).place_in_doubt


def test_a_place_is_in_doubt_where_another_fits_nearly_as_well():
    green = Confidence(0.95, "green", (), {"lead": 0.9})
    assert not green.place_in_doubt
    assert replace(green, signals={"lead": 0.7}).place_in_doubt
    assert replace(green, light="red").place_in_doubt
    assert replace(green, signals={}).place_in_doubt
