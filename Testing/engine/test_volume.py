"""The CT on its grid: attenuation, place, crops, resampling without aliasing, and the body's box."""

import numpy as np
import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.poses import exp_rotation, transform_points
from DeepReg2D3DLib.engine.volume import Volume, attenuation_of


def oblique(spacing=(0.8, 1.2, 2.5), origin=(-50.0, 30.0, 700.0)) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    rotation = exp_rotation(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
    matrix[:3, :3] = rotation * torch.tensor(spacing, dtype=torch.float64)
    matrix[:3, 3] = torch.tensor(origin, dtype=torch.float64)
    return matrix


def a_volume(shape=(20, 24, 30), dtype=torch.int16) -> Volume:
    hu = torch.randint(-1000, 1500, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return Volume(hu, oblique())


def world_of(volume: Volume, k: int, j: int, i: int) -> torch.Tensor:
    return transform_points(volume.ijk_to_ct, torch.tensor([[i, j, k]], dtype=torch.float64))[0]


def test_attenuation_of_known_materials():
    found = attenuation_of(torch.tensor([-1024, -1000, -500, 0, 1000], dtype=torch.int16))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([0, 0, 0.01, 0.02, 0.04])


@pytest.mark.parametrize("slab", [1, 600, 10**9])
def test_attenuation_slab_by_slab_is_that_of_the_whole(monkeypatch, slab):
    volume = a_volume()
    monkeypatch.setattr("DeepReg2D3DLib.engine.volume._SLAB_VOXELS", slab)
    torch.testing.assert_close(volume.attenuation(), attenuation_of(volume.hu), rtol=0, atol=0)


def test_spacing_and_centre_of_an_oblique_grid():
    volume = a_volume()
    assert volume.spacing == pytest.approx((0.8, 1.2, 2.5))
    torch.testing.assert_close(volume.centre, (world_of(volume, 0, 0, 0) + world_of(volume, 19, 23, 29)) / 2)
    torch.testing.assert_close(volume.corners.mean(0), volume.centre)
    extent = (volume.corners[:, None] - volume.corners[None]).norm(dim=-1).max().item()
    assert extent == pytest.approx(np.linalg.norm([30 * 0.8, 24 * 1.2, 20 * 2.5]))


def test_a_crop_keeps_every_voxel_at_its_place_and_the_centre_of_the_whole():
    volume = a_volume()
    cropped = volume.cropped((3, -5, 2), (13, 10, 99))
    assert cropped.shape == (18, 10, 10)
    assert cropped.hu[4, 5, 6] == volume.hu[6, 5, 9]
    torch.testing.assert_close(world_of(cropped, 4, 5, 6), world_of(volume, 6, 5, 9))
    torch.testing.assert_close(cropped.centre, volume.centre)
    with pytest.raises(InputError, match="holds no voxel"):
        volume.cropped((30, 0, 0), (40, 10, 10))


@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.0, 3.7, (2.0, 0.6, 5.0)])
def test_resampling_keeps_a_linear_field_at_its_place(spacing):
    matrix, shape = oblique(), (24, 40, 50)
    slope = torch.tensor([3.0, -2.0, 1.5], dtype=torch.float64)
    k, j, i = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    points = torch.stack([i, j, k], -1).reshape(-1, 3)
    hu = (transform_points(matrix, points) @ slope).reshape(shape).float()
    volume = Volume(hu, matrix)
    found = volume.resampled(spacing)
    wanted = spacing if isinstance(spacing, tuple) else (spacing,) * 3
    assert found.spacing == pytest.approx(wanted)
    torch.testing.assert_close(found.centre, volume.centre)
    k, j, i = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in found.shape), indexing="ij")
    expected = (transform_points(found.ijk_to_ct, torch.stack([i, j, k], -1).reshape(-1, 3)) @ slope).reshape(k.shape)
    inner = tuple(slice(n // 4, n - n // 4) for n in found.shape)
    torch.testing.assert_close(found.hu[inner], expected.float()[inner], atol=0.01, rtol=0)


def test_resampling_keeps_the_mass_and_does_not_alias():
    volume = a_volume((32, 32, 32))
    coarse = volume.resampled(tuple(4 * s for s in volume.spacing))
    assert coarse.shape == (8, 8, 8) and coarse.hu.dtype == torch.int16
    assert coarse.hu.float().mean().item() == pytest.approx(volume.hu.float().mean().item(), abs=0.5)
    # Planes of 0 and 1000 HU in turn are, at every phase, 500 HU when seen at 4 voxels.
    striped = torch.zeros((32, 32, 32), dtype=torch.int16)
    striped[::2] = 1000
    assert set(Volume(striped, torch.eye(4)).resampled((1, 1, 4)).hu[1:-1].unique().tolist()) == {500}


@pytest.mark.parametrize("slab", [1, 5000])
def test_resampling_does_not_depend_on_the_slabs(monkeypatch, slab):
    volume = a_volume()
    whole = volume.resampled(1.7)
    monkeypatch.setattr("DeepReg2D3DLib.engine.volume._SLAB_VOXELS", slab)
    torch.testing.assert_close(volume.resampled(1.7).hu, whole.hu, rtol=0, atol=0)


def test_the_same_spacing_changes_nothing():
    volume = a_volume()
    found = volume.resampled(volume.spacing)
    torch.testing.assert_close(found.hu, volume.hu)
    torch.testing.assert_close(found.ijk_to_ct, volume.ijk_to_ct)


def _body(shape=(40, 80, 100)) -> torch.Tensor:
    hu = torch.full(shape, -1000, dtype=torch.int16)
    hu[5:35, 20:60, 30:80] = 40
    return hu


def test_the_body_is_found_with_its_margin():
    volume = Volume(_body(), torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0])))
    found = volume.cropped_to_body(margin_mm=6.0)
    for lo, hi, first, last, spacing in zip(
        transform_points(torch.linalg.inv(volume.ijk_to_ct), found.corners).amin(0) + 0.5,
        transform_points(torch.linalg.inv(volume.ijk_to_ct), found.corners).amax(0) + 0.5,
        (30, 20, 5),
        (80, 60, 35),
        volume.spacing,
        strict=True,
    ):
        margin = 6.0 / spacing
        coarse = 4.5 / spacing
        assert first - margin - coarse <= lo <= first - margin + 0.51 or lo == 0
        assert last + margin - 0.51 <= hi <= last + margin + coarse
    torch.testing.assert_close(found.centre, volume.centre)


def test_dust_and_noise_do_not_count_but_limbs_do():
    hu = _body()
    generator = torch.Generator().manual_seed(0)
    noisy = hu + (60 * torch.randn(hu.shape, generator=generator)).to(torch.int16)
    noisy[0, 0, 0] = 3000
    noisy[38:40, 76:80, 0:4] = 1000  # a speck
    found = Volume(noisy, torch.eye(4)).cropped_to_body(margin_mm=4)
    assert found.shape[2] < 70 and found.shape[1] < 60
    noisy[5:35, 30:50, 5:20] = 40  # an arm
    found = Volume(noisy, torch.eye(4)).cropped_to_body(margin_mm=4)
    assert found.shape[2] > 75


def test_a_ct_of_air_is_left_whole():
    volume = Volume(torch.full((20, 20, 20), -1000, dtype=torch.int16), torch.eye(4))
    assert volume.cropped_to_body() is volume


@pytest.mark.parametrize(
    ("hu", "matrix", "words"),
    [
        (torch.zeros(4, 4, dtype=torch.int16), torch.eye(4), "3 dimensions"),
        (torch.zeros(4, 4, 4, dtype=torch.float64), torch.eye(4), "int16 or float32"),
        (torch.zeros(4, 4, 4), torch.eye(3), "4x4"),
        (torch.zeros(4, 4, 4), torch.full((4, 4), float("nan")), "finite"),
        (torch.zeros(4, 4, 4), torch.diag(torch.tensor([1.0, 1.0, 0.0, 1.0])), "degenerate"),
    ],
)
def test_what_is_no_volume_is_refused(hu, matrix, words):
    with pytest.raises(InputError, match=words):
        Volume(hu, matrix)


@pytest.mark.parametrize("spacing", [0, -1, float("nan"), (1, 1)])
def test_impossible_spacings_are_refused(spacing):
    with pytest.raises(InputError, match="spacing"):
        a_volume().resampled(spacing)
