"""Patch matching: correlation, peaks and weights on images whose shift is known."""

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.contours import ContourPoints
from DeepReg2D3DLib.engine.correspondences import Progress, Scene
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.patch_matching import (
    PatchMatching,
    PatchSettings,
    best_offsets,
    depth_layers,
    match_scores,
    sample_patches,
)
from DeepReg2D3DLib.engine.surface import SurfacePoints
from DeepReg2D3DLib.engine.xray import XRay

SIZE = (80, 96)


def texture(seed: int = 0) -> torch.Tensor:
    """A smooth random image (1, 1, H, W)."""
    noise = torch.randn(1, 1, SIZE[0] // 4, SIZE[1] // 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, SIZE, mode="bicubic", align_corners=False)


def scene(
    xray_image: torch.Tensor, drr: torch.Tensor, mask: torch.Tensor | None = None, mirrored: bool = False
) -> Scene:
    """Points at 600 mm in a regular grid of the image, their gradients lying in the image plane."""
    focal = -800.0 if mirrored else 800.0
    k = torch.tensor([[focal, 0, 47.5], [0, 800.0, 39.5], [0, 0, 1]], dtype=torch.float64)
    camera = Camera(k, torch.eye(4, dtype=torch.float64), SIZE[1], SIZE[0])
    v, u = torch.meshgrid(torch.arange(26.0, 56.0, 4.0), torch.arange(26.0, 72.0, 4.0), indexing="ij")
    pixels = torch.stack([u.flatten(), v.flatten()], dim=-1)
    depth = 600.0
    points = torch.stack(
        [
            (pixels[:, 0] - 47.5) * depth / focal,
            (pixels[:, 1] - 39.5) * depth / 800.0,
            torch.full_like(u.flatten(), depth),
        ],
        dim=-1,
    )
    angle = torch.linspace(0, 6.0, len(points))
    direction = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=-1)
    gradients = torch.linalg.cross(torch.linalg.cross(points, direction), points)
    contour = ContourPoints(points, gradients, pixels)
    if mask is None:
        mask = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    return Scene(
        drr,
        XRay(xray_image, mask, camera),
        torch.eye(4, dtype=torch.float64),
        contour,
        SurfacePoints(points, gradients),
        DrrRenderer(torch.zeros(4, 4, 4), torch.eye(4)),
        Progress(search_px=8.0),
    )


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_shifted_image_is_found_along_the_normals(mirrored):
    drr = texture()
    shift = torch.tensor([3.0, -2.0])
    moved = torch.roll(drr, (-2, 3), dims=(-2, -1))
    case = scene(3 * moved + 5, drr, mirrored=mirrored)
    matches = PatchMatching(PatchSettings(layer_share=0.0)).find(case)
    # A patch that slides along the normal alone never fits exactly, and is judged by what it finds there.
    along = (matches.flow * case.normals).sum(-1)
    expected = case.normals @ shift
    across = (case.normals @ torch.tensor([2.0, 3.0])).abs()
    good = (across < 1.0) & (matches.weights > 0.2)
    assert int(good.sum()) >= 10
    assert float((along - expected)[good].abs().median()) < 0.25
    assert torch.allclose(matches.pixels, case.contour.pixels + matches.flow)


def test_no_shift_is_found_as_none_with_full_scores():
    drr = texture()
    matches = PatchMatching(PatchSettings(layer_share=0.0)).find(scene(drr, drr))
    assert float(matches.flow.abs().max()) < 0.05
    assert float(matches.weights.min()) > 0.1


def test_unrelated_images_get_little_weight():
    alike = PatchMatching(PatchSettings(layer_share=0.0)).find(scene(texture(0), texture(0)))
    unlike = PatchMatching(PatchSettings(layer_share=0.0)).find(scene(texture(1), texture(0)))
    assert float(unlike.weights.mean()) < 0.25 * float(alike.weights.mean())


def test_points_without_valid_pixels_get_no_weight():
    drr = texture()
    mask = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    mask[..., :40] = False
    case = scene(drr, drr, mask)
    matches = PatchMatching(PatchSettings(layer_share=0.0)).find(case)
    inside = case.contour.pixels[:, 0] < 34
    assert float(matches.weights[inside].abs().max()) == 0.0
    assert float(matches.weights[case.contour.pixels[:, 0] > 52].min()) > 0.05


def test_nothing_that_is_masked_changes_the_matches():
    drr = texture()
    mask = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    mask[..., 60:] = False
    broken = drr.clone()
    broken[..., 60:] = 1e5
    finder = PatchMatching(PatchSettings(layer_share=0.0))
    a, b = finder.find(scene(drr, drr, mask)), finder.find(scene(broken, drr, mask))
    assert torch.allclose(a.flow, b.flow) and torch.allclose(a.weights, b.weights)


def test_an_empty_contour_gives_no_matches():
    drr = texture()
    case = scene(drr, drr)
    empty = ContourPoints(*(x[:0] for x in (case.contour.points, case.contour.gradients, case.contour.pixels)))
    emptied = Scene(case.drr, case.xray, case.ct_to_camera, empty, case.surface, case.renderer, case.progress)
    assert len(PatchMatching().find(emptied).weights) == 0


def test_scores_are_one_at_the_true_offset_and_fall_beside_it():
    gradient = torch.cat([texture(1), texture(2)], dim=1)
    pixels, normals = torch.tensor([[40.0, 40.0], [52.0, 36.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    templates = sample_patches(gradient, pixels + 3 * normals, normals, 5, 5)
    scores = match_scores(pixels, normals, templates, gradient, torch.ones(1, 1, *SIZE, dtype=torch.bool), 6, 5, 0.5)
    assert scores.argmax(1).tolist() == [9, 9]
    assert float(scores[:, 9].min()) > 0.99
    assert float(scores.max()) <= 1.0 + 1e-5


def test_patches_are_turned_into_the_frame_of_the_normal():
    gradient = torch.zeros(1, 2, *SIZE)
    gradient[:, 0], gradient[:, 1] = 2.0, 1.0
    normal = torch.tensor([[0.6, 0.8]])
    patch = sample_patches(gradient, torch.tensor([[40.0, 40.0]]), normal, 2, 3)
    assert patch.shape == (1, 5, 7, 2)
    assert torch.allclose(patch[..., 0], torch.tensor(2 * 0.6 + 1 * 0.8))
    assert torch.allclose(patch[..., 1], torch.tensor(1 * 0.6 - 2 * 0.8))


def test_sub_pixel_peak_of_a_parabola_and_its_rival():
    offsets = torch.arange(11.0)
    scores = 0.9 - 0.02 * (offsets - 4.3) ** 2
    scores[9] = 0.75
    best, height, rival = best_offsets(scores[None], rival_distance=4)
    assert float(best) == pytest.approx(4.3, abs=1e-4)
    assert float(height) == pytest.approx(0.9, abs=0.01)
    assert float(rival) == pytest.approx(0.75)


def test_a_peak_at_the_end_of_the_window_does_not_count():
    _, height, _ = best_offsets(torch.linspace(0, 1, 11)[None], rival_distance=4)
    assert float(height) == 0.0


def test_depth_layers_part_what_lies_at_different_depths():
    drr = texture()
    case = scene(drr, drr)
    points = case.contour.points.clone()
    far = points[:, 0] > 0
    points[far] *= 1.3
    gradients = torch.zeros_like(points)
    gradients[:, 1] = 1.0
    contour = ContourPoints(points, gradients, case.contour.pixels)
    layered = Scene(
        drr, case.xray, case.ct_to_camera, contour, SurfacePoints(points, gradients), case.renderer, case.progress
    )
    layers, index = depth_layers(layered, 2, 1.0)
    assert layers.shape == (2, 2, *SIZE)
    assert torch.equal(index == 1, far)
    # Nothing along u; the near layer lies left of the principal point, the far one right of it.
    assert float(layers[:, 0].abs().max()) == 0.0
    assert float(layers[0, 1, :, 55:].abs().max()) == 0.0 and float(layers[0, 1, :, :44].max()) > 0
    assert float(layers[1, 1, :, :40].abs().max()) == 0.0 and float(layers[1, 1, :, 52:].max()) > 0


def test_padded_patches_match_the_same():
    mask = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    mask[..., :30] = False  # part of some patches is cut off
    shown = scene(texture(0), texture(0), mask)
    finder = PatchMatching(PatchSettings(layer_share=0.0))
    plain = finder.find(shown)
    found, valid = shown.xray.gradient(1.0)
    along, weights, doubt = finder._padded(shown, shown.contour.pixels, found, valid, 8)
    torch.testing.assert_close(along, (plain.flow * shown.normals).sum(-1), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(weights, plain.weights, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(doubt, plain.log_scale, rtol=1e-4, atol=1e-4)
    assert float((weights > 0).float().mean()) > 0.5
