"""Random acquisitions for training: where the C-arm stands, its detector, and from where a search starts.

The CT's frame is LPS mm. A camera is given by ``ct_to_camera`` at the true pose and its intrinsics; world itself never
matters here. Ranges follow spine and trunk fluoroscopy; the paper (Jaganathan et al., MICCAI 2021) gives none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..engine.poses import make_pose, motion_about, rotation_from_euler


@dataclass(frozen=True)
class AcquisitionConfig:
    """Ranges of the C-arm. Lengths in mm, angles in degrees, shares between 0 and 1.

    view_rotations: rotations from the CT's axes to the camera's, nine numbers each by rows, that replace the frontal,
    lateral and oblique views where the views to come are known.
    """

    source_to_detector: tuple[float, float] = (900.0, 1300.0)
    magnification: tuple[float, float] = (1.3, 1.75)  # SDD / SOD
    detector_width: tuple[float, float] = (280.0, 430.0)  # of the whole image, at the detector
    fine_width: tuple[float, float] = (110.0, 250.0)  # of a crop for the fine levels, at the detector
    frontal_share: float = 0.35
    lateral_share: float = 0.45  # the rest is oblique at any angle
    angle_deviation_deg: float = 8.0
    tilt_deviation_deg: float = 7.0
    roll_deviation_deg: float = 8.0
    isocentre_deviation: tuple[float, float, float] = (20.0, 20.0, 10.0)
    principal_point_deviation: float = 0.02  # of the image width
    view_rotations: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class StartConfig:
    """Poses from which the flow is asked for: mostly those that the coarse search and the first steps leave behind.

    ``wide`` starts cover the whole capture range, so that the network also works without a search; ``near`` ones are
    what a search leaves (a few mm in the image plane, a few degrees); a ``depth`` start is nearly aligned in the image
    plane, but wrong in depth and out-of-plane turn, as a first step leaves it.
    """

    wide_share: float = 0.25
    depth_share: float = 0.3  # the rest is near
    translation: float = 70.0  # largest displacement of the isocentre, mm
    near_translation: float = 22.0
    rotation_deviation_deg: float = 7.0
    near_rotation_deviation_deg: float = 3.5
    rotation_limit_deg: float = 30.0
    fine_pixels: float = 14.0  # largest in-plane offset at the fine levels, pixels


@dataclass(frozen=True)
class Acquisitions:
    """A batch of true camera poses. All float64.

    ct_to_camera: (B, 4, 4). intrinsics: (B, 3, 3), not mirrored. depth: (B,) of the isocentre from the source, mm.
    fine: (B,) bool, True for a narrow crop as the fine levels see it.
    """

    ct_to_camera: Tensor
    intrinsics: Tensor
    depth: Tensor
    fine: Tensor

    def __getitem__(self, items: Tensor) -> Acquisitions:
        return Acquisitions(self.ct_to_camera[items], self.intrinsics[items], self.depth[items], self.fine[items])


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    device = generator.device
    return low + (high - low) * torch.rand(*shape, generator=generator, device=device, dtype=torch.float64)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, device=generator.device, dtype=torch.float64)


def draw_view_rotations(generator: torch.Generator, count: int, config: AcquisitionConfig) -> Tensor:
    """Rotations (count, 3, 3) from the CT's LPS axes to camera axes: frontal, lateral or oblique, tilted and rolled."""
    kind = _uniform(generator, 0, 1, count)
    half_turn = math.pi * torch.randint(0, 2, (count,), generator=generator, device=generator.device)
    frontal = half_turn
    lateral = half_turn + math.pi / 2
    oblique = _uniform(generator, 0, 2 * math.pi, count)
    angle = torch.where(
        kind < config.frontal_share,
        frontal,
        torch.where(kind < config.frontal_share + config.lateral_share, lateral, oblique),
    )
    angle = angle + math.radians(config.angle_deviation_deg) * _normal(generator, count)
    tilt = math.radians(config.tilt_deviation_deg) * _normal(generator, count)
    roll = math.radians(config.roll_deviation_deg) * _normal(generator, count)
    # Source in front of the patient at angle 0: x = left, y = feet, z = back (camera axes as rows, in LPS).
    base = torch.tensor([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]], dtype=torch.float64, device=generator.device)
    zero = torch.zeros_like(angle)
    about_patient_axis = rotation_from_euler(torch.stack([zero, zero, angle], -1))
    tilted = rotation_from_euler(torch.stack([tilt, zero, roll], -1))
    if config.view_rotations:
        known = torch.tensor(config.view_rotations, dtype=torch.float64, device=generator.device).reshape(-1, 3, 3)
        chosen = torch.randint(len(known), (count,), generator=generator, device=generator.device)
        turn = math.radians(config.angle_deviation_deg) * _normal(generator, count)
        return tilted @ rotation_from_euler(torch.stack([zero, turn, zero], -1)) @ known[chosen]
    return tilted @ base @ about_patient_axis


def draw_cameras(
    generator: torch.Generator, isocentres: Tensor, size: tuple[int, int], fine: Tensor, config: AcquisitionConfig
) -> Acquisitions:
    """Draw one camera for each isocentre.

    isocentres: (B, 3) points in the CT that should appear near the image centre, mm.
    size: (rows, columns) of the training image. fine: (B,) bool, True for a narrow crop as the fine levels see it.
    """
    count, (rows, columns) = len(isocentres), size
    rotation = draw_view_rotations(generator, count, config)
    sdd = _uniform(generator, *config.source_to_detector, count)
    sod = sdd / _uniform(generator, *config.magnification, count)
    width = torch.where(
        fine,
        torch.exp(_uniform(generator, math.log(config.fine_width[0]), math.log(config.fine_width[1]), count)),
        _uniform(generator, *config.detector_width, count),
    )
    deviation = isocentres.new_tensor(config.isocentre_deviation, dtype=torch.float64)
    aim = isocentres.to(torch.float64) + deviation * _normal(generator, count, 3)
    depth = torch.stack([torch.zeros_like(sod), torch.zeros_like(sod), sod], dim=-1)
    ct_to_camera = make_pose(rotation, depth - (rotation @ aim[..., None]).squeeze(-1))
    focal = sdd * columns / width
    shift = config.principal_point_deviation * columns * _normal(generator, count, 2)
    intrinsics = torch.zeros(count, 3, 3, dtype=torch.float64, device=generator.device)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, 0, 2] = (columns - 1) / 2 + shift[:, 0]
    intrinsics[:, 1, 2] = (rows - 1) / 2 + shift[:, 1]
    intrinsics[:, 2, 2] = 1
    return Acquisitions(ct_to_camera, intrinsics, sod, fine)


def draw_starts(generator: torch.Generator, truth: Acquisitions, config: StartConfig) -> Tensor:
    """Start poses (B, 4, 4), ct_to_camera, perturbed from the true ones about the isocentre.

    Coarse items cover displacements up to ``config.translation`` mm; a share of them is nearly right in the image plane
    and wrong in depth and tilt, as an iteration leaves it. Fine items are off by a few pixels, and by more in depth.
    """
    count = len(truth.depth)
    zero = torch.zeros_like(truth.depth)
    centre = torch.stack([zero, zero, truth.depth], dim=-1)
    kind = _uniform(generator, 0, 1, count)
    wide = (kind < config.wide_share)[:, None]
    only_depth = (kind > 1 - config.depth_share)[:, None]
    direction = torch.nn.functional.normalize(_normal(generator, count, 3), dim=-1)
    offset = direction * _uniform(generator, 0, 1, count)[:, None]
    limit = math.radians(config.rotation_limit_deg)
    turn = _normal(generator, count, 3)

    reach = torch.where(wide, config.translation, config.near_translation)
    # Depth is what the first steps leave wrong: along the ray as far as wide starts go.
    coarse = torch.where(only_depth, offset * offset.new_tensor([6.0, 6.0, config.translation]), reach * offset)
    deviation = torch.where(wide, config.rotation_deviation_deg, config.near_rotation_deviation_deg)
    coarse_angle = torch.where(only_depth, turn * turn.new_tensor([1.0, 1.0, 0.3]), turn) * torch.deg2rad(deviation)
    coarse_angle = coarse_angle * (limit / coarse_angle.norm(dim=-1, keepdim=True).clamp_min(limit))

    pixel = truth.depth / truth.intrinsics[:, 1, 1]  # mm at the isocentre
    # Most fine starts are near: a third of the largest offset.
    fine_reach = (config.fine_pixels * pixel)[:, None] * torch.where(wide, 1.0, 0.35)
    fine = fine_reach * offset * offset.new_tensor([1.0, 1.0, 3.0])
    fine_angle = turn * (2 * math.radians(config.rotation_deviation_deg) * fine_reach / config.translation)
    translation = torch.where(truth.fine[:, None], fine, coarse)
    rotation = torch.where(truth.fine[:, None], fine_angle, coarse_angle)
    return motion_about(rotation, translation, centre) @ truth.ct_to_camera
