"""DPPC's correspondences: patches of depth-layered image gradients, matched along the contours' normals.

The contour points are sorted into layers of depth. For each layer the gradients of its surface points alone are
projected, so that a patch shows what lies at the depth of its point, undisturbed by structures in front and behind
(depth-aware gradient projection; Wang et al., "Dynamic 2-D/3-D rigid registration framework using point-to-plane
correspondence model", IEEE TMI 2017). The patch is then compared with the X-ray's gradient along the normal by
normalised gradient correlation, and the peak is placed between pixels by a parabola.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .camera import project
from .correspondences import CorrespondenceFinder, Matches, Scene, no_matches
from .image_gradient import image_gradient, smoothed
from .networks.replay import Replay, padded_map, padded_points, padded_side
from .poses import transform_points, transform_vectors


@dataclass(frozen=True)
class PatchSettings:
    """Lengths in pixels of the level."""

    half_size: int = 7
    """A patch reaches this far along the normal and the tangent: 15 x 15 pixels."""
    layers: int = 5
    layer_share: float = 0.5
    """Share of the depth-layered gradients in a patch; the rest is the gradient of the whole DRR."""
    layered_until: float = 0.5
    """Part of the registration that uses layers. While the pose is off, structures at other depths move apart from the
    point; once it is nearly right, they belong to the picture, and the whole DRR alone is free of bias."""
    smoothing: float = 1.0
    threshold: float = 0.35
    """Correlation below which a match counts for nothing."""
    least_valid: float = 0.6
    """Share of the patch that must be valid in the X-ray."""
    rival_distance: int = 4
    """A second peak at least this far from the best one makes the match ambiguous."""


class PatchMatching:
    """Finder of correspondences by depth-aware gradient patch matching, with heuristic weights."""

    def __init__(self, settings: PatchSettings | None = None) -> None:
        self.settings = settings or PatchSettings()
        self._replays: dict[int, Replay] = {}  # by how far they reach

    def find(self, scene: Scene) -> Matches:
        """Matches along the normals within ``scene.progress.search_px`` of where the points are drawn now."""
        return self.find_around(scene, scene.contour.pixels, scene.progress.search_px)

    def find_around(self, scene: Scene, centres: Tensor, search_px: float) -> Matches:
        """Matches along the normals within ``search_px`` of ``centres`` (M, 2), pixels of the X-ray."""
        if len(scene.contour) == 0:
            return no_matches(scene)
        settings = self.settings
        found, valid = scene.xray.gradient(settings.smoothing)
        reach = max(2, round(search_px))
        if scene.drr.device.type != "cpu" and self._layer_share(scene) == 0:
            along, weights, doubt = self._padded(scene, centres, found, valid, reach)
        else:
            templates = self._templates(scene)
            along, weights, doubt = patch_matches(centres, scene.normals, templates, found, valid, reach, settings)
        flow = centres - scene.contour.pixels + along[:, None] * scene.normals
        return Matches.from_flow(scene.contour, flow, weights, doubt)

    def _layer_share(self, scene: Scene) -> float:
        return self.settings.layer_share if scene.progress.fraction < self.settings.layered_until else 0.0

    def _padded(
        self, scene: Scene, centres: Tensor, found: Tensor, valid: Tensor, reach: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``patch_matches`` with points and images of a few sizes only: what a GPU recorded of it serves again."""
        settings, half = self.settings, self.settings.half_size

        def steps(whole: Tensor, gradient: Tensor, allowed: Tensor, *points: Tensor) -> tuple[Tensor, ...]:
            at, pixels, normals, counted = (each[0] for each in points)
            templates = unit_patches(sample_patches(whole, pixels, normals, half, half))
            return patch_matches(at, normals, templates, gradient, allowed, reach, settings, counted)

        side = padded_side(scene.size)
        whole = image_gradient(scene.drr, settings.smoothing)
        points = (centres, scene.contour.pixels, scene.normals, torch.ones_like(centres[:, 0]))
        answers = self._replays.setdefault(reach, Replay(steps))(
            *(padded_map(each, side) for each in (whole, found, valid)),
            *(padded_points(each.to(whole)[None]) for each in points),
        )
        return tuple(each[: len(centres)] for each in answers)

    def _templates(self, scene: Scene) -> Tensor:
        """Patches (M, A, B, 2) of the expected gradient around every contour point, in the frame of its normal."""
        settings = self.settings
        half = settings.half_size
        whole = image_gradient(scene.drr, settings.smoothing)
        layer_share = self._layer_share(scene)
        templates = torch.zeros(len(scene.contour), 2 * half + 1, 2 * half + 1, 2, device=whole.device)
        if layer_share < 1:
            patches = sample_patches(whole, scene.contour.pixels, scene.normals, half, half)
            templates += (1 - layer_share) * unit_patches(patches)
        if layer_share > 0:
            layers, layer_of_point = depth_layers(scene, settings.layers, settings.smoothing)
            for index in range(layers.shape[0]):
                chosen = (layer_of_point == index).nonzero()[:, 0]
                if len(chosen) == 0:
                    continue
                patches = sample_patches(
                    layers[index : index + 1], scene.contour.pixels[chosen], scene.normals[chosen], half, half
                )
                templates[chosen] += layer_share * unit_patches(patches)
        return templates


@dataclass(frozen=True)
class FlowCentredMatching:
    """Patch matching in a small window around another finder's flow; around the points themselves where that flow has
    little confidence."""

    flow: CorrespondenceFinder
    patches: PatchMatching = field(default_factory=PatchMatching)
    window_px: float = 5.0
    least_weight: float = 0.2

    def find(self, scene: Scene) -> Matches:
        """See ``CorrespondenceFinder``."""
        first = self.flow.find(scene)
        trusted = (first.weights >= self.least_weight)[:, None]
        centres = scene.contour.pixels + torch.where(trusted, first.flow, torch.zeros_like(first.flow))
        return self.patches.find_around(scene, centres, self.window_px)


def patch_matches(
    centres: Tensor,
    normals: Tensor,
    templates: Tensor,
    gradient: Tensor,
    valid: Tensor,
    reach: int,
    settings: PatchSettings,
    counted: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets (M,) along the normals in pixels, heuristic weights (M,), and doubt (M,) in place of a log-scale.

    centres, normals (M, 2); templates (M, A, A, 2) in the frames of the normals; gradient and ``valid`` of the X-ray as
    in ``match_scores``, as ``reach`` and ``counted``. Doubt, for weight networks, is 0 for a sure match and about 4 for
    a useless one.
    """
    half, least_valid = settings.half_size, settings.least_valid
    scores = match_scores(centres, normals, templates, gradient, valid, reach, half, least_valid, counted)
    offset, height, rival = best_offsets(scores, settings.rival_distance)
    distinctness = ((height - rival) / height.clamp_min(1e-6)).clamp(0, 1)
    strength = (height - settings.threshold).clamp_min(0) / (1 - settings.threshold)
    weights = strength * distinctness.clamp_min(0.05)
    return offset - reach, weights, -torch.log(weights.clamp_min(0.02))


def unit_patches(patches: Tensor) -> Tensor:
    """Patches (M, A, B, 2) of unit length."""
    return patches / patches.flatten(1).norm(dim=1).clamp_min(1e-9)[:, None, None, None]


def depth_layers(scene: Scene, count: int, smoothing: float) -> tuple[Tensor, Tensor]:
    """Gradient images (L, 2, H, W) of the surface points in each layer of depth; the layer (M,) of each contour point.

    The gradient of a line integral is the integral of the volume's gradient, which lies on its surfaces: so the
    projected gradients of the surface points, added up pixel by pixel, are the gradient of the DRR of their layer.
    """
    pose = scene.ct_to_camera.to(scene.surface.points)
    points = transform_points(pose, scene.surface.points)
    gradients = transform_vectors(pose, scene.surface.gradients)
    k = scene.camera.intrinsics.to(points)
    depth = points[:, 2]
    edges = scene.points_in_camera[:, 2].quantile(torch.linspace(0, 1, count + 1, device=depth.device))[1:-1]
    rows, columns = scene.size
    pixels = project(points, k)
    base = pixels.floor()
    inside = (depth > 1) & (base >= 0).all(-1) & (base[:, 0] < columns - 1) & (base[:, 1] < rows - 1)
    base, fraction = base[inside].to(torch.int64), (pixels - base)[inside]
    layer = torch.bucketize(depth[inside].contiguous(), edges)
    # A step of one pixel moves a point at depth z by z / f mm.
    drawn = gradients[inside, :2] * depth[inside, None] / torch.stack([k[0, 0], k[1, 1]])
    # Nearer surfaces cover more pixels with the same number of points.
    drawn = drawn / depth[inside, None] ** 2
    image = torch.zeros(2, count * rows * columns, device=points.device)
    first = (layer * rows + base[:, 1]) * columns + base[:, 0]
    a, b = fraction.unbind(-1)
    for dv, weight_v in ((0, 1 - b), (1, b)):
        for du, weight_u in ((0, 1 - a), (1, a)):
            share = (weight_u * weight_v)[:, None] * drawn
            for channel in range(2):
                image[channel].index_add_(0, first + dv * columns + du, share[:, channel])
    layers = image.reshape(2, count, rows, columns).transpose(0, 1)
    return smoothed(layers, max(smoothing, 0.7)), torch.bucketize(scene.points_in_camera[:, 2].contiguous(), edges)


def sample_patches(gradient: Tensor, pixels: Tensor, normals: Tensor, along: int, across: int) -> Tensor:
    """Gradient patches (M, 2 along + 1, 2 across + 1, 2): components along the normal and the tangent.

    gradient (1, 2, H, W); patches are centred at pixels (M, 2), their first axis runs along normals (M, 2), their
    second along the tangents (-n_v, n_u). Zero outside the image.
    """
    grid = _patch_grid(pixels, normals, along, across, gradient.shape[-2:])
    sampled = F.grid_sample(gradient, grid[None].flatten(2, 3), align_corners=True)[0]
    gu, gv = sampled.unflatten(-1, (2 * along + 1, 2 * across + 1))
    n_u, n_v = normals[:, 0, None, None], normals[:, 1, None, None]
    return torch.stack([gu * n_u + gv * n_v, gv * n_u - gu * n_v], dim=-1)


def _patch_grid(pixels: Tensor, normals: Tensor, along: int, across: int, size: tuple[int, int]) -> Tensor:
    """Sampling grid (M, 2 along + 1, 2 across + 1, 2) in the coordinates of ``grid_sample`` with aligned corners."""
    rows, columns = size
    scale_u, scale_v = 2.0 / max(columns - 1, 1), 2.0 / max(rows - 1, 1)
    # By arithmetic on the device: nothing has to be brought there.
    scale = scale_u + (scale_v - scale_u) * torch.arange(2, dtype=pixels.dtype, device=pixels.device)
    a = torch.arange(-along, along + 1, dtype=pixels.dtype, device=pixels.device)[None, :, None]
    b = torch.arange(-across, across + 1, dtype=pixels.dtype, device=pixels.device)[None, :, None]
    tangents = torch.stack([-normals[:, 1], normals[:, 0]], dim=-1)
    middle = pixels[:, None] * scale - 1 + a * (normals * scale)[:, None]
    return middle[:, :, None] + (b * (tangents * scale)[:, None])[:, None]


def match_scores(
    pixels: Tensor,
    normals: Tensor,
    templates: Tensor,
    gradient: Tensor,
    valid: Tensor,
    reach: int,
    half: int,
    least_valid: float,
    counted: Tensor | None = None,
) -> Tensor:
    """Normalised gradient correlations (M, 2 reach + 1) of templates (M, A, A, 2) at offsets -reach .. reach.

    gradient (1, 2, H, W) of the X-ray, zero where it is not ``valid`` (1, 1, H, W). Only valid pixels count, on both
    sides of the quotient; -1 where fewer than ``least_valid`` of the patch are. counted: (M,) of ones, and zeros for
    padding, whose normals are zero; None: all.
    """
    line = torch.exp(-0.5 * (torch.arange(-half, half + 1, device=pixels.device) / (0.7 * half)) ** 2)
    total = line.sum() ** 2
    offsets, length = 2 * reach + 1, 2 * (half + reach) + 1
    grid = _patch_grid(pixels, normals, half + reach, half, gradient.shape[-2:])[None].flatten(2, 3)
    looked_up = torch.cat([gradient, valid.to(gradient.dtype)], dim=1)
    gu, gv, allowed = F.grid_sample(looked_up, grid, align_corners=True)[0].unflatten(-1, (length, 2 * half + 1))
    n_u, n_v = normals[:, 0, None, None], normals[:, 1, None, None]
    along, across = gu * n_u + gv * n_v, gv * n_u - gu * n_v

    def windowed(values: Tensor) -> Tensor:
        """Sums (M, offsets) of values (M, length, width) under the window, at every offset."""
        return F.conv1d((values @ line)[:, None], line[None, None])[:, 0]

    weighted = templates * (line[:, None] * line)[..., None]
    energy_of_template = (weighted * templates).sum(-1)
    strip = torch.cat([along, across], dim=-1)
    weighted = weighted.transpose(-1, -2).flatten(2)  # (M, A, 2 A), as the strip's rows
    product = strip.new_zeros(len(pixels), offsets, 1)
    for a in range(2 * half + 1):
        product.baddbmm_(strip[:, a : a + offsets], weighted[:, a, :, None])
    product = product[..., 0]
    template_energy = energy_of_template.sum((1, 2))[:, None].repeat(1, offsets)
    # Few patches are cut off; where counting them would make a GPU wait, all are treated as if they were.
    some = pixels.device.type == "cpu"
    cut = (allowed < 1 - 1e-5).flatten(1).any(1).nonzero()[:, 0] if some else slice(None)
    if not some or len(cut) > 0:
        energy, seen = energy_of_template[cut], allowed[cut]
        found = energy.new_zeros(len(energy), offsets, 1)
        for a in range(2 * half + 1):
            found.baddbmm_(seen[:, a : a + offsets], energy[:, a, :, None])
        template_energy[cut] = found[..., 0]
    energy_of_strip = along * along + across * across
    strip_energy, share = windowed(energy_of_strip), windowed(allowed)
    # A flat piece of the X-ray correlates with anything: a floor relative to the image keeps noise out.
    mean = energy_of_strip.mean() if counted is None else energy_of_strip.mean((1, 2)).sum() / counted.sum()
    floor = 1e-3 * mean * total
    scores = product / (template_energy * (strip_energy + floor)).clamp_min(1e-20).sqrt()
    return torch.where(share >= least_valid * total, scores, torch.full_like(scores, -1.0))


def best_offsets(scores: Tensor, rival_distance: int) -> tuple[Tensor, Tensor, Tensor]:
    """Index (M,) of the best offset, sub-pixel, its score (M,), and the best score (M,) farther away (0 or more)."""
    height, best = scores.max(dim=1)
    index = torch.arange(scores.shape[1], device=scores.device)
    before = scores.gather(1, (best - 1).clamp_min(0)[:, None])[:, 0]
    after = scores.gather(1, (best + 1).clamp_max(scores.shape[1] - 1)[:, None])[:, 0]
    curvature = before - 2 * height + after
    interior = (best > 0) & (best < scores.shape[1] - 1) & (before > -1) & (after > -1) & (curvature < -1e-6)
    shift = torch.where(interior, 0.5 * (before - after) / curvature.clamp_max(-1e-6), torch.zeros_like(height))
    far = (index[None] - best[:, None]).abs() >= rival_distance
    # Only a peak is a rival: the flank of the best one is not.
    padded = F.pad(scores, (1, 1), value=-2.0)
    peak = (scores >= padded[:, :-2]) & (scores >= padded[:, 2:])
    rival = torch.where(far & peak, scores, torch.zeros_like(scores)).amax(1)
    # At the end of the window the true peak may lie outside.
    height = torch.where(interior, height, torch.zeros_like(height))
    return best + shift.clamp(-0.5, 0.5), height, rival
