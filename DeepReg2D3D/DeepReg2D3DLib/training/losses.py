"""Training losses: flow at the contour points, and the registration error after a PPC step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..engine.networks.point_flow import PointEstimate
from ..engine.poses import transform_points

SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE = -3.0, 4.0


def _masked_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp_min(1e-6)


def flow_loss(
    flows: Sequence[Tensor],
    log_scales: Sequence[Tensor] | None,
    target: Tensor,
    normals: Tensor,
    weights: Tensor,
    *,
    gamma: float = 0.8,
    normal_share: float = 1.0,
    full_share: float = 0.3,
    plain_share: float = 0.1,
) -> Tensor:
    """Sequence loss on sparse flow: sum_k gamma^(N - k) of the error of step k (Jaganathan et al. 2021; RAFT).

    Only the component along the contour's normal enters PPC, and the label (the same 3D point under both poses) slides
    along the visible contour at large offsets; so the normal component carries the loss (``normal_share``), and the
    whole vector ``full_share`` of it. With ``log_scales`` the error is the negative log-likelihood of a Laplace
    distribution, whose scale the network predicts, plus ``plain_share`` of the plain error, which keeps gradients alive
    where the network declares itself uncertain.

    flows: N tensors (B, P, 2), pixels. log_scales: N tensors (B, P) or None. target: (B, P, 2), pixels.
    normals: (B, P, 2), unit. weights: (B, P), 0 where a point does not count.
    """
    total = target.new_zeros(())
    count = len(flows)
    for k, flow in enumerate(flows):
        error = flow.float() - target
        along = (error * normals).sum(-1).abs()
        whole = (error.square().sum(-1) + 1e-6).sqrt()
        plain = normal_share * along + full_share * whole
        if log_scales is None:
            loss = plain
        else:
            scale = log_scales[k].float().clamp(SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE)
            loss = plain * torch.exp(-scale) + scale + plain_share * plain
        total = total + gamma ** (count - 1 - k) * _masked_mean(loss, weights)
    return total


def point_flow_loss(
    estimates: Sequence[PointEstimate],
    target: Tensor,
    normals: Tensor,
    weights: Tensor,
    *,
    gamma: float = 0.8,
    plain_share: float = 0.1,
    rigid_share: float = 0.3,
    largest: float = 60.0,
) -> Tensor:
    """Sequence loss on flow along the normals, as in ``flow_loss``, and on that of the rigid motion fitted to it.

    ``rigid_share`` of the plain error of the rigid flow teaches which points to believe. Errors count up to ``largest``
    pixels. target: (B, P, 2), pixels; normals: (B, P, 2); weights: (B, P).
    """
    total = target.new_zeros(())
    true = (target * normals).sum(-1)
    count = len(estimates)
    for k, estimate in enumerate(estimates):
        plain = (estimate.along.float() - true).abs().clamp(max=largest)
        rigid = ((estimate.rigid.float() * normals).sum(-1) - true).abs().clamp(max=largest)
        scale = estimate.log_scale.float()
        loss = plain * torch.exp(-scale) + scale + plain_share * plain + rigid_share * rigid
        total = total + gamma ** (count - 1 - k) * _masked_mean(loss, weights)
    return total


def matching_loss(
    logits: Tensor, pixels: Tensor, target: Tensor, weights: Tensor, size: tuple[int, int], stride: int = 8
) -> Tensor:
    """Cross-entropy of matching each point's cell with the cells about its true place (as in LoFTR, GMFlow).

    A flow loss reaches the features only through a softmax that is flat at first; naming the right cell teaches them in
    far fewer samples. The truth is spread bilinearly over the four nearest cells. Points beyond the image don't count.

    logits: (B, h w, h w). pixels: (B, P, 2). target: (B, P, 2) true flow, pixels. weights: (B, P).
    size: (rows, columns) of the image; the maps cover it padded to whole cells of ``stride`` pixels.
    """
    columns = size[1]
    # The networks pad to 16 pixels: the maps may be a cell larger than the image.
    across = -(-columns // 16) * 16 // stride
    down = logits.shape[1] // across
    limit = pixels.new_tensor([across - 1, down - 1])

    def in_cells(places: Tensor) -> Tensor:
        return (places + 0.5) / stride - 0.5

    own = torch.minimum(in_cells(pixels).round().clamp_min(0), limit)
    place = own + target / stride
    inside = ((place > -0.5) & (place < limit + 0.5)).all(-1)
    place = torch.minimum(place.clamp_min(0), limit)
    index = (own[..., 1] * across + own[..., 0]).long()
    chances = torch.log_softmax(logits.float(), dim=-1)
    chances = chances.gather(1, index[..., None].expand(-1, -1, logits.shape[-1]))
    low = torch.minimum(place.floor(), (limit - 1).clamp_min(0))
    share = place - low
    loss = torch.zeros_like(weights)
    for right in (0, 1):
        for below in (0, 1):
            part = (share[..., 0] if right else 1 - share[..., 0]) * (share[..., 1] if below else 1 - share[..., 1])
            cell = ((low[..., 1] + below) * across + low[..., 0] + right).long().clamp(0, logits.shape[-1] - 1)
            loss = loss - part * chances.gather(-1, cell[..., None]).squeeze(-1)
    return _masked_mean(loss, weights * inside)


def normal_error(flow: Tensor, target: Tensor, normals: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute flow error along the contour's normal, pixels."""
    return _masked_mean(((flow.float() - target) * normals).sum(-1).abs(), weights)


def end_point_error(flow: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean length of the flow error (EPE), pixels."""
    return _masked_mean((flow.float() - target).norm(dim=-1), weights)


def registration_loss(moved: Tensor, truth: Tensor, points: Tensor, valid: Tensor) -> Tensor:
    """L_reg: mean distance in mm of the points under the pose after the step from where they belong.

    moved, truth: (B, 4, 4) poses. points: (B, P, 3) in the CT, mm. valid: (B, P) weights of 0 or 1.
    """
    distance = (transform_points(moved, points) - transform_points(truth, points)).norm(dim=-1)
    return _masked_mean(distance, valid.to(distance))


def projection_loss(moved: Tensor, truth: Tensor, points: Tensor, valid: Tensor) -> Tensor:
    """Mean reprojection distance in mm of the points after the step (mRPD on the contour points).

    Depth is nearly invisible in one view, so this bounds what a single view can be asked to learn.
    """
    seen = transform_points(moved, points)
    ray = torch.nn.functional.normalize(seen, dim=-1)
    aim = transform_points(truth, points)
    distance = (aim - (aim * ray).sum(-1, keepdim=True) * ray).norm(dim=-1)
    return _masked_mean(distance, valid.to(distance))
