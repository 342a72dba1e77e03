"""The pixel arithmetic between maps of cells and images, on fields whose values are known everywhere."""

from __future__ import annotations

import torch
from DeepReg2D3DLib.engine.networks.flow_protocol import enlarge, pad_to_multiple, sample_at_points, shrink_flow


def ramp(rows: int, columns: int, stride: int) -> torch.Tensor:
    """(1, 2, rows, columns): each cell holds the pixel (u, v) of its own centre."""
    v = torch.arange(rows) * stride + (stride - 1) / 2
    u = torch.arange(columns) * stride + (stride - 1) / 2
    return torch.stack(torch.meshgrid(u, v, indexing="xy")).unsqueeze(0)


def test_padding_repeats_the_rim_and_moves_nothing():
    image = torch.arange(15.0).view(1, 1, 3, 5)
    padded = pad_to_multiple(image, 4)
    assert padded.shape == (1, 1, 4, 8)
    assert (padded[..., :3, :5] == image).all()
    assert (padded[..., 3, :5] == image[..., 2, :]).all() and (padded[..., :3, 7] == image[..., :, 4]).all()


def test_sampling_a_ramp_of_cells_gives_the_pixel_itself():
    points = torch.tensor([[[3.5, 1.5], [10.25, 6.0], [20.0, 8.75]]])
    torch.testing.assert_close(sample_at_points(ramp(3, 6, 4), points, (12, 24)), points)


def test_beyond_the_outermost_centres_the_map_is_flat():
    points = torch.tensor([[[-5.0, 0.0], [40.0, 30.0]]])
    found = sample_at_points(ramp(3, 6, 4), points, (12, 24))
    torch.testing.assert_close(found, torch.tensor([[[1.5, 1.5], [21.5, 9.5]]]))


def test_enlarging_a_ramp_of_cells_gives_every_pixel_itself():
    full = enlarge(ramp(4, 8, 4), (16, 32), (13, 30))
    assert full.shape == (1, 2, 13, 30)
    torch.testing.assert_close(full[..., 2:12, 2:29], ramp(13, 30, 1)[..., 2:12, 2:29])


def test_an_initial_flow_may_come_at_any_resolution():
    """A flow that grows linearly over the image reads the same in cells from the full map and from one at 1/8."""
    full, coarse = ramp(32, 48, 1), ramp(4, 6, 8)
    expected = ramp(4, 6, 8) / 8
    torch.testing.assert_close(shrink_flow(full, (32, 48), (4, 6), 8), expected)
    torch.testing.assert_close(shrink_flow(coarse, (32, 48), (4, 6), 8), expected)


def test_an_initial_flow_of_an_unpadded_image_keeps_its_pixels():
    found = shrink_flow(ramp(27, 43, 1), (27, 43), (4, 6), 8)
    torch.testing.assert_close(found[..., :3, :5] * 8, ramp(3, 5, 8))
