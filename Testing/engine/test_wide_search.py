"""The automatic start: from a hand's breadth and a good turn away, and from beside the picture."""

import math

import pytest
import torch
from DeepReg2D3DLib.engine.automatic_start import automatic_start
from DeepReg2D3DLib.engine.case_file import load_case
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.metrics import mrpd, mtre
from DeepReg2D3DLib.engine.poses import motion_about, rotation_angle, transform_points
from DeepReg2D3DLib.engine.presets import PRESETS, with_automatic_start
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.turned_pictures import turned_pictures
from DeepReg2D3DLib.engine.volume_io import load_volume
from DeepReg2D3DLib.engine.wide_search import WideSettings, centred_pose, wide_candidates
from DeepReg2D3DLib.engine.xray_io import load_xray
from small_case import TRUTH

FEWER = WideSettings(out_of_plane_deg=(-12.0, 0.0, 12.0), in_plane_deg=(-12.0, 0.0, 12.0), depths_mm=(-60.0, 30.0))


@pytest.fixture(scope="module")
def case(small_case):
    return load_case(small_case)


@pytest.fixture(scope="module")
def setup(case):
    return RegistrationSetup.prepare(load_volume(case.ct), "cpu")


@pytest.fixture(scope="module")
def xrays(case):
    return [load_xray(view.image, view.camera, view.image_kind) for view in load_geometry(case.geometry)]


def moved(case, translation: tuple[float, float, float], degrees: tuple[float, float, float]) -> torch.Tensor:
    """The truth turned about the targets' middle and moved, in world."""
    turn, shift = (torch.tensor(v, dtype=torch.float64) for v in (degrees, translation))
    centre = transform_points(TRUTH, case.targets).mean(0)
    return motion_about(turn * math.pi / 180, shift, centre) @ TRUTH


@pytest.mark.parametrize(
    ("translation", "degrees"),
    [((90.0, 60.0, -50.0), (8.0, -10.0, 14.0)), ((-110.0, -30.0, 70.0), (-14.0, 6.0, -9.0))],
)
def test_candidates_lie_near_the_truth(case, setup, xrays, translation, degrees):
    start = moved(case, translation, degrees)
    assert mtre(start, TRUTH, case.targets) > 100
    found = wide_candidates(setup, xrays[0], start, FEWER)
    assert 1 <= len(found) <= FEWER.candidates
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    distances = [mrpd(c.ct_to_world, TRUTH, case.targets, xrays[0].camera) for c in found]
    assert min(distances[:2]) < 15


def test_the_ct_beside_the_picture_is_put_in_the_middle(case, setup, xrays):
    away = moved(case, (700.0, 0.0, 200.0), (5.0, 0.0, 0.0))
    camera = xrays[0].camera
    centred = centred_pose(setup, xrays[0], away)
    seen = camera.project_world(transform_points(centred, setup.volume.centre[None]))[0]
    assert seen.tolist() == pytest.approx([63.5, 55.5], abs=0.6)
    assert torch.allclose(centred[:3, :3], away[:3, :3])
    depth = [float(transform_points(camera.ct_to_camera(p), setup.volume.centre[None])[0, 2]) for p in (away, centred)]
    assert depth[0] == pytest.approx(depth[1])


def test_the_pose_is_found_from_beside_the_picture(case, setup, xrays):
    away = moved(case, (430.0, 20.0, -75.0), (10.0, -12.0, 15.0))
    found = automatic_start(setup, xrays[:1], away)
    assert mrpd(found, TRUTH, case.targets, xrays[0].camera) < 5


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_picture_is_turned_as_the_pose_would_turn_it(case, setup, xrays, mirrored):
    camera = xrays[0].camera.flipped_columns() if mirrored else xrays[0].camera
    angle, pose = math.radians(17.0), moved(case, (20.0, -30.0, 15.0), (4.0, 0.0, 0.0))
    axis = camera.world_to_camera[2, :3] * angle
    centre = transform_points(pose, setup.volume.centre[None])[0]
    turned = motion_about(axis, torch.zeros(3, dtype=torch.float64), centre) @ pose
    renderer = setup.renderer(3.0)
    drr = [renderer(camera.ct_to_camera(p)[None], camera.intrinsics, camera.size).float() for p in (pose, turned)]
    centre_in_camera = transform_points(camera.world_to_camera, centre[None])
    picture = turned_pictures(drr[0], centre_in_camera, camera.intrinsics, angle)
    inner = (..., slice(25, -25), slice(25, -25))
    assert float((picture - drr[1])[inner].abs().mean()) < 0.1 * float((drr[0] - drr[1])[inner].abs().mean())


@pytest.mark.parametrize("half_turn", [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
def test_a_flipped_start_is_caught(case, setup, xrays, half_turn):
    """Turned back to front about the patient's long axis (z), and upside down about the beam (x), in world."""
    start = moved(case, (60.0, 0.0, -40.0), (5.0, 4.0, -6.0))
    centre = transform_points(start, setup.volume.centre[None])[0]
    axis = torch.tensor(half_turn, dtype=torch.float64)
    flipped = motion_about(math.pi * axis, torch.zeros(3, dtype=torch.float64), centre) @ start
    lateral = xrays[1]  # the trunk looks the same from its two sides when seen from the front
    found = wide_candidates(setup, lateral, flipped, FEWER)
    turn = torch.linalg.inv(TRUTH[:3, :3]) @ found[0].ct_to_world[:3, :3]
    assert math.degrees(float(rotation_angle(turn))) < 25
    assert mrpd(found[0].ct_to_world, TRUTH, case.targets, lateral.camera) < 20


def test_every_preset_can_start_by_itself():
    for preset in PRESETS.values():
        wide = with_automatic_start(preset)
        assert wide.wide is not None and wide.search is not None and wide.levels == preset.levels
