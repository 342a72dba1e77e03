"""The search before the first step: shifts found by correlation, candidates and what is left out."""

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.edge_correlation import correlation_over_shifts
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose, motion_about
from DeepReg2D3DLib.engine.search import SearchSettings, search_candidates
from DeepReg2D3DLib.engine.surface import SurfacePoints
from DeepReg2D3DLib.engine.xray import XRay


def picture(seed: int = 0) -> torch.Tensor:
    """Blobs in the middle of an empty image (1, 1, 60, 72)."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 1, 60, 72)
    inner = torch.randn(1, 1, 8, 9, generator=generator)
    image[..., 14:46, 18:54] = torch.nn.functional.interpolate(inner, (32, 36), mode="bicubic", align_corners=False)
    return image


def everywhere() -> torch.Tensor:
    return torch.ones(1, 1, 60, 72, dtype=torch.bool)


@pytest.mark.parametrize("shift", [(0, 0), (7, -5), (-11, 9)])
def test_the_shift_of_an_image_is_the_peak_of_the_correlation(shift):
    du, dv = shift
    moved = torch.roll(picture(), (dv, du), dims=(-2, -1))
    scores = correlation_over_shifts(picture(), 4 * moved + 1, everywhere(), 12)
    assert scores.shape == (1, 25, 25)
    row, column = divmod(int(scores[0].argmax()), 25)
    assert (column - 12, row - 12) == (du, dv)
    assert float(scores.max()) == pytest.approx(1.0, abs=0.02)


def test_images_beyond_the_border_are_not_wrapped_around():
    image = torch.zeros(1, 1, 60, 72)
    image[..., 20:40, :20] = picture()[..., 20:40, 20:40]
    other = torch.roll(image, 52, dims=-1)
    scores = correlation_over_shifts(image, other, everywhere(), 30)
    # The two lie 52 columns apart: no shift of 30 brings them together, and none of -20 the other way round.
    assert float(scores.max()) < 0.5


def test_masked_pixels_change_nothing():
    mask = everywhere()
    mask[..., 45:] = False
    broken = picture().clone()
    broken[..., 45:] = 1e4
    clean, dirty = (correlation_over_shifts(picture(), image, mask, 8) for image in (picture(), broken))
    assert torch.allclose(clean, dirty)


@pytest.fixture(scope="module")
def scene():
    generator = torch.Generator().manual_seed(3)
    volume = torch.zeros(48, 48, 48)
    points = 8 + (32 * torch.rand(14, 3, generator=generator)).long()
    for k, j, i in points.tolist():
        volume[k - 3 : k + 3, j - 2 : j + 3, i - 4 : i + 3] += 0.02
    affine = torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = -70.5
    renderer = DrrRenderer(volume, affine)
    k = torch.tensor([[-300.0, 0, 48], [0, 300, 44], [0, 0, 1]], dtype=torch.float64)
    camera = Camera(
        k, make_pose(exp_rotation(torch.tensor([1.57, 0, 0.1]).double()), torch.tensor([0, 0, 600.0]).double()), 96, 90
    )
    truth = torch.eye(4, dtype=torch.float64)
    image = renderer(camera.ct_to_camera(truth)[None], camera.intrinsics, camera.size).float()
    surface = SurfacePoints((points.flip(1) * 3.0 - 70.5).float(), torch.ones(14, 3))
    return renderer, XRay(image, torch.ones(1, 1, 90, 96, dtype=torch.bool), camera), surface


def in_plane(camera: Camera, mm_right: float, mm_down: float) -> torch.Tensor:
    return camera.world_to_camera[:3, :3].T @ torch.tensor([mm_right, mm_down, 0.0], dtype=torch.float64)


def test_a_pose_far_off_in_the_plane_and_turned_is_brought_near(scene):
    renderer, xray, surface = scene
    start = motion_about(
        xray.camera.world_to_camera[2, :3] * 0.105, in_plane(xray.camera, -34.0, 26.0), torch.zeros(3).double()
    )
    candidates = search_candidates(surface, xray, renderer, start, SearchSettings())
    best = max(candidates, key=lambda c: c.score)
    left = torch.cat([best.ct_to_world[:3, 3], torch.zeros(0).double()])
    assert float(start[:3, 3].norm()) > 40
    assert float(left.norm()) < 5
    assert float((best.ct_to_world[:3, :3] - torch.eye(3)).abs().max()) < 0.05


def test_the_right_pose_is_left_alone(scene):
    renderer, xray, surface = scene
    truth = torch.eye(4, dtype=torch.float64)
    candidates = search_candidates(surface, xray, renderer, truth, SearchSettings())
    assert [c.ct_to_world is truth for c in candidates] == [True]
