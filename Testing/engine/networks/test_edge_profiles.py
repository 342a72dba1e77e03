"""Profiles of matching along normals: a shifted image has its peak at the shift, at every scale that reaches it."""

import pytest
import torch
from DeepReg2D3DLib.engine.networks.edge_profiles import (
    CHANNELS,
    ProfileSettings,
    edge_profiles,
    edge_pyramid,
    read_profiles,
)
from DeepReg2D3DLib.engine.normalisation import normalise_for_network

SETTINGS = ProfileSettings()
SIZE = (96, 128)


def blob_image(shift: tuple[float, float]) -> torch.Tensor:
    """Two channels of a dozen smooth discs, displaced by (du, dv) pixels."""
    random = torch.Generator().manual_seed(3)
    v, u = torch.meshgrid(torch.arange(SIZE[0]).float(), torch.arange(SIZE[1]).float(), indexing="ij")
    image = torch.zeros(SIZE)
    for _ in range(14):
        cu, cv, radius = (torch.rand(3, generator=random) * torch.tensor([100.0, 70, 8])).tolist()
        distance = ((u - cu - 14 - shift[0]) ** 2 + (v - cv - 13 - shift[1]) ** 2).sqrt()
        image += torch.sigmoid((radius + 4 - distance) / 1.2)
    return normalise_for_network(image[None, None])


def profiles(shift: tuple[float, float], points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    drr, xray = edge_pyramid(blob_image((0, 0)), 3), edge_pyramid(blob_image(shift), 3)
    return edge_profiles(drr, xray, None, SIZE, points, normals, SETTINGS)[0]


@pytest.fixture(scope="module")
def edge_points() -> tuple[torch.Tensor, torch.Tensor]:
    """The 60 steepest pixels on a coarse grid, with the gradient's direction."""
    gradient = edge_pyramid(blob_image((0, 0)), 1)[0][0, :2]
    strength = gradient.norm(dim=0)[20:-20, 24:-24]
    chosen = strength.flatten().topk(60).indices
    v, u = chosen // strength.shape[1] + 20, chosen % strength.shape[1] + 24
    normals = torch.nn.functional.normalize(gradient[:, v, u].T, dim=-1)
    return torch.stack([u, v], -1).float()[None], normals[None]


@pytest.mark.parametrize(("scale", "shift"), [(0, (3.0, -2.0)), (1, (8.0, 6.0)), (2, (-20.0, 8.0)), (0, (0.0, 0.0))])
def test_peak_lies_at_the_shift_along_the_normal(edge_points, scale, shift):
    points, normals = edge_points
    found = profiles(shift, points, normals)[0, :, scale * CHANNELS]
    expected = normals[0] @ torch.tensor(shift)
    at = (found.argmax(-1) - SETTINGS.reach) * 2**scale
    # Points that move along their normal: the others see another part of their curved contour.
    along = expected.abs() >= 0.8 * torch.tensor(shift).norm()
    assert along.sum() >= 8
    assert (at - expected)[along].abs().median() <= 0.75 * 2**scale


def test_correlation_of_equal_images_is_nearly_one_and_never_more(edge_points):
    found = profiles((0, 0), *edge_points)[0, :, 0]
    assert found.abs().max() <= 1.0
    assert found[:, SETTINGS.reach].median() > 0.85


def test_places_beyond_the_field_are_marked_and_do_not_match(edge_points):
    points, normals = edge_points
    xray = blob_image((0, 0))
    xray[..., 64:] = 0
    pyramids = edge_pyramid(blob_image((0, 0)), 3), edge_pyramid(xray, 3)
    found, _ = edge_profiles(*pyramids, None, SIZE, points, normals, SETTINGS)
    beyond = points[0, :, 0] > 64 + 14
    assert beyond.any()
    middle = found[0, beyond][:, :, SETTINGS.reach]
    assert (middle[:, 2] == 0).all() and (middle[:, 0].abs() < 0.2).all()


def test_profiles_do_not_depend_on_the_batch(edge_points):
    points, normals = edge_points
    alone = profiles((3.0, 1.0), points, normals)
    drr, xray = blob_image((0, 0)), blob_image((3.0, 1.0))
    pair = [torch.cat([xray.flip(-1), xray])]
    index = torch.tensor([1, 0])
    together, _ = edge_profiles(
        edge_pyramid(torch.cat([drr, drr.flip(-1)]), 3),
        edge_pyramid(pair[0], 3),
        index,
        SIZE,
        points.expand(2, -1, -1),
        normals.expand(2, -1, -1),
        SETTINGS,
    )
    assert torch.allclose(together[0], alone[0], atol=1e-4)


def test_reading_at_an_offset_interpolates_and_is_zero_beyond():
    ramp = torch.arange(-SETTINGS.reach, SETTINGS.reach + 1).float()
    profile = ramp.expand(1, 3, 3 * CHANNELS, -1)
    read = read_profiles(profile, torch.tensor([[0.0, 2.5, 200.0]]), 3, 2).view(3, 3, CHANNELS, 5)
    assert torch.allclose(read[0, 0, 0], torch.tensor([-2.0, -1, 0, 1, 2]))
    assert torch.allclose(read[1, 0, 0], torch.tensor([0.5, 1.5, 2.5, 3.5, 4.5]))
    assert torch.allclose(read[1, 1, 0], torch.tensor([-0.75, 0.25, 1.25, 2.25, 3.25]))  # steps of two pixels
    assert (read[2, 0] == 0).all()
