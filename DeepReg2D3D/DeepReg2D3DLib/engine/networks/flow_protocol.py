"""What every optical flow network of the engine promises, and the pixel arithmetic that they share.

A flow network sees the DRR as the reference frame and finds, for each of its pixels, where that structure lies in the
X-ray: ``(u', v') = (u, v) + flow(u, v)`` (Jaganathan et al., MICCAI 2021, section 2). Pixel centres lie at integers.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


class FlowEstimate(NamedTuple):
    """One estimate of the flow from the DRR to the X-ray.

    flow: (B, 2, H, W), or (B, N, 2) where points were asked for: (du, dv) in pixels of the images given.
    log_scale: (B, 1, H, W) or (B, N): natural logarithm of the scale b, in pixels, of a Laplace distribution
        exp(-|e| / b) / (2 b) of each component's error e: the predicted uncertainty.
    """

    flow: Tensor
    log_scale: Tensor


class EncodedImage(NamedTuple):
    """An X-ray as a network remembers it, so that it is encoded once for all iterations and all its DRRs.

    maps: tensors with the images' batch first; what they hold is the network's own business.
    size: (rows, columns) of the image.
    """

    maps: tuple[Tensor, ...]
    size: tuple[int, int]

    def take(self, index: Tensor | None) -> EncodedImage:
        """The images numbered ``index`` (B,), in that order; all of them for None."""
        if index is None:
            return self
        return EncodedImage(tuple(part.index_select(0, index) for part in self.maps), self.size)


class FlowNetwork(Protocol):
    """The one way to call a flow network, whatever its architecture."""

    def encode(self, xray: Tensor) -> EncodedImage:
        """Encode X-rays (M, C, H, W) once, for any number of later calls."""
        ...

    def __call__(
        self,
        drr: Tensor,
        xray: Tensor | EncodedImage,
        iterations: int | None = None,
        initial_flow: Tensor | None = None,
        xray_index: Tensor | None = None,
        points: Tensor | None = None,
    ) -> list[FlowEstimate]:
        """Flow from each DRR to its X-ray, one estimate a refinement step, the best one last.

        drr: (B, C, H, W), as ``normalise_for_network`` gives it. xray: (B, C, H, W), or (M, C, H, W) with
        ``xray_index`` (B,) int64 naming each DRR's X-ray, or what ``encode`` gave. initial_flow: (B, 2, h, w) in pixels
        of the full image, at any resolution.
        points: (B, N, 2) pixels (u, v) of the DRR; the estimates are then sampled there instead of mapped densely.
        """
        ...


def check_pair(drr: Tensor, xray_size: tuple[int, int], xrays: int, index: Tensor | None, channels: int) -> None:
    """Refuse images that don't belong together, before any arithmetic hides the mistake (InputError)."""
    if drr.ndim != 4 or drr.shape[1] != channels:
        raise InputError(f"This flow network takes DRRs of shape (B, {channels}, H, W), found {tuple(drr.shape)}.")
    if tuple(drr.shape[-2:]) != tuple(xray_size):
        raise InputError(
            f"DRR and X-ray must have one size: the DRR has {drr.shape[-2]} rows x {drr.shape[-1]} columns, "
            f"the X-ray {xray_size[0]} x {xray_size[1]}. Render the DRR at the X-ray's size."
        )
    if index is None and xrays != drr.shape[0]:
        raise InputError(f"{drr.shape[0]} DRRs but {xrays} X-rays: name each DRR's X-ray with xray_index.")
    if index is not None and tuple(index.shape) != (drr.shape[0],):
        raise InputError(f"xray_index must name one X-ray for each of {drr.shape[0]} DRRs, found {tuple(index.shape)}.")


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sizes of (B, C, H, W) are multiples; pixel coordinates stay."""
    rows, columns = image.shape[-2:]
    below, right = -rows % multiple, -columns % multiple
    return F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image


def sample_at_points(grid: Tensor, points: Tensor, padded_size: tuple[int, int]) -> Tensor:
    """Bilinear values (B, N, C) of a map (B, C, h, w) that covers an image of ``padded_size`` (rows, columns).

    points: (B, N, 2) pixels (u, v) of that image. Beyond the outermost cell centres the map continues flat.
    """
    rows, columns = padded_size
    size = torch.tensor([columns, rows], dtype=points.dtype, device=points.device)
    where = (2 * points + 1) / size - 1
    values = F.grid_sample(grid.float(), where.float().unsqueeze(1), padding_mode="border", align_corners=False)
    return values.squeeze(2).transpose(1, 2)


def enlarge(grid: Tensor, padded_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The same map, bilinear, at every pixel: (B, C, rows, columns) of ``size`` without the padding."""
    full = F.interpolate(grid.float(), size=padded_size, mode="bilinear", align_corners=False)
    return full[..., : size[0], : size[1]]


def shrink_flow(flow: Tensor, size: tuple[int, int], cells: tuple[int, int], stride: int) -> Tensor:
    """A flow in pixels (B, 2, h, w), given at any resolution of an image of ``size``, as cells of ``stride`` pixels.

    Returns (B, 2, rows, columns) of ``cells``, in units of cells. The map given covers the image without padding.
    """
    rows, columns = cells
    v = torch.arange(rows, dtype=torch.float32, device=flow.device) * stride + (stride - 1) / 2
    u = torch.arange(columns, dtype=torch.float32, device=flow.device) * stride + (stride - 1) / 2
    centres = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1).reshape(1, -1, 2)
    values = sample_at_points(flow, centres.expand(flow.shape[0], -1, -1), size)
    return values.transpose(1, 2).reshape(-1, 2, rows, columns) / stride
