"""An X-ray that is shown the other way round than its geometry says."""

from dataclasses import replace

import pytest
import torch
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.mirrored import as_mirrored, mirrored_warning
from DeepReg2D3DLib.engine.rivals import judged_poses
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.xray import XRay
from quick_start import quick_automatic_start
from small_case import LATERAL, TRUTH, camera, small_volume, start_pose


@pytest.fixture(scope="module")
def setup():
    return RegistrationSetup.prepare(small_volume(), "cpu")


@pytest.fixture
def near_start(monkeypatch):
    """The automatic start looks about the given pose only, which is 20 mm and 5 degrees off here."""
    monkeypatch.setattr("DeepReg2D3DLib.engine.automatic_start.with_automatic_start", quick_automatic_start)


@pytest.fixture(scope="module")
def lateral():
    view = camera("LAT", LATERAL)
    image = DrrRenderer.from_volume(small_volume())(view.ct_to_camera(TRUTH)[None], view.intrinsics, view.size).float()
    return XRay(image, torch.ones_like(image, dtype=torch.bool), view, "LAT")


def test_the_mirrored_reading_of_a_flipped_image_is_the_original(setup, lateral):
    flipped = replace(lateral, line_integral=lateral.line_integral.flip(-1))
    assert as_mirrored(flipped).camera.mirrored is True
    assert as_mirrored(as_mirrored(flipped)).camera.intrinsics.equal(lateral.camera.intrinsics)
    fits = [judged_poses(setup, [xray], [TRUTH], 160, 15.0)[0] for xray in (flipped, as_mirrored(flipped))]
    assert fits[0] < 0.4 < 0.9 < fits[1]


def test_a_flipped_image_is_told_with_what_to_set(setup, lateral, near_start):
    flipped = replace(lateral, line_integral=lateral.line_integral.flip(-1))
    told = mirrored_warning(setup, flipped, start_pose(20.0), 0.25)
    assert told is not None and "'LAT' fits clearly better mirrored" in told and '"mirrored": true' in told


def test_an_image_that_is_right_but_failed_is_not_blamed(setup, lateral, near_start):
    told = mirrored_warning(setup, lateral, start_pose(20.0), 0.25)
    assert told is not None and "better at another pose" in told and "mirrored" not in told


def test_what_fits_is_left_in_peace(setup, lateral):
    assert mirrored_warning(setup, lateral, start_pose(20.0), 0.6) is None
