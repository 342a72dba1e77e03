"""The registration loop on a small body made of ellipsoids: recovery, bookkeeping, refusals, masks, several views."""

import dataclasses
import itertools
import math
import types

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.confidence import Confidence, light_of
from DeepReg2D3DLib.engine.correspondences import Matches, Scene
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.errors import DegenerateError, InputError
from DeepReg2D3DLib.engine.methods import Method
from DeepReg2D3DLib.engine.metrics import mrpd, mtre
from DeepReg2D3DLib.engine.patch_matching import PatchMatching
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose, motion_about
from DeepReg2D3DLib.engine.ppc import SolverSettings
from DeepReg2D3DLib.engine.presets import Level, Preset
from DeepReg2D3DLib.engine.registration import register
from DeepReg2D3DLib.engine.search import Candidate, SearchSettings
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.wide_search import WideSettings
from DeepReg2D3DLib.engine.xray import XRay

SIZE = 120
QUICK = Preset(
    name="quick",
    levels=(
        Level(80, 4, 30.0, (10, 6), (1e-2, 1e-4), max_points=400),
        Level(120, 5, 20.0, (6, 4), (1e-4, 1e-6), max_points=400),
    ),
)
TRUTH = make_pose(
    exp_rotation(torch.tensor([0.1, -0.2, 0.05], dtype=torch.float64)), torch.tensor([4.0, 9.0, -3.0]).double()
)


def body() -> Volume:
    """Eleven ellipsoids of bone, hollowed, in soft tissue, on 2 mm voxels."""
    n, spacing = 64, 2.0
    generator = torch.Generator().manual_seed(7)
    axis = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * spacing
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    hu = torch.where(x**2 + (1.2 * y) ** 2 < 58**2, 40.0, -1000.0)
    for index in range(11):
        if index < 5:
            centre = torch.tensor([2.0 * index - 4, 14.0, 22.0 * (index - 2)])
            axes = torch.tensor([13.0, 10.0, 8.0])
        else:
            centre = 34 * (2 * torch.rand(3, generator=generator) - 1)
            axes = 4 + 8 * torch.rand(3, generator=generator)
        turn = exp_rotation(0.8 * torch.randn(3, generator=generator))
        offset = torch.stack([x, y, z], dim=-1) - centre
        radius = ((offset @ turn) / axes).norm(dim=-1)
        hu = torch.where(radius < 1, 700.0, hu)
        hu = torch.where(radius < 0.7, 250.0, hu)
    affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
    affine[:3, 3] = -(n - 1) / 2 * spacing
    return Volume(hu=hu.to(torch.int16), ijk_to_ct=affine, name="body")


def camera(lateral: bool, mirrored: bool = False) -> Camera:
    rows = [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 600]] if lateral else [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 600]]
    return Camera.from_parameters(
        source_to_detector=900.0,
        pixel_spacing=(1.8, 1.8),
        principal_point=(SIZE / 2 + 2, SIZE / 2 - 3),
        world_to_camera=torch.tensor([*rows, [0, 0, 0, 1]], dtype=torch.float64),
        columns=SIZE,
        rows=SIZE,
        mirrored=mirrored,
        name="LAT" if lateral else "AP",
    )


def photograph(volume: Volume, view: Camera, pose: torch.Tensor) -> XRay:
    image = DrrRenderer.from_volume(volume)(view.ct_to_camera(pose)[None], view.intrinsics, view.size)
    mask = torch.ones(1, 1, SIZE, SIZE, dtype=torch.bool)
    return XRay(image.float(), mask, view, view.name)


@pytest.fixture(scope="module")
def volume() -> Volume:
    return body()


@pytest.fixture(scope="module")
def setup(volume) -> RegistrationSetup:
    return RegistrationSetup.prepare(volume, "cpu")


@pytest.fixture(scope="module")
def ap(volume) -> XRay:
    return photograph(volume, camera(lateral=False), TRUTH)


@pytest.fixture(scope="module")
def lat(volume) -> XRay:
    return photograph(volume, camera(lateral=True, mirrored=True), TRUTH)


@pytest.fixture(scope="module")
def targets() -> torch.Tensor:
    return 40 * (2 * torch.rand(60, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 1)


def start(rotation=(0.06, -0.05, 0.08), translation=(6.0, 8.0, -5.0)) -> torch.Tensor:
    vectors = [torch.tensor(v, dtype=torch.float64) for v in (rotation, translation)]
    return motion_about(*vectors, TRUTH[:3, 3]) @ TRUTH


def test_one_view_recovers_a_pose_a_centimetre_off(setup, ap, targets):
    iterations = list(register(None, [ap], start(), method="dppc", preset=QUICK, setup=setup))
    final = iterations[-1]
    assert mtre(start(), TRUTH, targets) > 9
    assert mrpd(final.ct_to_world, TRUTH, targets, ap.camera) < 0.5
    assert final.similarity > 0.9 > iterations[0].similarity


def test_two_views_recover_depth_too(setup, ap, lat, targets):
    final = list(register(None, [ap, lat], start(), method="dppc", preset=QUICK, setup=setup))[-1]
    assert mtre(final.ct_to_world, TRUTH, targets) < 0.5
    assert [view.name for view in final.views] == ["AP", "LAT"]


def test_the_search_brings_back_what_is_far_away(setup, ap, targets):
    far = start((0.1, 0.0, 0.15), (38.0, 5.0, 25.0))
    wide = dataclasses.replace(QUICK, search=SearchSettings(long_side=64, margin_mm=60.0))
    found = [
        mrpd(
            list(register(None, [ap], far, method="dppc", preset=preset, setup=setup))[-1].ct_to_world,
            TRUTH,
            targets,
            ap.camera,
        )
        for preset in (QUICK, wide)
    ]
    assert found[1] < 1.0 < found[0]


FAR = start((0.1, 0.0, 0.15), (38.0, 5.0, 25.0))
SEARCHED = dataclasses.replace(QUICK, search=SearchSettings(long_side=64, margin_mm=60.0))


def far_sighted() -> Method:
    """Claims to see far, but sees no farther than a patch: its first attempt from far away goes astray."""
    return Method("boaster", PatchMatching(), sees_far=True)


def test_a_method_that_sees_far_searches_only_where_its_first_attempt_leaves_doubt(setup, ap, targets):
    near = list(register(None, [ap], start(), method=far_sighted(), preset=SEARCHED, setup=setup))
    plain = list(register(None, [ap], start(), method="dppc", preset=QUICK, setup=setup))
    assert len(near) == len(plain) and torch.equal(near[-1].ct_to_world, plain[-1].ct_to_world)
    far = list(register(None, [ap], FAR, method=far_sighted(), preset=SEARCHED, setup=setup))
    assert mrpd(far[-1].ct_to_world, TRUTH, targets, ap.camera) < 1.0
    assert [i.index for i in far] == list(range(len(far)))
    assert [i.final for i in far] == [False] * (len(far) - 1) + [True]
    assert far[-1].confidence.reliable and far[-1].status in ("converged", "stopped")


def test_the_most_trusted_attempt_is_kept(setup, ap, monkeypatch):
    trusts = iter([0.6, 0.3, 0.62])
    judged = []

    def judge(setup, xrays, pose, given=None):
        judged.append(pose.clone())
        chance = next(trusts)
        return Confidence(chance, light_of(chance), ("made up",))

    monkeypatch.setattr("DeepReg2D3DLib.engine.registration.judge_result", judge)
    looks = tuple(SearchSettings(long_side=side, margin_mm=60.0) for side in (40, 48))
    preset = dataclasses.replace(SEARCHED, again=looks)
    records = list(register(None, [ap], start(), method=far_sighted(), preset=preset, setup=setup))
    assert len(judged) == 3  # none of them was sure
    assert torch.equal(records[-1].ct_to_world, judged[0]) and records[-1].confidence.probability == 0.6
    assert [i.final for i in records] == [False] * (len(records) - 1) + [True]


def test_where_all_searches_leave_doubt_the_wide_one_is_the_last_resort(setup, ap, monkeypatch):
    chances = [0.6, 0.1, 0.95]
    asked = []

    def judge(setup, xrays, pose, given=None):
        chance = chances.pop(0)
        return Confidence(chance, light_of(chance), ("made up",))

    def wide(setup, xray, pose, settings):
        asked.append((pose, settings))
        return [Candidate(TRUTH, 1.0)]

    monkeypatch.setattr("DeepReg2D3DLib.engine.registration.judge_result", judge)
    monkeypatch.setattr("DeepReg2D3DLib.engine.registration.wide_candidates", wide)
    preset = dataclasses.replace(SEARCHED, last_resort=WideSettings())
    records = list(register(None, [ap], start(), method=far_sighted(), preset=preset, setup=setup))
    assert chances == [] and records[-1].confidence.probability == 0.95
    assert len(asked) == 1 and torch.allclose(asked[0][0], start(), atol=1e-9) and asked[0][1] == WideSettings()


@pytest.mark.parametrize(("first", "goes_on_from"), [(0.05, 2), (0.4, 0)])
def test_the_last_attempt_goes_on_from_the_best_or_where_the_look_all_around_ended(
    setup, ap, monkeypatch, first, goes_on_from
):
    chances = [first, 0.01, 0.02, 0.95]
    judged, looked_from = [], []

    def judge(setup, xrays, pose, given=None):
        judged.append(pose.clone())
        return Confidence(chances[len(judged) - 1], light_of(chances[len(judged) - 1]), ("made up",))

    def look(registration, settings, wide):
        looked_from.append(registration.pose.clone())
        registration.pose = TRUTH
        return 1.0

    monkeypatch.setattr("DeepReg2D3DLib.engine.registration.judge_result", judge)
    monkeypatch.setattr("DeepReg2D3DLib.engine.registration._Registration._search", look)
    preset = dataclasses.replace(SEARCHED, again=(SearchSettings(),), last_resort=WideSettings())
    records = list(register(None, [ap], start(), method=far_sighted(), preset=preset, setup=setup))
    assert records[-1].confidence.probability == 0.95
    assert len(judged) == 4 and len(looked_from) == 3
    assert all(torch.allclose(pose, start(), atol=1e-9) for pose in looked_from[:2])
    assert torch.equal(looked_from[2], judged[goes_on_from])
    assert not torch.allclose(looked_from[2], start(), atol=1.0)


def test_another_place_that_rivals_the_result_is_tried_next(setup, ap, monkeypatch, targets):
    elsewhere = motion_about(torch.zeros(3).double(), torch.tensor([0.0, 1.0, 6.0]).double(), torch.zeros(3).double())
    chances = [0.3, 0.95]
    judged, looked = [], []

    def judge(setup, xrays, pose, given=None):
        judged.append(pose.clone())
        chance = chances[len(judged) - 1]
        return Confidence(chance, light_of(chance), ("made up",), {"lead": chance}, other_place=elsewhere @ TRUTH)

    monkeypatch.setattr("DeepReg2D3DLib.engine.registration.judge_result", judge)
    monkeypatch.setattr("DeepReg2D3DLib.engine.registration._Registration._search", lambda *_: looked.append(1) or 0.0)
    records = list(register(None, [ap], start(), method=far_sighted(), preset=SEARCHED, setup=setup))
    assert len(judged) == 2 and looked == []
    jump = next(i for i in records if torch.equal(i.ct_to_world, elsewhere @ TRUTH))
    assert jump.motion_mm > 3 and [i.index for i in records] == list(range(len(records)))
    assert records[-1].confidence.probability == 0.95
    assert mrpd(records[-1].ct_to_world, TRUTH, targets, ap.camera) < 1.0


def test_places_that_go_on_rivalling_each_other_come_to_an_end(setup, ap, monkeypatch):
    judged = []

    def judge(setup, xrays, pose, given=None):
        judged.append(pose)
        return Confidence(0.3, light_of(0.3), ("made up",), other_place=TRUTH)

    monkeypatch.setattr("DeepReg2D3DLib.engine.registration.judge_result", judge)
    last = list(register(None, [ap], start(), method=far_sighted(), preset=SEARCHED, setup=setup))[-1]
    assert last.final and len(judged) == 2 + SEARCHED.other_places
    judged.clear()
    list(register(None, [ap], start(), method="dppc", preset=QUICK, setup=setup))
    assert len(judged) == 1  # without a search there is one attempt


def test_records_tell_the_story_of_the_run(setup, ap):
    iterations = list(register(None, [ap], start(), method="dppc", preset=QUICK, setup=setup))
    assert [i.index for i in iterations] == list(range(len(iterations)))
    assert torch.allclose(iterations[0].ct_to_world, start(), atol=1e-9)
    assert iterations[0].motion_mm == 0 and iterations[0].points == 0
    assert [i.final for i in iterations] == [False] * (len(iterations) - 1) + [True]
    assert all(i.status == "" for i in iterations[:-1]) and iterations[-1].status in ("converged", "stopped")
    for previous, current in itertools.pairwise(iterations):
        assert current.points > 15 and current.seconds > 0 and math.isfinite(current.similarity)
        moved = torch.linalg.inv(previous.ct_to_world) @ current.ct_to_world
        assert (float((moved - torch.eye(4)).abs().max()) > 0) == (current.motion_mm > 0)
    last = iterations[-1].views[0]
    assert last.drr.shape == (last.rows, last.columns) == last.camera.size
    assert last.contour_pixels.shape == last.flow.shape and len(last.weights) == len(last.flow)


def test_what_the_consumer_does_between_records_is_not_counted(setup, ap, monkeypatch):
    now = [0.0]
    clock = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr("DeepReg2D3DLib.engine.registration.time", clock)
    seconds = []
    for iteration in itertools.islice(register(None, [ap], start(), method="dppc", preset=QUICK, setup=setup), 3):
        seconds.append(iteration.seconds)
        now[0] += 1000.0
    assert seconds == [0.0, 0.0, 0.0]


def test_from_the_truth_it_stays_there(setup, ap, targets):
    final = list(register(None, [ap], TRUTH, method="dppc", preset=QUICK, setup=setup))[-1]
    assert mrpd(final.ct_to_world, TRUTH, targets, ap.camera) < 0.3


def test_a_settled_level_goes_on_with_more_points(setup, ap):
    levels = (dataclasses.replace(QUICK.levels[1], max_points=100, settled_points=300),)
    preset = dataclasses.replace(QUICK, levels=levels, least_motion_mm=math.inf)
    records = list(register(None, [ap], TRUTH, method="dppc", preset=preset, setup=setup))
    points = [record.views[0].contour_pixels.shape[0] for record in records]
    assert points[:2] == [0, 100] and len(points) == 4
    assert 100 < points[2] == points[3] <= 300
    assert records[-1].status == "converged"


def test_motion_along_the_beam_keeps_no_registration_going(setup, ap):
    """What cannot be seen in the image does not count as motion that is still going on."""
    towards_source = torch.linalg.inv(ap.camera.world_to_camera)[:3, 2]

    class AlongTheBeam(Broken):
        def find(self, scene):
            w = scene.points_in_camera
            nearer = scene.camera.intrinsics.to(w) @ (w + torch.tensor([0.0, 0.0, -4.0])).T
            pixels = (nearer[:2] / nearer[2]).T
            flow = pixels - scene.contour.pixels
            return Matches.from_flow(scene.contour, flow, torch.ones(len(flow)))

    first, second = (dataclasses.replace(level, least_motion_px=1.0) for level in QUICK.levels)
    preset = dataclasses.replace(QUICK, levels=(first, dataclasses.replace(second, steps=1)))
    method = Method("along the beam", AlongTheBeam(0.0, 1.0))
    last = list(register(None, [ap], TRUTH, method=method, preset=preset, setup=setup))[-1]
    moved = (last.ct_to_world - TRUTH)[:3, 3]
    assert last.index == 2 and last.motion_mm > 2  # the first level ended at once
    assert float(moved @ towards_source) < -2


def test_exact_steps_run_whatever_moves(setup, ap):
    ten = Preset("ten", (Level(80, 10, 30.0, (10, 10), (1e-6, 1e-6), max_points=300),), exact_steps=True)
    assert len(list(register(None, [ap], TRUTH, method="dppc", preset=ten, setup=setup))) == 11


def test_a_result_that_is_not_judged_is_the_same_pose_without_a_confidence(setup, ap):
    plain = dataclasses.replace(QUICK, judged=False)
    judged, unjudged = (
        list(register(None, [ap], start(), method="dppc", preset=preset, setup=setup))[-1] for preset in (QUICK, plain)
    )
    assert judged.confidence is not None and unjudged.confidence is None
    assert torch.equal(judged.ct_to_world, unjudged.ct_to_world)
    assert unjudged.final and unjudged.status in ("converged", "stopped")


def test_a_distance_that_a_coarse_level_gets_wrong_is_put_right_before_the_next(setup, ap):
    class NearerAtFirst:
        def find(self, scene):
            flow = torch.zeros_like(scene.contour.pixels)
            if not scene.progress.last_level:
                w = scene.points_in_camera
                nearer = scene.camera.intrinsics.to(w) @ (w + torch.tensor([0.0, 0.0, -36.0])).T
                flow = (nearer[:2] / nearer[2]).T - scene.contour.pixels
            return Matches.from_flow(scene.contour, flow, torch.ones(len(flow)))

    first, second = QUICK.levels
    preset = dataclasses.replace(
        QUICK, levels=(dataclasses.replace(first, steps=1, damping=(1e-7, 1e-7)), second), judged=False
    )
    method = Method("nearer at first", NearerAtFirst())
    _, coarse, *_, last = register(None, [ap], TRUTH, method=method, preset=preset, setup=setup)
    depths = [float(ap.camera.ct_to_camera(each)[2, 3]) for each in (TRUTH, coarse.ct_to_world, last.ct_to_world)]
    assert depths[1] < depths[0] - 20
    assert abs(depths[2] - depths[0]) < 8


def test_closing_the_generator_stops_the_run(setup, ap):
    run = register(None, [ap], start(), method="dppc", preset=QUICK, setup=setup)
    assert next(run).index == 0 and next(run).index == 1
    run.close()
    with pytest.raises(StopIteration):
        next(run)


def test_what_the_mask_hides_makes_no_difference(setup, ap):
    mask = ap.mask.clone()
    mask[..., :, :25] = False
    broken = ap.line_integral.clone()
    broken[..., :, :25] = 40 * torch.rand(SIZE, 25, generator=torch.Generator().manual_seed(0))
    poses = [
        list(register(None, [XRay(image, mask, ap.camera)], start(), method="dppc", preset=QUICK, setup=setup))[-1]
        for image in (ap.line_integral, broken)
    ]
    assert torch.allclose(poses[0].ct_to_world, poses[1].ct_to_world, atol=1e-6)


class Broken:
    """A finder that fails as networks can."""

    def __init__(self, flow: float, weight: float) -> None:
        self.flow, self.weight = flow, weight

    def find(self, scene: Scene) -> Matches:
        flow = torch.full_like(scene.contour.pixels, self.flow)
        return Matches.from_flow(scene.contour, flow, torch.full_like(flow[:, 0], self.weight))


@pytest.mark.parametrize(("flow", "weight"), [(math.nan, 1.0), (0.0, 0.0), (1.0, math.nan)])
def test_a_finder_that_fails_ends_unreliable_at_the_start_pose(setup, ap, flow, weight):
    final = list(
        register(None, [ap], start(), method=Method("broken", Broken(flow, weight)), preset=QUICK, setup=setup)
    )[-1]
    assert final.final and final.status == "unreliable"
    assert torch.allclose(final.ct_to_world, start(), atol=1e-9)


def test_wild_matches_never_give_a_pose_that_is_not_finite(setup, ap):
    wild = Method("wild", Broken(1e7, 1.0))
    for iteration in register(None, [ap], start(), method=wild, preset=QUICK, setup=setup):
        assert torch.isfinite(iteration.ct_to_world).all()
    assert iteration.final and iteration.status == "unreliable"


def test_learned_methods_use_the_plain_solver_of_the_preset(setup, ap, monkeypatch):
    from DeepReg2D3DLib.engine import registration

    used = []
    solve = registration.solve_motion

    def spy(system, settings):
        used.append(settings.robust_iterations)
        return solve(system, settings)

    monkeypatch.setattr(registration, "solve_motion", spy)
    plain = dataclasses.replace(QUICK, learned_solver=SolverSettings(robust_iterations=0))
    for learned in (True, False):
        list(
            register(
                None, [ap], start(), method=Method("any", Broken(0.5, 1.0), learned=learned), preset=plain, setup=setup
            )
        )
    assert set(used[: len(used) // 2 - 1]) == {0} and used[-1] == SolverSettings().robust_iterations


def test_refusals_name_what_is_wrong(setup, ap, volume):
    empty = XRay(ap.line_integral, torch.zeros_like(ap.mask), ap.camera, "dark")
    scaled = torch.eye(4, dtype=torch.float64) * 1.1
    scaled[3, 3] = 1
    for arguments, message in (
        (dict(xrays=[], pose=TRUTH), "at least one X-ray"),
        (dict(xrays=[empty], pose=TRUTH), "'dark' has hardly any valid pixel"),
        (dict(xrays=[ap], pose=scaled), "scales or shears"),
        (dict(xrays=[ap], pose=TRUTH * math.nan), "not finite"),
        (dict(xrays=[ap], pose=TRUTH, method="magic"), "Unknown method 'magic'"),
        (dict(xrays=[ap], pose=TRUTH, preset="slow"), "Unknown preset 'slow'"),
    ):
        arguments = {"method": "dppc", "preset": "fast", **arguments}
        pose, xrays = arguments.pop("pose"), arguments.pop("xrays")
        with pytest.raises(InputError, match=message):
            register(None, xrays, pose, setup=setup, **arguments)


@pytest.mark.parametrize("translation", [(0.0, -900.0, 0.0), (900.0, 0.0, 0.0)])
def test_a_ct_outside_the_beam_is_refused_in_words(setup, ap, translation):
    with pytest.raises(DegenerateError, match=r"behind the X-ray source|beside the image"):
        for _ in register(None, [ap], start(translation=translation), method="dppc", preset=QUICK, setup=setup):
            pass
