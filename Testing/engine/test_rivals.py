"""Telling rival poses apart: a row of blocks that look alike, one neighbour off, and a CT cut off in the middle."""

import dataclasses

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.poses import make_pose
from DeepReg2D3DLib.engine.rivals import judged_poses
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.surface import extract_surface_points
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.xray import XRay

PITCH = 24.0
TRUTH = torch.eye(4, dtype=torch.float64)


def column() -> Volume:
    """Seven blocks of bone along z in a cylinder of tissue, alike but for their widths, on 2 mm voxels."""
    z, y, x = torch.meshgrid(*(2.0 * (torch.arange(n) - (n - 1) / 2) for n in (100, 48, 48)), indexing="ij")
    hu = torch.where(x**2 + y**2 < 44**2, 30.0, -1000.0)
    for index in range(7):
        middle = (index - 3) * PITCH
        block = ((z - middle).abs() < 9) & (x.abs() < 12 + 1.5 * index) & (y.abs() < 14)
        hu = torch.where(block, 500.0, hu)
    affine = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-47.0, -47.0, -99.0])
    return Volume(hu=hu.to(torch.int16), ijk_to_ct=affine, name="column")


@pytest.fixture(scope="module")
def xray() -> XRay:
    camera = Camera.from_parameters(
        source_to_detector=1000.0,
        pixel_spacing=(1.5, 1.5),
        principal_point=(80.0, 110.0),
        world_to_camera=torch.tensor([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 700], [0, 0, 0, 1]], dtype=torch.float64),
        columns=160,
        rows=220,
        name="AP",
    )
    image = DrrRenderer.from_volume(column())(camera.ct_to_camera(TRUTH)[None], camera.intrinsics, camera.size)
    return XRay(image.float(), torch.ones(image.shape, dtype=torch.bool), camera, "AP")


def moved(z: float) -> torch.Tensor:
    return make_pose(torch.eye(3, dtype=torch.float64), torch.tensor([0.0, 0.0, z], dtype=torch.float64))


def setup_of(volume: Volume) -> RegistrationSetup:
    return RegistrationSetup(volume, extract_surface_points(volume), torch.device("cpu"))


def test_the_neighbour_loses(xray):
    scores = judged_poses(setup_of(column()), [xray], [moved(PITCH), TRUTH, moved(-PITCH)], 160, 15.0)
    assert scores[1] == max(scores)
    assert scores[1] > 0.95
    assert scores[0] < 0.9 and scores[2] < 0.9


def test_the_end_of_a_cut_ct_is_no_evidence(xray):
    cut = column().cropped((0, 0, 20), (48, 48, 80))
    scores = judged_poses(setup_of(cut), [xray], [moved(PITCH), TRUTH, moved(-PITCH)], 160, 15.0)
    assert scores[1] == max(scores)
    assert scores[1] > max(scores[0], scores[2]) + 0.05


def test_scores_do_not_depend_on_the_order(xray):
    setup = setup_of(column())
    poses = [moved(3.0), TRUTH, moved(-40.0)]
    forth = judged_poses(setup, [xray], poses, 160, 15.0)
    back = judged_poses(setup, [xray], poses[::-1], 160, 15.0)
    assert forth == pytest.approx(back[::-1], abs=0.02)


def test_a_pose_beside_the_image_comes_last(xray):
    away = make_pose(torch.eye(3, dtype=torch.float64), torch.tensor([900.0, 0.0, 0.0], dtype=torch.float64))
    scores = judged_poses(setup_of(column()), [xray], [away, moved(10.0)], 160, 15.0)
    assert scores[0] == -1.0
    assert scores[1] > 0


def test_views_are_averaged(xray):
    blind = dataclasses.replace(xray, line_integral=torch.zeros_like(xray.line_integral))
    setup = setup_of(column())
    alone = judged_poses(setup, [xray], [TRUTH], 160, 15.0)[0]
    both = judged_poses(setup, [xray, blind], [TRUTH], 160, 15.0)[0]
    assert both == pytest.approx(alone / 2, abs=0.01)
