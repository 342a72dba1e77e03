"""The collimated field: found in every shape, with soft and sharp edges, and never where there is none."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.engine.field_shapes import convex_mask, find_shapes
from DeepReg2D3DLib.engine.xray_field import find_field
from DeepReg2D3DLib.engine.xray_io import read_pixels
from xray_images import FIELDS, exposed, field, stored, torso


def judge(found, true_field) -> tuple[float, float]:
    """(share of the shadow that was taken for field, share of the field that was lost)."""
    mask = torch.ones_like(true_field) if found is None else found.mask
    leaked = float((mask & ~true_field).sum()) / max(1, int((~true_field).sum()))
    return leaked, float((true_field & ~mask).sum()) / int(true_field.sum())


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("wide", [0.7, 1.3])
@pytest.mark.parametrize("bits", [8, 16])
def test_every_shape_is_found_and_little_anatomy_is_lost(kind, wide, bits):
    true_field = field(kind)
    image = stored(exposed(torso(wide=wide), true_field), bits, 0.9)
    leaked, lost = judge(find_field(image), true_field)
    assert leaked < 0.02
    assert lost < 0.1


@pytest.mark.parametrize("kind", ["round", "rectangular", "turned"])
def test_the_shadow_is_bright_in_images_with_bright_bone(kind):
    true_field = field(kind)
    image = 255 - stored(exposed(torso(wide=1.3), true_field), 8, 0.9)
    found = find_field(image, "high")
    assert found.shadow == "high"
    leaked, lost = judge(found, true_field)
    assert leaked < 0.02 and lost < 0.1


@pytest.mark.parametrize("wide", [0.4, 0.7, 1.3])
@pytest.mark.parametrize("turned", [False, True])
def test_an_image_without_collimator_is_all_field(wide, turned):
    line_integrals = torso(wide=wide)
    if turned:
        line_integrals = line_integrals.T.contiguous()
    image = exposed(line_integrals, torch.ones_like(line_integrals, dtype=torch.bool))
    for values in (stored(image, 16), stored(image, 8, 0.5), image):
        assert find_field(values) is None
        assert find_field(-values, "low", sharp_only=True) is None


def test_the_shadow_of_a_sphere_in_open_beam_is_no_field():
    v, u = torch.meshgrid(torch.arange(200.0) - 100, torch.arange(200.0) - 100, indexing="ij")
    sphere = 0.04 * (70.0**2 - u**2 - v**2).clamp(min=0).sqrt()
    assert find_field(sphere, "low", sharp_only=True) is None
    assert find_field(torch.exp(-sphere)) is None


def test_a_soft_vignetted_edge_is_cut_off_where_it_ends():
    v, u = torch.meshgrid(torch.arange(240.0) - 120, torch.arange(240.0) - 120, indexing="ij")
    radius = torch.hypot(u, v)
    vignette = ((105 - radius) / 12).clamp(0, 1)
    image = stored(torch.exp(-torso(240, 240, 0.5)) * vignette, 8)
    mask = find_field(image).mask
    assert not bool(mask[radius > 97].any())
    assert bool(mask[radius < 88].all())


def test_letters_in_the_shadow_and_metal_in_the_field_change_nothing():
    true_field = field("round")
    image = exposed(torso(wide=1.3), true_field)
    image[100:103, 60:200] = 0.0
    image[5:15, 5:20] = 1.0
    found = find_field(stored(image, 16))
    leaked, lost = judge(found, true_field)
    assert leaked < 0.02 and lost < 0.1
    assert bool(found.mask[100:103, 100:180].all())


@pytest.mark.parametrize("size", [(100, 120), (700, 500)])
def test_small_and_large_images(size):
    true_field = field("rectangular", *size)
    leaked, lost = judge(find_field(stored(exposed(torso(*size), true_field), 16)), true_field)
    assert leaked < 0.05 and lost < 0.15


def test_the_same_image_gives_the_same_field():
    image = stored(exposed(torso(), field("turned")), 16)
    assert torch.equal(find_field(image).mask, find_field(image.clone()).mask)


@pytest.mark.parametrize("image", [torch.zeros(50, 60), torch.rand(50, 60, generator=torch.Generator().manual_seed(0))])
def test_nothing_and_noise_have_no_field(image):
    assert find_field(image) is None


def test_a_circle_and_a_line_by_hand():
    angle = np.linspace(0.5, 5.0, 200)
    circle = 50 + 30 * np.stack([np.cos(angle), np.sin(angle)], 1)
    line = np.stack([np.full(60, 76.0), np.linspace(35, 65, 60)], 1)
    shapes = find_shapes(np.concatenate([circle, line]), np.array([50.0, 50.0]), 1.0)
    np.testing.assert_allclose(shapes.circle, [50, 50, 30], atol=0.6)
    assert shapes.explained.all() and len(shapes.lines) == 1
    line, circle = shapes.depths(np.array([50.0, 74.0, 10.0]), np.array([50.0, 50.0, 50.0]))
    np.testing.assert_allclose(line, [26, 2, 66], atol=0.3)
    np.testing.assert_allclose(circle, [30, 6, -10], atol=1.2)


def test_a_wavy_edge_is_not_explained():
    angle = np.linspace(0, 6.28, 300)
    radius = 40 + 6 * np.sin(7 * angle)
    wavy = 50 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    assert find_shapes(wavy, np.array([50.0, 50.0]), 1.0).explained.mean() < 0.75


def test_the_convex_hull_of_a_mask():
    mask = np.zeros((6, 7), bool)
    mask[1, 3] = mask[3, 1] = mask[3, 5] = mask[5, 3] = True
    expected = np.abs(np.arange(6)[:, None] - 3) + np.abs(np.arange(7)[None] - 3) <= 2
    np.testing.assert_array_equal(convex_mask(mask), expected)


# Corners of the field (u, v) that must be valid or not, read off the images by eye.
REAL = {
    "thorax_b/ap.nrrd": ("round", 0.91, 0.94, [(308, 240), (20, 200), (600, 240)], [(5, 5), (600, 470)]),
    "thorax_b/lat.nrrd": ("corners", 0.985, 1.0, [(5, 240), (308, 5), (600, 450)], [(2, 2), (613, 2), (2, 477)]),
    "thorax_b_cropped/ap.nrrd": ("round", 0.90, 0.93, [(308, 5), (308, 475), (10, 240)], [(5, 5), (610, 475)]),
    "thorax_b_cropped/lat.nrrd": ("rectangular", 0.81, 0.84, [(20, 40), (580, 440)], [(4, 240), (600, 240), (300, 15)]),
    "wrist_0099/cam1.png": ("round", 0.70, 0.80, [(880, 880), (880, 1650), (800, 200)], [(60, 60), (1700, 1700)]),
    "wrist_0158/cam2.png": ("round", 0.70, 0.80, [(880, 880), (700, 1650), (1060, 260)], [(60, 60), (1700, 1700)]),
}


@pytest.mark.parametrize("name", REAL)
def test_the_fields_of_the_real_images(shared_data, name):
    _, least, most, valid, shadow = REAL[name]
    image = torch.from_numpy(read_pixels(shared_data / "cases" / name).astype(np.float32))
    mask = find_field(image).mask
    assert least < mask.float().mean().item() < most
    assert all(bool(mask[v, u]) for u, v in valid)
    assert not any(bool(mask[v, u]) for u, v in shadow)
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.numpy().astype(np.uint8)))
    assert sitk.GetArrayViewFromImage(pieces).max() == 1
