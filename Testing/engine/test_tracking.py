"""A phantom that moves smoothly is followed; a frame that shows something else is marked, and found again after it."""

from dataclasses import replace

import pytest
import torch
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.level import Level
from DeepReg2D3DLib.engine.methods import get_method
from DeepReg2D3DLib.engine.metrics import mtre
from DeepReg2D3DLib.engine.poses import motion_about
from DeepReg2D3DLib.engine.registration import RegistrationSetup
from DeepReg2D3DLib.engine.tracking import FOLLOW, RECOVER, track
from DeepReg2D3DLib.engine.xray import XRay
from small_case import AP, CENTRE, LATERAL, TRUTH, camera, small_volume, start_pose

FRAMES = 6
DARK = 4  # of the second test: the frame in which the shutter was closed
QUICK = replace(FOLLOW, levels=(Level(112, 4, 30.0, (10, 6), (1e-3, 1e-6)),))
TARGETS = torch.cartesian_prod(*[torch.tensor([-30.0, 30.0], dtype=torch.float64)] * 3) + CENTRE


def pose_of(index: int) -> torch.Tensor:
    """The phantom breathes: 2.5 mm and a degree from frame to frame."""
    axis = torch.tensor([0.0, 0.8, 0.6], dtype=torch.float64) * 0.0175 * index
    shift = torch.tensor([1.5, 0.0, 2.0], dtype=torch.float64) * index
    return motion_about(axis, shift, TRUTH[:3, :3] @ CENTRE + TRUTH[:3, 3]) @ TRUTH


def numbered(frames, first=1):
    """What ``track`` follows: (number, what loads the X-rays)."""
    return [(number, lambda xrays=xrays: xrays) for number, xrays in enumerate(frames, start=first)]


@pytest.fixture(scope="module")
def scene():
    """(setup, the X-rays of every frame in two views)."""
    volume = small_volume()
    renderer = DrrRenderer.from_volume(volume)
    cameras = [camera("AP", AP), camera("LAT", LATERAL)]
    frames = []
    for index in range(FRAMES):
        views = []
        for view in cameras:
            drr = renderer(view.ct_to_camera(pose_of(index))[None], view.intrinsics, view.size).to(torch.float32)
            views.append(XRay(drr, torch.ones_like(drr, dtype=torch.bool), view, view.name))
        frames.append(views)
    return RegistrationSetup.prepare(volume, "cpu"), frames


def test_every_frame_is_followed(scene):
    setup, frames = scene
    # After four steps a frame the last bits of the arithmetic still decide by which side of 1 mm it is off.
    settled = replace(QUICK, levels=(replace(QUICK.levels[0], steps=12),))
    run = track(setup, numbered(frames), start_pose(2.0), get_method("dppc"), settled, settled)
    found = list(run)
    assert [frame.frame for frame in found] == list(range(1, FRAMES + 1))
    for index, frame in enumerate(found):
        assert frame.sound and frame.agreement > 0.5
        assert mtre(frame.ct_to_world, pose_of(index), TARGETS) < 1.0  # one view: most of it along the beam
    assert found[0].moved_mm == 0
    for frame in found[1:]:
        assert frame.moved_mm == pytest.approx(2.5, abs=0.7)
    assert not any(frame.searched for frame in found[1:])


def test_a_dark_frame_is_marked_and_the_next_one_found_again(scene):
    setup, frames = scene
    noise = torch.rand(1, 1, 112, 128, generator=torch.Generator().manual_seed(1))
    dark = [XRay(noise, torch.ones_like(noise, dtype=torch.bool), xray.camera, xray.name) for xray in frames[0]]
    shown = [*frames[2:DARK], dark, frames[DARK + 1]]
    quick = replace(RECOVER, levels=QUICK.levels)
    found = list(track(setup, numbered(shown, 2), pose_of(2), get_method("dppc"), QUICK, QUICK, quick))
    assert [frame.sound for frame in found] == [True, True, False, True]
    assert found[2].searched and found[2].agreement < 0.3
    assert mtre(found[3].ct_to_world, pose_of(DARK + 1), TARGETS) < 0.8


def test_a_frame_without_anything_valid_is_unreliable_at_the_last_pose(scene):
    setup, frames = scene
    closed = [XRay(x.line_integral, torch.zeros_like(x.mask), x.camera, x.name) for x in frames[1]]
    run = track(setup, numbered([frames[0], closed]), pose_of(0), get_method("dppc"), QUICK, QUICK)
    first, second = run
    assert first.sound and not second.sound and second.agreement <= 0
    assert torch.equal(second.ct_to_world, first.ct_to_world)


def test_a_frame_that_cannot_be_loaded_is_unreliable_with_the_reason_and_the_run_goes_on(scene):
    setup, frames = scene

    def refuse():
        raise InputError("every pixel is 0; the image shows nothing.")

    shown = numbered(frames[:3])
    shown[1] = (2, refuse)
    found = list(track(setup, shown, pose_of(0), get_method("dppc"), QUICK, QUICK))
    assert [frame.sound for frame in found] == [True, False, True]
    assert torch.equal(found[1].ct_to_world, found[0].ct_to_world) and found[1].confidence is None
    assert "shows nothing" in found[1].reason and not found[0].reason and not found[2].reason
    assert mtre(found[2].ct_to_world, pose_of(2), TARGETS) < 1.0
    with pytest.raises(InputError, match="shows nothing"):
        next(track(setup, shown[1:], pose_of(0), get_method("dppc"), QUICK, QUICK))
