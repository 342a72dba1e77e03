"""Joint training: flow, weights of its correspondences and the PPC layer, judged by the pose that comes out.

The second stage of Jaganathan et al., MICCAI 2021: a weight network (PointNet++) sees all correspondences, PPC turns
them into a motion in closed form, and the registration error of the moved contour points flows back through the solver.
The flow network comes trained; on a CPU it stays as it is (``flow_rate`` 0), and the weights learn within minutes. PPC
is solved here without robust iterations, so that only the weights can tell right from wrong.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from ..engine.errors import InputError
from ..engine.networks import build_network
from ..engine.networks.flow_protocol import FlowEstimate
from ..engine.poses import transform_points, transform_vectors
from ..engine.ppc import SolverSettings
from ..engine.weighting import FEATURES, correspondence_features
from .checkpoint import load_checkpoint
from .config import TrainConfig
from .losses import normal_error
from .patch_task import PatchTask
from .ppc_step import point_distance, ppc_step, projection_distance
from .samples import SampleBatch, seen_at
from .tasks import NetworkInput, Task, first_points, shapes_of, task_of

PLAIN = SolverSettings(robust_iterations=0, damping=1e-3)
PATCHES = "patches"
"""The architecture that names DPPC's patch matching, which has nothing to train."""
INLIER_PX = 1.5
"""A correspondence off by this much along the normal should weigh exp(-1/2)."""


class JointTask:
    """Training of a weight network on a flow network's correspondences, through PPC.

    Its network is a ModuleDict of ``flow`` and ``weights``.
    """

    def __init__(self, config: TrainConfig, flow_task: Task) -> None:
        self.config, self.flow_task = config, flow_task

    def build(self) -> nn.ModuleDict:
        """Both networks, the flow's weights from the job in ``config.flow_from``.

        Raises InputError where that job has none, or trained another network.
        """
        flow = self.flow_task.build()
        if self.config.flow_from:
            flow.load_state_dict(_averaged_flow(Path(self.config.flow_from), self.config, flow))
        if self.config.flow_rate == 0:
            flow.requires_grad_(False)
        weights = build_network(self.config.weight_architecture, {"features": FEATURES, **self.config.weight_network})
        return nn.ModuleDict({"flow": flow, "weights": weights})

    def losses(
        self, network: nn.Module, batch: SampleBatch, given: NetworkInput, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """See ``Task``. Distances enter as log(1 + d / mm): a lost start must not outweigh all the others."""
        config = self.config
        batch, given = first_points(batch, given, config.joint_points)
        with torch.set_grad_enabled(config.flow_rate > 0):
            estimate, _ = self.flow_task.answer(network["flow"], batch, given)
        weights = self._weights(network["weights"], batch, given, estimate)
        moved = ppc_step(batch, batch.start, given.pixels + estimate.flow, weights, PLAIN)
        projected = projection_distance(moved, batch)
        registered = point_distance(moved, batch.truth, batch)
        motion = point_distance(moved, batch.start, batch)
        error = ((estimate.flow.float() - given.flow) * given.normals).sum(-1)
        right = torch.exp(-0.5 * (error / INLIER_PX).square()).detach()
        counted = (given.weights > 0).to(weights)
        chance = weights.clamp(1e-4, 1 - 1e-4)
        named = -(right * chance.log() + (1 - right) * (1 - chance).log())
        inliers = (named * counted).sum() / counted.sum().clamp_min(1)
        loss = (
            config.projection_share * torch.log1p(projected).mean()
            + config.registration_share * torch.log1p(registered).mean()
            + config.motion_share * torch.log1p(motion).mean()
            + config.inlier_share * inliers
        )
        if config.flow_rate > 0:
            loss = loss + self.flow_task.losses(network["flow"], batch, given, step)[0]
        record = {
            "normal": float(normal_error(estimate.flow.detach(), given.flow, given.normals, given.weights)),
            "projected_mm": float(projected.detach().median()),
            "inliers": float(inliers.detach()),
        }
        return loss, record

    def answer(self, network: nn.Module, batch: SampleBatch, given: NetworkInput) -> tuple[FlowEstimate, Tensor]:
        """See ``Task``."""
        estimate, _ = self.flow_task.answer(network["flow"], batch, given)
        return estimate, self._weights(network["weights"], batch, given, estimate)

    @staticmethod
    def _weights(network: nn.Module, batch: SampleBatch, given: NetworkInput, estimate: FlowEstimate) -> Tensor:
        pose = batch.start
        points = transform_points(pose, batch.points.to(pose)).to(torch.float32)
        gradients = transform_vectors(pose, batch.gradients.to(pose)).to(torch.float32)
        seen = seen_at(batch, given.pixels + estimate.flow)
        features = correspondence_features(
            points,
            gradients,
            batch.intrinsics.to(torch.float32),
            given.pixels.float(),
            estimate.flow.float(),
            estimate.log_scale.float(),
            seen,
            given.drr,
            given.xray[given.xray_index],
        )
        return network(points, features, batch.valid) * seen


def _averaged_flow(job: Path, config: TrainConfig, flow: nn.Module) -> dict[str, Tensor]:
    found = load_checkpoint(job / "checkpoint")
    if found is None:
        raise InputError(f"{job} holds no trained flow network: train one with stage 'flow' first.")
    tensors, description = found
    trained = description["config"]["architecture"]
    if trained != config.architecture:
        raise InputError(f"{job} trained '{trained}', and this job asks for '{config.architecture}'.")
    averaged = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
    if shapes_of(averaged) != shapes_of(flow.state_dict()):
        network = json.dumps(description["config"]["network"])
        raise InputError(
            f"{job} trained a network of other sizes than this job asks for. As flow_from give a job of stage 'flow', "
            f"and its sizes: --set network='{network}'."
        )
    return averaged


def joint_task(config: TrainConfig) -> Task:
    """The task of a configuration of either stage. Raises InputError for an unknown stage."""
    if config.stage == "flow":
        return task_of(config)
    if config.stage != "joint":
        raise InputError(f"Training stage '{config.stage}' is unknown: choose flow or joint.")
    if config.architecture == PATCHES:
        return JointTask(config, PatchTask())
    return JointTask(config, task_of(config))
