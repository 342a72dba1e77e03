"""The automatic start: from a hand's breadth and a good turn away, and from beside the picture."""

import math

import pytest
import torch
from DeepReg2D3DLib.engine.automatic_start import automatic_start
from DeepReg2D3DLib.engine.case_file import load_case
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.metrics import mrpd, mtre
from DeepReg2D3DLib.engine.poses import motion_about, transform_points
from DeepReg2D3DLib.engine.presets import PRESETS, with_automatic_start
from DeepReg2D3DLib.engine.setup import RegistrationSetup
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


def test_every_preset_can_start_by_itself():
    for preset in PRESETS.values():
        wide = with_automatic_start(preset)
        assert wide.wide is not None and wide.search is not None and wide.levels == preset.levels
