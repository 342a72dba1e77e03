"""PointFlow: a recurrent flow network that lives on the contour points instead of on the pixel grid.

PPC asks for one number a contour point: how far its contour moved along its normal. PointFlow finds just that. It keeps
what makes RAFT (Teed and Deng, ECCV 2020) work - correlations computed once, looked up around the present estimate, a
recurrent update with shared weights, a loss on every step - and adds what pixels cannot know: all points belong to one
rigid bone. After every update the flow of all points is explained by one small rigid motion (linearised projection,
weighted by the predicted uncertainty, as PPC will do), and the next look-up happens both where the point's own estimate
lies and where the rigid motion would put it. X-rays overlap, so a point often has several good matches; which one is
right is decided together. The correlations are those of gradient patches (``edge_profiles``): meaningful without any
training, so that only the decision has to be learned, from few samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .edge_profiles import CHANNELS, ProfileSettings, edge_profiles, edge_pyramid, read_profiles
from .flow_protocol import FlowEstimate

_UNIT = 8.0  # pixels
_FAR = 1e6  # pixels
_LENGTH = 50.0  # mm that a radian counts for
LOG_SCALE_BOUND = 4.0


@dataclass(frozen=True)
class PointFlowConfig:
    """channels: of the images. hidden: numbers a point remembers. window: steps looked up to either side. neighbours:
    points around each that it listens to. iterations: updates where the call is silent. The rest: ``ProfileSettings``.
    """

    channels: int = 2
    hidden: int = 96
    local: int = 32
    window: int = 5
    neighbours: int = 8
    iterations: int = 4
    scales: int = 3
    reach: int = 12
    along: int = 4
    across: int = 3

    @property
    def profile(self) -> ProfileSettings:
        """How evidence is gathered."""
        return ProfileSettings(self.scales, self.reach, self.along, self.across)


class ContourScene(NamedTuple):
    """What PointFlow is asked about.

    pixels, normals: (B, N, 2) in the image. points: (B, N, 3) in the camera frame, mm. intrinsics: (B, 3, 3).
    valid: (B, N) bool."""

    pixels: Tensor
    normals: Tensor
    points: Tensor
    intrinsics: Tensor
    valid: Tensor


class PointEstimate(NamedTuple):
    """One step's answer: ``along`` (B, N) the flow along the normals and ``log_scale`` (B, N) its uncertainty, pixels;
    ``rigid`` (B, N, 2) the flow of the rigid motion that explains all of it."""

    along: Tensor
    log_scale: Tensor
    rigid: Tensor


class EncodedEdges(NamedTuple):
    """X-rays as PointFlow remembers them."""

    pyramid: list[Tensor]
    size: tuple[int, int]


class RigidFit:
    """Explains flows along normals by one small rigid motion of all points, by damped robust least squares."""

    def __init__(self, scene: ContourScene, damping: float = 1e-3) -> None:
        points, k = scene.points.float(), scene.intrinsics.float()
        mask = scene.valid.float()[..., None]
        depth = points[..., 2:].clamp_min(1.0)
        focal = torch.stack([k[:, 0, 0], k[:, 1, 1]], -1)[:, None]
        centre = (points * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)
        arm = (points - centre) / _LENGTH
        slope = focal / depth  # pixels a mm
        lateral = points[..., :2] / depth * slope
        zero = torch.zeros_like(depth[..., 0])
        self.rows = []
        for axis in (0, 1):
            push = [zero, zero, -lateral[..., axis]]
            push[axis] = slope[..., axis]
            by = torch.stack(push, -1)
            self.rows.append(torch.cat([torch.linalg.cross(arm, by), by], -1))  # a . (w x r) = w . (r x a)
        u, v = self.rows
        self.along = scene.normals[..., :1] * u + scene.normals[..., 1:] * v
        self.valid = scene.valid.float()
        self.damping = damping

    def __call__(self, along: Tensor, log_scale: Tensor) -> Tensor:
        """Flow (B, N, 2) of the rigid motion nearest to ``along`` (B, N). Differentiable; in float32 under autocast."""
        with torch.autocast(along.device.type, enabled=False):
            return self._fitted(along.float(), log_scale.float())

    def _fitted(self, along: Tensor, log_scale: Tensor) -> Tensor:
        prior = self.valid / torch.exp(log_scale).clamp_min(0.5).square()
        weights = prior
        for step in range(3):
            unknowns = self._solve(along, weights)
            if step == 2:
                break
            with torch.no_grad():
                residual = ((self.along @ unknowns)[..., 0] - along).abs()
                spread = torch.where(self.valid > 0, residual, torch.nan).nanmedian(1, keepdim=True).values
                spread = (1.5 * spread).nan_to_num(1.0).clamp_min(0.5)
            weights = prior / (1 + (residual / (1.5 * spread)).square()).square()
        return torch.cat([row @ unknowns for row in self.rows], dim=-1)

    def _solve(self, along: Tensor, weights: Tensor) -> Tensor:
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-6)
        weighted = (self.along * weights[..., None]).transpose(1, 2)
        normal = weighted @ self.along
        trace = normal.diagonal(dim1=1, dim2=2).mean(1)
        ridge = (self.damping * trace + 1e-6)[:, None, None] * torch.eye(6, device=normal.device)
        matrix, right = normal + ridge, weighted @ along[..., None]
        if matrix.device.type == "cpu" or torch.is_grad_enabled():
            return torch.linalg.solve(matrix, right)
        return eliminated(matrix, right)


def eliminated(matrix: Tensor, right: Tensor) -> Tensor:
    """Solution (B, n, 1) of symmetric positive definite systems (B, n, n), (B, n, 1), by elimination without pivots:
    steps that a GPU may record, which it may not with a library's solver."""
    count = matrix.shape[-1]
    both = torch.cat([matrix, right], -1)
    unit = torch.eye(count, device=matrix.device, dtype=matrix.dtype)
    for row in range(count):
        pivot = both[:, row : row + 1] / both[:, row : row + 1, row : row + 1]
        both = both - (both[:, :, row : row + 1] - unit[:, row : row + 1]) * pivot
    return both[..., count:]


class PointFlow(nn.Module):
    """Flow of contour points along their normals, with its uncertainty."""

    def __init__(self, config: PointFlowConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or PointFlowConfig()
        evidence = c.scales * CHANNELS * (2 * c.window + 1)
        static = c.scales * 3 + 4
        h = c.hidden
        self.start = nn.Sequential(nn.Linear(static, h), nn.ReLU(), nn.Linear(h, 2 * h))
        self.sharpness = nn.Parameter(torch.full((c.scales,), 2.0))
        self.look = nn.Sequential(nn.Linear(2 * evidence + 5, 96), nn.ReLU(), nn.Linear(96, h), nn.ReLU())
        self.to_local = nn.Linear(h, c.local)
        self.to_all = nn.Linear(h, h)
        self.from_all = nn.Linear(2 * h, h)
        self.gates = nn.Linear(2 * h + h + c.local, 3 * h)
        self.candidate = nn.Linear(h, h)
        self.head = nn.Sequential(nn.Linear(h, h), nn.ReLU(), nn.Linear(h, 3))
        nn.init.normal_(self.head[2].weight, std=1e-2)
        nn.init.zeros_(self.head[2].bias)

    def encode(self, xray: Tensor) -> EncodedEdges:
        """Edges of X-rays (M, C, H, W) for any number of later calls."""
        return EncodedEdges(edge_pyramid(xray, self.config.scales), (xray.shape[-2], xray.shape[-1]))

    def forward(
        self,
        drr: Tensor,
        xray: Tensor | EncodedEdges,
        scene: ContourScene,
        iterations: int | None = None,
        xray_index: Tensor | None = None,
    ) -> list[PointEstimate]:
        """``iterations`` estimates, the best one last.

        drr: (B, C, H, W); xray: (B, C, H, W), or (M, C, H, W) with ``xray_index`` (B,), or what ``encode`` gave.
        """
        encoded = xray if isinstance(xray, EncodedEdges) else self.encode(xray)
        return self.follow(edge_pyramid(drr, self.config.scales), encoded, scene, iterations, xray_index)

    def follow(
        self,
        drr: list[Tensor],
        encoded: EncodedEdges,
        scene: ContourScene,
        iterations: int | None = None,
        xray_index: Tensor | None = None,
        only_valid: bool = False,
    ) -> list[PointEstimate]:
        """``forward`` from the edges of both images. With ``only_valid``, points that are not valid count for nothing
        anywhere, and maps may be padded with zeros (``size`` is the padded one then): nothing here looks at a value or
        moves to the CPU, so that a GPU may record it."""
        c = self.config
        scene = scene._replace(pixels=scene.pixels.float(), normals=scene.normals.float())
        profiles, strengths = edge_profiles(
            drr,
            encoded.pyramid,
            xray_index,
            encoded.size,
            scene.pixels,
            scene.normals,
            c.profile,
            scene.valid if only_valid else None,
        )
        profiles = profiles * scene.valid[..., None, None]
        fit = RigidFit(scene)
        near = self._neighbours(scene)
        hidden, gate_context = self.start(self._static(profiles, strengths, scene)).chunk(2, -1)
        hidden = torch.tanh(hidden)
        along = torch.zeros_like(profiles[..., 0, 0])
        log_scale = torch.full_like(along, 2.0)
        rigid_along = along
        estimates = []
        for _ in range(c.iterations if iterations is None else iterations):
            along, rigid_along = along.detach(), rigid_along.detach()
            numbers = torch.stack(
                [along / _UNIT, rigid_along / _UNIT, (along - rigid_along) / 2, log_scale.detach(), strengths[..., 0]],
                -1,
            ).clamp(-8, 8)
            own = read_profiles(profiles, along, c.scales, c.window)
            common = read_profiles(profiles, rigid_along, c.scales, c.window)
            seen = self.look(torch.cat([own, common, numbers], -1))
            hidden = self._listen(hidden, seen, gate_context, near, log_scale.detach(), scene.valid)
            change = self.head(hidden).float()
            # A point moves on from a mixture of its own estimate and what the others say.
            trust = torch.sigmoid(change[..., 2])
            along = torch.lerp(along, rigid_along, trust) + change[..., 0] * _UNIT
            log_scale = LOG_SCALE_BOUND * torch.tanh((4 * change[..., 1] + 1.5) / LOG_SCALE_BOUND)
            rigid = fit(along, log_scale)
            rigid_along = (rigid * scene.normals).sum(-1)
            estimates.append(PointEstimate(along, log_scale, rigid))
        return estimates

    def _static(self, profiles: Tensor, strengths: Tensor, scene: ContourScene) -> Tensor:
        """What does not change: contour strength, direction, depth, and the peaks of the whole profiles."""
        c = self.config
        score = profiles[:, :, ::CHANNELS]
        steps = torch.arange(-c.reach, c.reach + 1, device=score.device, dtype=score.dtype) / c.reach
        chance = torch.softmax(score * self.sharpness.exp()[:, None], dim=-1)
        peak = (chance * steps).sum(-1)
        valid = scene.valid.float()
        depth = scene.points[..., 2].float()
        mean = (depth * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp_min(1)
        scale = scene.intrinsics[:, :1, :1, None].float().abs().view(-1, 1) / mean / 2  # pixels a mm, about one
        numbers = [((depth - mean) / 50).clamp(-4, 4), scale.expand_as(depth)]
        return torch.cat([strengths, peak, score.amax(-1), torch.stack(numbers, -1), scene.normals], -1)

    def _neighbours(self, scene: ContourScene) -> Tensor:
        """Indices (B, N, neighbours) of the points drawn nearest."""
        with torch.no_grad():
            distance = torch.cdist(scene.pixels, scene.pixels)
            distance = distance.masked_fill(~scene.valid[:, None], _FAR)
            near, index = distance.topk(min(self.config.neighbours, distance.shape[-1]), largest=False)
            return torch.where(near < _FAR, index, index[..., :1])  # where there are too few, the nearest again

    def _listen(
        self, hidden: Tensor, seen: Tensor, gate_context: Tensor, near: Tensor, log_scale: Tensor, valid: Tensor
    ) -> Tensor:
        """One recurrent update (B, N, hidden) from what a point sees, its neighbours and all the others."""
        batch, count, _ = hidden.shape
        both = hidden + seen
        small = self.to_local(both)
        index = near.flatten(1)[..., None].expand(-1, -1, small.shape[-1])
        local = small.gather(1, index).view(batch, count, near.shape[-1], -1).amax(2)
        every = F.relu(self.to_all(both))
        weight = valid.float()
        sure = weight * torch.exp(-log_scale)
        mean = (every * sure[..., None]).sum(1) / sure.sum(1, keepdim=True).clamp_min(1e-6)
        largest = (every * weight[..., None]).amax(1)
        everybody = self.from_all(torch.cat([mean, largest], -1))[:, None].expand(-1, count, -1)
        gates = self.gates(torch.cat([hidden, seen, everybody, local], -1))
        update, reset, candidate = gates.chunk(3, -1)
        candidate = torch.tanh(candidate + gate_context + self.candidate(torch.sigmoid(reset) * hidden))
        return torch.lerp(hidden, candidate, torch.sigmoid(update))


def as_flow(estimate: PointEstimate, normals: Tensor) -> FlowEstimate:
    """The estimate as flow (B, N, 2): along the normal its own, across it that of the rigid motion."""
    excess = estimate.along - (estimate.rigid * normals).sum(-1)
    return FlowEstimate(estimate.rigid + excess[..., None] * normals, estimate.log_scale)
