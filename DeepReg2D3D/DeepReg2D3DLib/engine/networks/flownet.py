"""FlowNetS and FlowNetC (Dosovitskiy et al., ICCV 2015), the flow networks of the paper's earlier systems.

An encoder down to 1/64 resolution and a decoder that predicts flow at 1/64, 1/32, ... 1/4. FlowNetS sees both images
stacked; FlowNetC encodes each image by itself to 1/8 and correlates the two maps over displacements of up to 20 cells,
every second one. ``width`` 1.0 is the publication (38.7 and 39.2 M parameters with images of three channels); ours is
3/8 of it, about 5 M, the size of RAFT.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .flow_protocol import EncodedImage, FlowEstimate, check_pair, enlarge, pad_to_multiple, sample_at_points

MULTIPLE = 64  # the coarsest map's stride: images are padded to it
FLOW_UNIT = 20.0  # pixels: outputs are in this unit, as published
REACH, SPACING = 20, 2  # cells: the correlation's largest displacement and its step
LOG_SCALE_BOUND = 6.0  # the uncertainty stays within exp(-6) to exp(6) pixels


@dataclass(frozen=True)
class FlowNetConfig:
    """Which FlowNet: correlation (FlowNetC) or not (FlowNetS), its width as a share of the published, image channels.

    uncertainty: predict a log-scale beside every flow (else 0: 1 px).
    """

    correlation: bool = True
    width: float = 0.375
    uncertainty: bool = True
    channels: int = 2

    def channels_of(self, published: int) -> int:
        """Channels in place of a published number of them."""
        return max(8, round(published * self.width))


def _convolution(into: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, kernel, stride, kernel // 2), nn.LeakyReLU(0.1, inplace=True))


def _deconvolution(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(into, out, 4, 2, 1, bias=False), nn.LeakyReLU(0.1, inplace=True))


def correlate(reference: Tensor, target: Tensor, reach: int = REACH, spacing: int = SPACING) -> Tensor:
    """Mean products of features (B, C, h, w) over a square of displacements: (B, (2 reach / spacing + 1)^2, h, w).

    Computed in float32, row displacements outermost; features beyond the edge are zero.
    """
    with torch.autocast(reference.device.type, enabled=False):
        reference, target = reference.float(), F.pad(target.float(), (reach,) * 4)
        columns = reference.shape[-1]
        rows = []
        for dv in range(0, 2 * reach + 1, spacing):
            band = target[:, :, dv : dv + reference.shape[-2]]
            shifted = band.unfold(3, columns, spacing)  # (B, C, h, displacements, w)
            rows.append(torch.einsum("bchw,bchdw->bdhw", reference, shifted) / reference.shape[1])
        return torch.cat(rows, dim=1)


class Decoder(nn.Module):
    """Flow at every scale from coarse to fine, from the encoder's maps at 1/64 to 1/4."""

    def __init__(self, config: FlowNetConfig) -> None:
        super().__init__()
        w = config.channels_of
        outputs = 3 if config.uncertainty else 2
        skips = [w(512), w(512), w(256), w(128)]
        ups = [w(512), w(256), w(128), w(64)]
        widths = [w(1024)] + [skip + up + outputs for skip, up in zip(skips, ups, strict=True)]
        self.predict = nn.ModuleList(nn.Conv2d(width, outputs, 3, padding=1, bias=False) for width in widths)
        self.up = nn.ModuleList(_deconvolution(width, up) for width, up in zip(widths, ups, strict=False))
        self.up_flow = nn.ModuleList(nn.ConvTranspose2d(outputs, outputs, 4, 2, 1, bias=False) for _ in ups)

    def forward(self, coarsest: Tensor, skips: list[Tensor]) -> list[Tensor]:
        """(B, 2 or 3, h, w) a scale, in units of 20 px. skips: the encoder's maps at 1/32, 1/16, 1/8, 1/4."""
        features = coarsest
        predictions = [self.predict[0](features)]
        for level, skip in enumerate(skips):
            features = torch.cat([skip, self.up[level](features), self.up_flow[level](predictions[-1])], dim=1)
            predictions.append(self.predict[level + 1](features))
        return predictions


class FlowNet(nn.Module):
    """Flow from the DRR to the X-ray by FlowNetC or FlowNetS; see ``FlowNetwork`` for the call.

    Five estimates, from 1/64 to 1/4 resolution. There is no recurrence: ``iterations`` changes nothing.
    """

    def __init__(self, config: FlowNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FlowNetConfig()
        w = config.channels_of
        images = config.channels if config.correlation else 2 * config.channels
        self.first = nn.ModuleList([_convolution(images, w(64), 7, 2), _convolution(w(64), w(128), 5, 2)])
        self.third = _convolution(w(128), w(256), 5, 2)
        if config.correlation:
            self.redirect = _convolution(w(256), w(32), 1)
            matched = (2 * REACH // SPACING + 1) ** 2 + w(32)
        else:
            self.redirect, matched = None, w(256)
        self.stages = nn.ModuleList([_convolution(matched, w(256))])
        widths = [w(256), w(512), w(512), w(1024)]
        for into, out in pairwise(widths):
            self.stages.append(nn.Sequential(_convolution(into, out, stride=2), _convolution(out, out)))
        self.decoder = Decoder(config)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, 0.1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def encode(self, xray: Tensor) -> EncodedImage:
        """FlowNetC: features of X-rays (M, C, H, W) at 1/8. FlowNetS sees pairs only: the padded images themselves."""
        size = (xray.shape[-2], xray.shape[-1])
        padded = pad_to_multiple(xray, MULTIPLE)
        if not self.config.correlation:
            return EncodedImage((padded,), size)
        return EncodedImage((self.third(self._quarter(padded)),), size)

    def _quarter(self, image: Tensor) -> Tensor:
        for layer in self.first:
            image = layer(image)
        return image

    def forward(
        self,
        drr: Tensor,
        xray: Tensor | EncodedImage,
        iterations: int | None = None,
        initial_flow: Tensor | None = None,
        xray_index: Tensor | None = None,
        points: Tensor | None = None,
    ) -> list[FlowEstimate]:
        """Five estimates, coarse to fine; ``FlowNetwork.__call__`` describes the arguments and shapes.

        Raises InputError for images that don't fit and for an initial flow, which FlowNet cannot use.
        """
        if initial_flow is not None:
            raise InputError("FlowNet predicts the whole flow at once and takes no initial flow: call it without one.")
        encoded = xray if isinstance(xray, EncodedImage) else self.encode(xray)
        check_pair(drr, encoded.size, encoded.maps[0].shape[0], xray_index, self.config.channels)
        other = encoded.take(xray_index).maps[0]
        padded = pad_to_multiple(drr, MULTIPLE)
        if self.redirect is None:
            quarter = self._quarter(torch.cat([padded, other], dim=1))
            eighth = self.third(quarter)
        else:
            quarter = self._quarter(padded)
            features = self.third(quarter)
            matched = F.leaky_relu(correlate(features, other), 0.1)
            redirected = self.redirect(features)
            eighth = torch.cat([redirected, matched.to(redirected.dtype)], dim=1)
        maps = [quarter]
        for stage in self.stages:
            eighth = stage(eighth)
            maps.append(eighth)
        predictions = self.decoder(maps[-1], maps[-2::-1])
        padded_size = (padded.shape[-2], padded.shape[-1])
        return [self._estimate(prediction.float(), padded_size, encoded.size, points) for prediction in predictions]

    def _estimate(
        self, prediction: Tensor, padded: tuple[int, int], size: tuple[int, int], points: Tensor | None
    ) -> FlowEstimate:
        flow = prediction[:, :2] * FLOW_UNIT
        if self.config.uncertainty:
            log_scale = LOG_SCALE_BOUND * torch.tanh(prediction[:, 2:] / LOG_SCALE_BOUND)
        else:
            log_scale = torch.zeros_like(flow[:, :1])
        both = torch.cat([flow, log_scale], dim=1)
        if points is None:
            full = enlarge(both, padded, size)
            return FlowEstimate(full[:, :2], full[:, 2:])
        values = sample_at_points(both, points, padded)
        return FlowEstimate(values[..., :2], values[..., 2])
