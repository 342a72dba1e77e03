"""What is trained: how each kind of network is asked about a batch of samples, and its losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from ..engine.errors import InputError
from ..engine.networks import POINT_ARCHITECTURES, build_network
from ..engine.networks.flow_protocol import FlowEstimate
from ..engine.networks.point_flow import ContourScene, as_flow
from ..engine.normalisation import normalise_for_network
from ..engine.poses import transform_points
from ..engine.weights import load_network
from .config import TrainConfig
from .losses import end_point_error, flow_loss, matching_loss, normal_error, point_flow_loss
from .photometric import DRR_PHOTOMETRIC, change_photometry, draw_photometric
from .samples import SampleBatch

FIRST_FLOW_SHARE = 0.1
"""Weight of the flow loss while the features are trained by matching."""


@dataclass(frozen=True)
class NetworkInput:
    """What the flow network is given, and what it should answer.

    drr (B, C, H, W), xray (M, C, H, W), xray_index (B,), pixels (B, N, 2), flow (B, N, 2), normals (B, N, 2),
    weights (B, N).
    """

    drr: Tensor
    xray: Tensor
    xray_index: Tensor
    pixels: Tensor
    flow: Tensor
    normals: Tensor
    weights: Tensor


def network_input(batch: SampleBatch, photometric: torch.Generator | None = None) -> NetworkInput:
    """Normalise a batch for the network, its two images changed photometrically first where a generator is given."""
    drr, xray = batch.drr, batch.xray
    if photometric is not None:
        noise = torch.Generator(drr.device)
        noise.manual_seed(int(torch.randint(2**31, (1,), generator=photometric)))
        drr = change_photometry(drr, None, draw_photometric(photometric, len(drr), DRR_PHOTOMETRIC), noise)
        xray = change_photometry(xray, batch.mask, draw_photometric(photometric, len(xray)), noise)
    flow = batch.flow()
    weights = batch.weights()
    finite = torch.isfinite(flow).all(-1)
    return NetworkInput(
        normalise_for_network(drr),
        normalise_for_network(xray, batch.mask),
        batch.xray_index,
        batch.pixels(),
        torch.where(finite[..., None], flow, torch.zeros_like(flow)),
        batch.normals(),
        torch.where(finite, weights, torch.zeros_like(weights)),
    )


class Task(Protocol):
    """A kind of training."""

    def build(self) -> nn.Module:
        """The network to be trained, as it starts."""
        ...

    def losses(
        self, network: nn.Module, batch: SampleBatch, given: NetworkInput, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch at a training step, and numbers for the log."""
        ...

    def answer(self, network: nn.Module, batch: SampleBatch, given: NetworkInput) -> tuple[FlowEstimate, Tensor]:
        """Flow at the batch's points and the weights (B, N) that PPC should give them."""
        ...


def _errors(flow: Tensor, given: NetworkInput) -> dict[str, float]:
    with torch.no_grad():
        return {
            "normal": float(normal_error(flow, given.flow, given.normals, given.weights)),
            "epe": float(end_point_error(flow, given.flow, given.weights)),
        }


class DenseFlowTask:
    """Training of a network that maps two images to flow; supervised at the contour points."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def build(self) -> nn.Module:
        """See ``Task``."""
        return first_network(self.config)

    def losses(
        self, network: nn.Module, batch: SampleBatch, given: NetworkInput, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """See ``Task``."""
        config = self.config
        logits: list[Tensor] = []
        options = {"matching": logits} if config.matching_share > 0 else {}
        only_matching = bool(options) and step < config.matching_steps
        iterations = 0 if only_matching else config.iterations
        estimates = network(
            given.drr, given.xray, iterations, xray_index=given.xray_index, points=given.pixels, **options
        )
        loss = flow_loss(
            [e.flow for e in estimates],
            [e.log_scale for e in estimates],
            given.flow,
            given.normals,
            given.weights,
            gamma=config.gamma,
            normal_share=config.normal_share,
            full_share=config.full_share,
            plain_share=config.plain_share,
        )
        matching = loss.new_zeros(())
        if logits:
            matching = matching_loss(logits[0], given.pixels, given.flow, given.weights, batch.size)
            loss = (FIRST_FLOW_SHARE if only_matching else 1.0) * loss + config.matching_share * matching
        return loss, {"matching": float(matching.detach()), **_errors(estimates[-1].flow, given)}

    def answer(self, network: nn.Module, batch: SampleBatch, given: NetworkInput) -> tuple[FlowEstimate, Tensor]:
        """See ``Task``."""
        estimates = network(
            given.drr, given.xray, self.config.iterations, xray_index=given.xray_index, points=given.pixels
        )
        return estimates[-1], torch.exp(-estimates[-1].log_scale.double()) * batch.valid


class PointFlowTask:
    """Training of ``PointFlow``: the flow of contour points along their normals, with the 3D points known."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def build(self) -> nn.Module:
        """See ``Task``."""
        return first_network(self.config)

    def losses(
        self, network: nn.Module, batch: SampleBatch, given: NetworkInput, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """See ``Task``. A random part of the points is enough (they are in random order): it makes steps cheaper."""
        config = self.config
        batch, given = first_points(batch, given, config.train_points)
        scene = contour_scene(batch, given)
        estimates = network(given.drr, given.xray, scene, config.iterations, given.xray_index)
        loss = point_flow_loss(
            estimates, given.flow, given.normals, given.weights, gamma=config.gamma, plain_share=config.plain_share
        )
        return loss, _errors(as_flow(estimates[-1], scene.normals).flow, given)

    def answer(self, network: nn.Module, batch: SampleBatch, given: NetworkInput) -> tuple[FlowEstimate, Tensor]:
        """See ``Task``."""
        scene = contour_scene(batch, given)
        last = network(given.drr, given.xray, scene, self.config.iterations, given.xray_index)[-1]
        estimate = as_flow(last, scene.normals)
        return estimate, torch.exp(-2 * estimate.log_scale.double().clamp_min(-0.7)) * batch.valid


def first_network(config: TrainConfig) -> nn.Module:
    """The flow network as its training begins. Raises InputError where ``begin_with`` names none of its kind."""
    network = build_network(config.architecture, config.network)
    if config.begin_with:
        installed = load_network(config.begin_with).state_dict()
        if shapes_of(installed) != shapes_of(network.state_dict()):
            raise InputError(
                f"Training setting 'begin_with': the weights '{config.begin_with}' are of another network than the "
                f"'{config.architecture}' with {config.network} that is to be trained."
            )
        network.load_state_dict(installed)
    return network


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """What tells networks of other sizes apart."""
    return {name: value.shape for name, value in state.items()}


def contour_scene(batch: SampleBatch, given: NetworkInput) -> ContourScene:
    """What ``PointFlow`` is asked about a batch at its start poses."""
    points = transform_points(batch.start, batch.points.to(batch.start.dtype)).to(torch.float32)
    return ContourScene(given.pixels.float(), given.normals.float(), points, batch.intrinsics.float(), batch.valid)


def first_points(batch: SampleBatch, given: NetworkInput, count: int) -> tuple[SampleBatch, NetworkInput]:
    """The same batch with at most ``count`` points of each start."""
    batch = replace(
        batch, points=batch.points[:, :count], gradients=batch.gradients[:, :count], valid=batch.valid[:, :count]
    )
    given = replace(
        given,
        pixels=given.pixels[:, :count],
        flow=given.flow[:, :count],
        normals=given.normals[:, :count],
        weights=given.weights[:, :count],
    )
    return batch, given


def task_of(config: TrainConfig) -> Task:
    """The task that a configuration names."""
    return (PointFlowTask if config.architecture in POINT_ARCHITECTURES else DenseFlowTask)(config)
