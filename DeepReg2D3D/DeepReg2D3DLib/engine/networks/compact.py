"""CompactFlow: the flow network that trains and runs on two CPU cores.

A recurrent all-pairs network in the family of RAFT (Teed and Deng, ECCV 2020), cut for small images and few operations:

- features at 1/8 resolution from a shallow trunk that also looks at 1/16, where wide context costs little;
- a first flow regressed from the whole correlation volume, so that large displacements don't have to be crept up to
  (the idea of SEA-RAFT, Wang et al., ECCV 2024; matching by softmax after GMFlow, Xu et al., CVPR 2022). A pose error
  moves the projection almost as an affine map, so a weighted affine fit to the matches carries in-plane rotation,
  scale and shift to cells that match nothing by themselves;
- an update operator with one convolution for both gates, with context that enters the gates once (Lipson et al.,
  RAFT-Stereo, 3DV 2021) and a 1/16 path that spreads motion over the image;
- a predicted uncertainty for each cell (SEA-RAFT), estimated with the flow at 1/4 resolution.

Group normalisation keeps every item of a batch independent of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .correlation import CorrelationPyramid, cell_grid
from .flow_protocol import (
    EncodedImage,
    FlowEstimate,
    check_pair,
    enlarge,
    pad_to_multiple,
    sample_at_points,
    shrink_flow,
)

STRIDE = 8  # pixels a cell of the feature maps
MULTIPLE = 16  # the coarsest level's stride: images are padded to it
START_REACH = 4.0  # cells: the standard deviation of displacements that untrained matching assumes
LOG_SCALE_BOUND = 6.0  # the uncertainty stays within exp(-6) to exp(6) pixels


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of CompactFlow; the defaults are the product's.

    channels: of the images. stem: channels at 1/4 resolution. width: channels at 1/8. coarse: channels at 1/16.
    features: length of the feature vectors that are correlated. hidden: state of the update operator. levels, radius:
    correlation pyramid and window. groups: of the normalisation. iterations: refinement steps where the call is silent.
    """

    channels: int = 2
    stem: int = 32
    width: int = 80
    coarse: int = 96
    features: int = 64
    hidden: int = 48
    levels: int = 3
    radius: int = 3
    groups: int = 8
    iterations: int = 4


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to their input, group-normalised: (B, C, h, w) to the same shape."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(groups, channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(groups, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Trunk(nn.Module):
    """Image (B, 1, H, W) to a map (B, width, H/8, W/8) that has seen the surroundings at 1/16 resolution."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        c = config
        # Blocks of 4x4 pixels become 16 channels: convolutions at full resolution would cost more than all the rest.
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(16 * c.channels, c.stem, 3, padding=1, bias=False),
            nn.GroupNorm(c.groups, c.stem),
            nn.ReLU(inplace=True),
            nn.Conv2d(c.stem, c.stem, 3, padding=1, bias=False),
            nn.GroupNorm(c.groups, c.stem),
            nn.ReLU(inplace=True),
        )
        self.down = nn.Conv2d(c.stem, c.width, 2, stride=2)
        self.fine = ResidualBlock(c.width, c.groups)
        self.down_again = nn.Conv2d(c.width, c.coarse, 2, stride=2)
        self.wide = nn.Sequential(ResidualBlock(c.coarse, c.groups), ResidualBlock(c.coarse, c.groups))
        self.back = nn.Conv2d(c.coarse, c.width, 1)
        self.merge = nn.Sequential(
            nn.Conv2d(c.width, c.width, 3, padding=1, bias=False), nn.GroupNorm(c.groups, c.width)
        )

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(self.down(self.stem(image)))
        wide = self.back(self.wide(self.down_again(fine)))
        wide = F.interpolate(wide, scale_factor=2.0, mode="bilinear", align_corners=False)
        return F.relu(fine + self.merge(fine + wide))


class FirstFlow(nn.Module):
    """The first flow and hidden state from the whole correlation volume and the DRR's context."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        c = config
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.log_reach = nn.Parameter(torch.tensor(math.log(START_REACH)))
        self.trust = nn.Conv2d(c.hidden + 3, 1, 1)
        self.clues = nn.Conv2d(6, c.hidden, 1)
        self.into = nn.Conv2d(c.hidden, c.coarse, 2, stride=2)
        self.wide = nn.Sequential(ResidualBlock(c.coarse, c.groups), ResidualBlock(c.coarse, c.groups))
        self.out = nn.Conv2d(c.coarse, c.hidden, 1)
        self.merge = nn.Conv2d(c.hidden, c.hidden, 3, padding=1)

    def forward(self, volume: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Affine flow (B, 2, h, w) in cells and hidden state (B, hidden, h, w) that knows what departs from it.

        volume: (B, h w, h w) correlations. context: (B, hidden, h, w).
        """
        rows, columns = context.shape[-2:]
        with torch.autocast(context.device.type, enabled=False):
            matches, spread = self._match(volume.float(), rows, columns)
            clues = torch.cat([matches, spread], dim=1)
            trust = torch.sigmoid(self.trust(torch.cat([context.float(), clues / 4], dim=1)))
            affine = fit_affine_flow(matches, trust)
        clues = torch.cat([clues / 4, affine / 4, trust], dim=1)  # displacements are a few cells: inputs near one
        joined = F.relu(context + self.clues(clues))
        wide = self.out(self.wide(F.relu(self.into(joined))))
        wide = F.interpolate(wide, scale_factor=2.0, mode="bilinear", align_corners=False)
        hidden = F.relu(self.merge(joined) + wide)
        return affine, torch.tanh(hidden)

    def _match(self, volume: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Expected displacement (B, 2, h, w) and its standard deviation (B, 1, h, w), in cells, by softmax."""
        own = cell_grid(rows, columns, volume.device)
        places = own.flatten(2).squeeze(0).t()
        moments = torch.cat([places, places.square().sum(1, keepdim=True)], dim=1)
        # Without a prior, a cell that matches nothing "moves" to the image's centre; with one it stays where it is.
        prior = torch.cdist(places, places).square() * (-0.5 * torch.exp(-2 * self.log_reach))
        chance = torch.softmax(volume * self.log_temperature.exp() + prior, dim=-1)
        found = (chance @ moments).transpose(1, 2).reshape(-1, 3, rows, columns)
        mean = found[:, :2]
        variance = found[:, 2:] - mean.square().sum(1, keepdim=True)
        return mean - own, (variance.clamp(min=0) + 0.01).sqrt()


def fit_affine_flow(flow: Tensor, weight: Tensor) -> Tensor:
    """The affine field (B, 2, h, w) nearest to ``flow`` in weighted least squares; weight (B, 1, h, w) above 0.

    A little Tikhonov term keeps the slopes finite where only a few cells carry weight.
    """
    _, _, rows, columns = flow.shape
    own = cell_grid(rows, columns, flow.device)
    half = max(rows, columns) / 2
    centre = own.new_tensor([(columns - 1) / 2, (rows - 1) / 2]).view(1, 2, 1, 1)
    basis = torch.cat([(own - centre) / half, torch.ones_like(own[:, :1])], dim=1).flatten(2)  # (1, 3, h w)
    weighted = basis * (weight / weight.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)).flatten(2)
    normal = weighted @ basis.transpose(1, 2)
    ridge = torch.diag(normal.new_tensor([1e-2, 1e-2, 1e-4]))
    slopes = torch.linalg.solve(normal + ridge, weighted @ flow.flatten(2).transpose(1, 2))  # (B, 3, 2)
    return (slopes.transpose(1, 2) @ basis).view_as(flow)


class Update(nn.Module):
    """One refinement step: correlations around the present flow, hidden state, and what to change."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        h = config.hidden
        # Channels stay multiples of 16 wherever a convolution is wide: others cost CPUs a rearrangement each.
        self.correlation = nn.Conv2d(config.levels * (2 * config.radius + 1) ** 2 + 2, h, 1)
        self.motion = nn.Conv2d(h, h, 3, padding=1)
        self.wide = nn.Sequential(
            nn.Conv2d(2 * h, config.width, 2, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(config.width, config.width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(config.width, 2 * h, 3, padding=1),
        )
        self.gates = nn.Conv2d(2 * h, 2 * h, 3, padding=1)
        self.head = nn.Sequential(nn.Conv2d(h, 2 * h, 1), nn.ReLU(inplace=True), nn.Conv2d(2 * h, 14, 1))
        nn.init.normal_(self.head[2].weight, std=1e-2)
        nn.init.zeros_(self.head[2].bias)

    def forward(self, hidden: Tensor, context: Tensor, windows: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """New hidden state and (B, 14, h, w): change of the flow, 2x2 finer offsets of it, 2x2 log-scales.

        context: (B, 2 hidden, h, w), the DRR's part of the gates. windows: looked-up correlations. flow: in cells.
        """
        motion = F.relu(self.correlation(torch.cat([windows, flow / 4], dim=1)))
        both = torch.cat([hidden, F.relu(self.motion(motion))], dim=1)
        wide = F.interpolate(self.wide(both), scale_factor=2.0, mode="bilinear", align_corners=False)
        update, candidate = (self.gates(both) + wide + context).chunk(2, dim=1)
        hidden = torch.lerp(hidden, torch.tanh(candidate), torch.sigmoid(update))
        return hidden, self.head(hidden)


class CompactFlow(nn.Module):
    """Flow from the DRR to the X-ray with its uncertainty; see ``FlowNetwork`` for the call.

    Images are expected normalised (about zero mean and unit spread inside the valid field) and bone bright.
    """

    def __init__(self, config: CompactConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or CompactConfig()
        self.trunk = Trunk(c)
        self.feature = nn.Conv2d(c.width, c.features, 1)
        self.context = nn.Conv2d(c.width, c.hidden, 1)
        self.gate_context = nn.Conv2d(c.width, 2 * c.hidden, 1)
        self.first = FirstFlow(c)
        self.update = Update(c)
        self.to(memory_format=torch.channels_last)  # a tenth to a third faster than the default on CPUs with AVX2

    def encode(self, xray: Tensor) -> EncodedImage:
        """Features of X-rays (M, 1, H, W) for any number of later calls."""
        return EncodedImage((self.feature(self._padded_trunk(xray)),), (xray.shape[-2], xray.shape[-1]))

    def _padded_trunk(self, image: Tensor) -> Tensor:
        return self.trunk(pad_to_multiple(image, MULTIPLE))

    def forward(
        self,
        drr: Tensor,
        xray: Tensor | EncodedImage,
        iterations: int | None = None,
        initial_flow: Tensor | None = None,
        xray_index: Tensor | None = None,
        points: Tensor | None = None,
        matching: list[Tensor] | None = None,
    ) -> list[FlowEstimate]:
        """``iterations`` + 1 estimates, the first flow's and one a step; ``FlowNetwork.__call__`` gives the shapes.

        ``matching``, where a list is given, receives the logits (B, h w, h w) of matching every cell with every other,
        for a loss on them. Raises InputError for images of different size or an unclear pairing.
        """
        encoded = xray if isinstance(xray, EncodedImage) else self.encode(xray)
        check_pair(drr, encoded.size, encoded.maps[0].shape[0], xray_index, self.config.channels)
        target = encoded.take(xray_index).maps[0]
        trunk = self._padded_trunk(drr)
        context, gate_context = F.relu(self.context(trunk)), self.gate_context(trunk)
        pyramid = CorrelationPyramid(self.feature(trunk), target, self.config.levels, self.config.radius)

        rows, columns = trunk.shape[-2:]
        if matching is not None:
            matching.append(pyramid.levels[0].volume * self.first.log_temperature.exp())
        flow, hidden = self.first(pyramid.levels[0].volume, context)
        if initial_flow is not None:
            flow = shrink_flow(initial_flow, encoded.size, (rows, columns), STRIDE)
        own = cell_grid(rows, columns, drr.device)

        change = self.update.head(hidden).float()
        flow = flow + change[:, :2]
        estimates = [self._estimate(flow, change[:, 2:], encoded.size, points)]
        for _ in range(self.config.iterations if iterations is None else iterations):
            flow = flow.detach()  # a step learns from its own error, not through where it looked (RAFT, section 3.3)
            hidden, change = self.update(hidden, gate_context, pyramid.look_up(flow + own), flow)
            change = change.float()
            flow = flow + change[:, :2]
            estimates.append(self._estimate(flow, change[:, 2:], encoded.size, points))
        return estimates

    @staticmethod
    def _estimate(flow: Tensor, finer: Tensor, size: tuple[int, int], points: Tensor | None) -> FlowEstimate:
        """Flow in cells (B, 2, h, w) and its 2x2 finer offsets and log-scales (B, 12, h, w), as pixels at 1/4."""
        padded = (flow.shape[-2] * STRIDE, flow.shape[-1] * STRIDE)
        finer = F.pixel_shuffle(finer, 2)
        double = F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)
        log_scale = LOG_SCALE_BOUND * torch.tanh((finer[:, 2:] * 4 + 2) / LOG_SCALE_BOUND)
        quarter = torch.cat([(double + finer[:, :2]) * STRIDE, log_scale], dim=1)
        if points is None:
            full = enlarge(quarter, padded, size)
            return FlowEstimate(full[:, :2], full[:, 2:])
        values = sample_at_points(quarter, points, padded)
        return FlowEstimate(values[..., :2], values[..., 2])
