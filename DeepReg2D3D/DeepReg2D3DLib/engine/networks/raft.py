"""RAFT: recurrent all-pairs field transforms (Teed and Deng, ECCV 2020), the flow network of the paper.

Jaganathan et al. (MICCAI 2021) find correspondences with RAFT: shared weights over N refinement steps, the last one
used. `full` has the published 5.3 M parameters (4.8 M and 0.5 M for upsampling), `small` 1.0 M, where images have three
channels as there; ours have one. Differences, all of them here:

- the context encoder's batch normalisation is group normalisation (as many parameters), so that an image's flow never
  depends on its batch;
- images are padded below and to the right, to multiples of 8;
- optionally a head predicts the log-scale of a Laplace distribution of the error, upsampled like the flow (after
  SEA-RAFT, Wang et al., ECCV 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

STRIDE = 8  # pixels a cell
LOG_SCALE_BOUND = 6.0  # the uncertainty stays within exp(-6) to exp(6) pixels


@dataclass(frozen=True)
class RaftConfig:
    """Sizes of RAFT; the defaults are `full` of the publication, ``RaftConfig.small()`` its small variant.

    hidden, context: state of the update operator and the context beside it. features: length of the correlated feature
    vectors. levels, radius: correlation pyramid and window. bottleneck: the small variant's encoders, update operator
    and bilinear upsampling. uncertainty: predict log-scales (else 0: 1 px). iterations: steps where the call is silent.
    """

    hidden: int = 128
    context: int = 128
    features: int = 256
    levels: int = 4
    radius: int = 4
    bottleneck: bool = False
    uncertainty: bool = True
    channels: int = 2
    iterations: int = 12

    @staticmethod
    def small_sizes() -> dict[str, Any]:
        """What the published small variant changes."""
        return {"hidden": 96, "context": 64, "features": 128, "radius": 3, "bottleneck": True}

    @classmethod
    def small(cls, **changes: Any) -> RaftConfig:
        """The published small variant; ``changes`` override single fields."""
        return cls(**(cls.small_sizes() | changes))


def _instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels)


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(8, channels)


def _no_norm(channels: int) -> nn.Module:
    return nn.Identity()


class Residual(nn.Module):
    """Residual unit; as a bottleneck 1x1, 3x3, 1x1 with a quarter of the channels inside, else two 3x3."""

    def __init__(self, into: int, out: int, stride: int, norm: Callable[[int], nn.Module], bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            shapes = [(into, out // 4, 1, 1), (out // 4, out // 4, 3, stride), (out // 4, out, 1, 1)]
        else:
            shapes = [(into, out, 3, stride), (out, out, 3, 1)]
        layers: list[nn.Module] = []
        for source, target, kernel, step in shapes:
            layers += [nn.Conv2d(source, target, kernel, step, kernel // 2), norm(target), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(nn.Conv2d(into, out, 1, stride), norm(out)) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.body(x))


class Encoder(nn.Sequential):
    """Image (B, C, H, W) to a map (B, out, H/8, W/8): a 7x7 convolution and six residual units."""

    def __init__(self, config: RaftConfig, out: int, norm: Callable[[int], nn.Module]) -> None:
        widths = (32, 32, 64, 96) if config.bottleneck else (64, 64, 96, 128)
        layers: list[nn.Module] = [
            nn.Conv2d(config.channels, widths[0], 7, 2, 3),
            norm(widths[0]),
            nn.ReLU(inplace=True),
        ]
        for into, width, stride in zip(widths[:-1], widths[1:], (1, 2, 2), strict=True):
            layers.append(Residual(into, width, stride, norm, config.bottleneck))
            layers.append(Residual(width, width, 1, norm, config.bottleneck))
        layers.append(nn.Conv2d(widths[-1], out, 1))
        super().__init__(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class MotionEncoder(nn.Module):
    """Looked-up correlations and the present flow (B, 2, h, w) to motion features (B, ``channels``, h, w)."""

    def __init__(self, config: RaftConfig) -> None:
        super().__init__()
        looked_up = config.levels * (2 * config.radius + 1) ** 2
        if config.bottleneck:
            self.correlation = nn.Sequential(nn.Conv2d(looked_up, 96, 1), nn.ReLU(inplace=True))
            flow_widths, merged, out = (64, 32), 128, 80
        else:
            self.correlation = nn.Sequential(
                nn.Conv2d(looked_up, 256, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(256, 192, 3, padding=1),
                nn.ReLU(inplace=True),
            )
            flow_widths, merged, out = (128, 64), 256, 126
        self.flow = nn.Sequential(
            nn.Conv2d(2, flow_widths[0], 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(flow_widths[0], flow_widths[1], 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.merge = nn.Sequential(nn.Conv2d(merged, out, 3, padding=1), nn.ReLU(inplace=True))
        self.channels = out + 2

    def forward(self, windows: Tensor, flow: Tensor) -> Tensor:
        merged = self.merge(torch.cat([self.correlation(windows), self.flow(flow)], dim=1))
        return torch.cat([merged, flow.to(merged.dtype)], dim=1)


class ConvGru(nn.Module):
    """Gated recurrent unit whose gates are convolutions with one kernel (rows, columns)."""

    def __init__(self, hidden: int, inputs: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.gates = nn.Conv2d(hidden + inputs, 2 * hidden, kernel, padding=padding)
        self.candidate = nn.Conv2d(hidden + inputs, hidden, kernel, padding=padding)

    def forward(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        update, reset = torch.sigmoid(self.gates(torch.cat([hidden, inputs], dim=1))).chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat([reset * hidden, inputs], dim=1)))
        return torch.lerp(hidden, candidate, update)


class UpdateOperator(nn.Module):
    """The recurrent step that all iterations share: hidden state, and the change of the flow read from it."""

    def __init__(self, config: RaftConfig) -> None:
        super().__init__()
        self.motion = MotionEncoder(config)
        inputs = config.context + self.motion.channels
        kernels = [(3, 3)] if config.bottleneck else [(1, 5), (5, 1)]
        self.grus = nn.ModuleList(ConvGru(config.hidden, inputs, kernel) for kernel in kernels)
        wide = 128 if config.bottleneck else 256
        self.flow_head = _head(config.hidden, wide, 2, 3)

    def forward(self, hidden: Tensor, context: Tensor, windows: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """New hidden state and change of the flow (B, 2, h, w) in cells."""
        inputs = torch.cat([context, self.motion(windows, flow)], dim=1)
        for gru in self.grus:
            hidden = gru(hidden, inputs)
        return hidden, self.flow_head(hidden)


def _head(into: int, wide: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, wide, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(wide, out, kernel, padding=kernel // 2)
    )


def upsample_convex(coarse: Tensor, mask: Tensor) -> Tensor:
    """Every fine pixel as a convex combination of the 3x3 cells around its own (RAFT, section 3.3).

    coarse: (B, C, h, w). mask: (B, 9 * 64, h, w) logits. Returns (B, C, 8 h, 8 w) float32. Cells beyond the edge
    repeat the edge (the publication has zeros there, which pull the flow at the rim to zero).
    """
    batch, channels, rows, columns = coarse.shape
    weights = torch.softmax(mask.float().view(batch, 1, 9, STRIDE, STRIDE, rows, columns), dim=2)
    around = F.unfold(F.pad(coarse.float(), (1, 1, 1, 1), mode="replicate"), 3)
    around = around.view(batch, channels, 9, 1, 1, rows, columns)
    fine = (weights * around).sum(dim=2).permute(0, 1, 4, 2, 5, 3)
    return fine.reshape(batch, channels, STRIDE * rows, STRIDE * columns)


class Raft(nn.Module):
    """Flow from the DRR to the X-ray by RAFT; see ``FlowNetwork`` for the call.

    Images are expected normalised (about zero mean and unit spread inside the valid field) and bone bright.
    """

    def __init__(self, config: RaftConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or RaftConfig()
        self.feature_encoder = Encoder(c, c.features, _instance_norm)
        self.context_encoder = Encoder(c, c.hidden + c.context, _no_norm if c.bottleneck else _group_norm)
        self.update = UpdateOperator(c)
        self.mask_head = None if c.bottleneck else _head(c.hidden, 256, 9 * STRIDE**2, 1)
        self.scale_head = _head(c.hidden, 128, 1, 3) if c.uncertainty else None

    def encode(self, xray: Tensor) -> EncodedImage:
        """Features of X-rays (M, 1, H, W) for any number of later calls."""
        features = self.feature_encoder(pad_to_multiple(xray, STRIDE))
        return EncodedImage((features,), (xray.shape[-2], xray.shape[-1]))

    def forward(
        self,
        drr: Tensor,
        xray: Tensor | EncodedImage,
        iterations: int | None = None,
        initial_flow: Tensor | None = None,
        xray_index: Tensor | None = None,
        points: Tensor | None = None,
    ) -> list[FlowEstimate]:
        """One ``FlowEstimate`` a step; ``FlowNetwork.__call__`` describes the arguments and shapes.

        Raises InputError for images of different size or an unclear pairing.
        """
        encoded = xray if isinstance(xray, EncodedImage) else self.encode(xray)
        check_pair(drr, encoded.size, encoded.maps[0].shape[0], xray_index, self.config.channels)
        padded = pad_to_multiple(drr, STRIDE)
        reference, target = self.feature_encoder(padded), encoded.take(xray_index).maps[0]
        pyramid = CorrelationPyramid(reference, target, self.config.levels, self.config.radius)
        hidden, context = self.context_encoder(padded).split([self.config.hidden, self.config.context], dim=1)
        hidden, context = torch.tanh(hidden), F.relu(context)

        rows, columns = reference.shape[-2:]
        own = cell_grid(rows, columns, drr.device)
        if initial_flow is None:
            flow = own.new_zeros(drr.shape[0], 2, rows, columns)
        else:
            flow = shrink_flow(initial_flow, encoded.size, (rows, columns), STRIDE)
        estimates = []
        for _ in range(self.config.iterations if iterations is None else iterations):
            flow = flow.detach()  # a step learns from its own error, not through where it looked (RAFT, section 3.3)
            hidden, change = self.update(hidden, context, pyramid.look_up(flow + own), flow)
            flow = flow + change.float()
            estimates.append(self._estimate(flow, hidden, encoded.size, points))
        return estimates

    def _estimate(self, flow: Tensor, hidden: Tensor, size: tuple[int, int], points: Tensor | None) -> FlowEstimate:
        """Flow in cells (B, 2, h, w) as pixels of the image, upsampled, with its log-scale."""
        coarse = flow * STRIDE
        if self.scale_head is None:
            coarse = torch.cat([coarse, torch.zeros_like(coarse[:, :1])], dim=1)
        else:
            raw = self.scale_head(hidden).float()
            coarse = torch.cat([coarse, LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND)], dim=1)
        padded = (flow.shape[-2] * STRIDE, flow.shape[-1] * STRIDE)
        if self.mask_head is None:
            fine = coarse if points is not None else enlarge(coarse, padded, padded)
        else:
            # A quarter balances the gradients of mask and flow, as published.
            fine = upsample_convex(coarse, 0.25 * self.mask_head(hidden))
        if points is not None:
            values = sample_at_points(fine, points, padded)
            return FlowEstimate(values[..., :2], values[..., 2])
        fine = fine[..., : size[0], : size[1]]
        return FlowEstimate(fine[:, :2], fine[:, 2:])
