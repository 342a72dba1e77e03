"""Evidence for where contour points went: how well the X-ray's gradients match along each contour's normal.

What a DRR and an X-ray of one pose share is direction and sign of their edges, so a patch of the DRR's gradients around
a contour point is compared with the X-ray's by normalised correlation (gradient patch matching as in DPPC; Wang et al.,
IEEE TMI 2017). Only the normal matters to PPC, so a one-dimensional profile a point is enough; several resolutions
reach from sub-pixel to tens of pixels. Nothing here is learned and nothing needs gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS = 3
"""Of each profile: correlation, the X-ray's gradient along the normal, whether the place is in the field."""
_FLOOR = 0.15
"""Share of an image's mean gradient energy that is added to a patch's: flat patches then resemble nothing."""


@dataclass(frozen=True)
class ProfileSettings:
    """scales: resolutions, each half of the one before. reach: steps of a profile to either side (a step is a pixel of
    its scale). along, across: half sizes of a patch, in steps along the normal and every second step across it."""

    scales: int = 3
    reach: int = 12
    along: int = 4
    across: int = 3


@torch.no_grad()
def edge_pyramid(image: Tensor, scales: int) -> list[Tensor]:
    """Maps (B, 3, H / 2^l, W / 2^l): gradient (d/du, d/dv) and validity of the local channel at each scale.

    image: (B, C, H, W) as ``normalise_for_network`` gives it, its last channel the local one and zero in all channels
    beyond the field; edges of the field itself are left out.
    """
    image = image.float()
    outside = image.abs().amax(1, keepdim=True) == 0
    bounded = bool(outside.any())
    outside = outside.to(image.dtype)
    smooth = _binomial(image[:, -1:])
    pyramid = []
    for scale in range(scales):
        if scale > 0:
            smooth = F.avg_pool2d(_binomial(smooth), 2, ceil_mode=True)
            outside = F.max_pool2d(outside, 2, ceil_mode=True)
        padded = F.pad(smooth, (1, 1, 1, 1), mode="replicate")
        across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
        down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        # The edge of the field is the collimator's, not the patient's.
        margin = 2 if scale == 0 else 1
        inside = 1 - (F.max_pool2d(outside, 2 * margin + 1, 1, margin) if bounded else outside)
        pyramid.append(torch.cat([torch.cat([across, down], 1) * inside, inside], 1))
    return pyramid


def _binomial(image: Tensor) -> Tensor:
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4
    return (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 4


@torch.no_grad()
def edge_profiles(
    drr: list[Tensor],
    xray: list[Tensor],
    xray_index: Tensor | None,
    size: tuple[int, int],
    points: Tensor,
    normals: Tensor,
    settings: ProfileSettings,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Profiles (B, N, scales * CHANNELS, 2 reach + 1) and the DRR's own gradient along the normal (B, N, scales).

    drr, xray: pyramids of ``edge_pyramid``. size: (rows, columns) of the image. points, normals: (B, N, 2), pixels.
    valid: (B, N) bool, the points that say how strong edges are on average; None: all. Offsets count from the point
    along the normal, in steps of 2^l pixels at scale l.
    """
    s = settings
    batch, count = points.shape[:2]
    along = torch.arange(-s.along - s.reach, s.along + s.reach + 1, device=points.device, dtype=torch.float32)
    across = 2.0 * torch.arange(-s.across, s.across + 1, device=points.device, dtype=torch.float32)
    window_along = torch.exp(-0.5 * (along[s.reach : -s.reach] / (0.7 * s.along)) ** 2)
    window_across = torch.exp(-0.5 * (across / (1.4 * s.across)) ** 2)
    length, width, patch, offsets = len(along), len(across), 2 * s.along + 1, 2 * s.reach + 1
    tangents = torch.stack([-normals[..., 1], normals[..., 0]], dim=-1)
    shape = size[1] + (size[0] - size[1]) * torch.arange(2, device=points.device, dtype=torch.float32)
    counted = None if valid is None else valid.to(torch.float32)
    profiles, strengths = [], []
    for scale in range(s.scales):
        step = 2.0**scale
        places = (
            points[:, :, None, None]
            + (step * along)[:, None, None] * normals[:, :, None, None]
            + (step * across)[None, :, None] * tangents[:, :, None, None]
        )
        grid = (2 * places + 1) / shape - 1  # (B, N, length, width, 2)
        target = xray[scale] if xray_index is None else xray[scale].index_select(0, xray_index)
        # The maps may be a fraction of a cell larger than the image where its size is odd.
        stretch = _stretch(size, scale, target)
        grid = grid if stretch is None else (grid + 1) * stretch - 1
        strip = F.grid_sample(target, grid.flatten(2, 3), align_corners=False).view(batch, 3, count, length, width)
        inside = strip[:, 2, :, s.along : -s.along, s.across]
        strip = strip[:, :2].permute(0, 2, 3, 1, 4).reshape(batch * count, length, 2 * width)
        middle = grid[:, :, s.reach : -s.reach].flatten(2, 3)
        template = F.grid_sample(drr[scale][:, :2], middle, align_corners=False).view(batch, 2, count, patch, width)
        template = template.permute(0, 2, 3, 1, 4).reshape(batch * count, patch, 2 * width)

        row = window_across.repeat(2)
        weighted = template * window_along[:, None] * row
        energy = (weighted * template).sum((1, 2))[:, None]
        lines = (strip * strip * row).sum(-1)
        energies = F.conv1d(lines[:, None], window_along[None, None])[:, 0]
        product = strip.new_zeros(batch * count, offsets, 1)
        for a in range(patch):
            product.baddbmm_(strip[:, a : a + offsets], weighted[:, a, :, None])
        mean = _mean(energies.view(batch, count, offsets), counted)
        floor = _FLOOR * mean[:, None].expand(-1, count).reshape(-1, 1)
        own_mean = _mean(energy.view(batch, count, 1), counted)
        drr_floor = _FLOOR * own_mean[:, None].expand(-1, count).reshape(-1, 1)
        score = product[..., 0] / ((energy + drr_floor) * (energies + floor)).clamp_min(1e-12).sqrt()
        middle_column = strip[:, s.along : -s.along].view(batch, count, offsets, 2, width)[..., s.across]
        slope = (middle_column * normals[:, :, None]).sum(-1)
        own = (template.view(batch, count, patch, 2, width)[:, :, s.along, :, s.across] * normals).sum(-1)
        weight = window_along.sum() * row.sum() / 2
        unit = (mean / weight).clamp_min(1e-12).sqrt()[:, None]
        own_unit = (own_mean / weight).clamp_min(1e-12).sqrt()[:, None]
        slope = torch.tanh(0.5 * slope / unit[..., None])
        profiles.append(torch.stack([score.view(batch, count, offsets), slope, inside], dim=2))
        strengths.append(torch.tanh(0.5 * own / own_unit))
    return torch.cat(profiles, dim=2), torch.stack(strengths, dim=-1)


def _mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean (B,) of values (B, N, K) over the points that are ``counted`` (B, N); None: all."""
    if counted is None:
        return values.flatten(1).mean(1)
    return (values.mean(2) * counted).sum(1) / counted.sum(1).clamp_min(1)


def _stretch(size: tuple[int, int], scale: int, target: Tensor) -> Tensor | None:
    """Factors (2,) from the image's extent to the map's, or None where they are equal."""
    covered = (target.shape[-1] << scale, target.shape[-2] << scale)
    if covered == (size[1], size[0]):
        return None
    return target.new_tensor([size[1] / covered[0], size[0] / covered[1]])


def read_profiles(profiles: Tensor, offsets: Tensor, scales: int, window: int) -> Tensor:
    """Profiles (B, N, scales CHANNELS (2 window + 1)) around ``offsets`` (B, N), pixels along the normals; 0 beyond."""
    batch, count, _, length = profiles.shape
    reach = (length - 1) // 2
    beyond = reach + window + 1  # from here on a window shows nothing
    padded = F.pad(profiles, (2 * window + 2, 2 * window + 2))
    padded = padded.view(batch, count, scales, CHANNELS, -1)
    steps = torch.arange(2 * window + 2, device=profiles.device)
    found = []
    for scale in range(scales):
        at = (offsets.detach() / 2.0**scale).clamp(-beyond, beyond) + beyond + 1
        low = at.floor()
        share = (at - low)[..., None, None]
        index = (low.long()[..., None] + steps).clamp(max=padded.shape[-1] - 1)
        values = padded[:, :, scale].gather(-1, index[:, :, None].expand(-1, -1, CHANNELS, -1))
        found.append(torch.lerp(values[..., :-1], values[..., 1:], share).flatten(2))
    return torch.cat(found, dim=-1)
