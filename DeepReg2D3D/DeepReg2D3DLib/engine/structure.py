"""One structure of a CT, to be registered alone while others move: a vertebra, the pelvis, the radius.

A structure is a label map or a box in the CT's own frame. What is kept of the CT is its bone there: soft tissue, which
moves with nothing in particular, is taken off, so that the structure's DRR ends nowhere in an edge that the X-ray does
not have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError
from .poses import transform_points
from .setup import RegistrationSetup
from .surface import SurfacePoints, SurfaceSettings, extract_surface_points
from .volume import AIR_HU, Volume

LABEL_MARGIN_MM = 3.0
"""Label maps are drawn just inside or just outside the bone: this much around them belongs to the structure."""
FADE_MM = 5.0
"""Width of the border in which the structure fades out, so that a box that cuts bone cuts it softly."""
SOFT_TISSUE_HU = (-50.0, 120.0)
"""Where the grey level that is taken off is looked for."""
USUAL_SOFT_TISSUE_HU = 40.0
SURFACE = SurfaceSettings(spacing=1.0)
"""Denser than in a whole CT: a vertebra is small."""
_SLAB_VOXELS = 2_000_000


@dataclass(frozen=True)
class Structure:
    """Where a structure lies in a CT.

    mask: (K, J, I) bool; ijk_to_ct: (4, 4) float64, index in the mask -> CT LPS mm, its columns at right angles. The
    grid need not be that of the CT. others: (K, J, I) bool, other structures, which the margin must not enter.
    """

    mask: Tensor
    ijk_to_ct: Tensor
    name: str = "region"
    margin_mm: float = 0.0
    others: Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask.ndim != 3 or self.mask.dtype != torch.bool:
            raise InputError(f"Region '{self.name}': its mask must have 3 dimensions of bool.")
        if not bool(self.mask.any()):
            raise InputError(f"Region '{self.name}': it is empty.")
        matrix = torch.as_tensor(self.ijk_to_ct, dtype=torch.float64)
        if tuple(matrix.shape) != (4, 4) or not bool(torch.isfinite(matrix).all()) or torch.det(matrix).abs() < 1e-9:
            raise InputError(f"Region '{self.name}': its place must be a 4x4 matrix of finite numbers that has a size.")
        object.__setattr__(self, "ijk_to_ct", matrix)

    @classmethod
    def box(cls, centre: Tensor, axes: Tensor, size_mm: Tensor, name: str = "box") -> Structure:
        """A box: centre (3,) CT LPS mm, axes (3, 3) with its unit directions as columns, whole lengths (3,) in mm."""
        centre, axes, size = (torch.as_tensor(v, dtype=torch.float64) for v in (centre, axes, size_mm))
        if not bool((size > 0).all()):
            raise InputError(f"Region '{name}': the box has no size along every axis: {size.tolist()} mm.")
        if not bool(((axes.T @ axes - torch.eye(3, dtype=torch.float64)).abs() < 1e-2).all()):
            raise InputError(f"Region '{name}': the axes of the box are not at right angles and of length 1.")
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[:3, :3], matrix[:3, 3] = axes * size, centre
        return cls(torch.ones(1, 1, 1, dtype=torch.bool), matrix, name)

    @classmethod
    def of_label(cls, labels: Tensor, ijk_to_ct: Tensor, label: int, name: str = "") -> Structure:
        """The voxels of a label map (K, J, I) that have ``label``; a few mm around them belong to it, too, where they
        have no other label."""
        return cls(
            labels == label, ijk_to_ct, name or f"label {label}", LABEL_MARGIN_MM, (labels != label) & (labels != 0)
        )

    @property
    def centre(self) -> Tensor:
        """(3,) float64, CT LPS mm: the middle of its voxels."""
        return transform_points(self.ijk_to_ct, self.mask.nonzero().flip(1).to(torch.float64).mean(0)[None])[0]

    @property
    def corners(self) -> Tensor:
        """(8, 3) float64, CT LPS mm: of the box around it, along its own axes, margin included."""
        inside = self.mask.nonzero().flip(1).to(torch.float64)
        margin = self.margin_mm / self.ijk_to_ct[:3, :3].norm(dim=0)
        low, high = inside.amin(0) - 0.5 - margin, inside.amax(0) + 0.5 + margin
        return transform_points(self.ijk_to_ct, torch.cartesian_prod(*torch.stack([low, high], 1)))

    def contains(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """For points (..., 3) in the CT: whether they lie in it, and whether in other structures, without margin."""
        to_index = torch.linalg.inv(self.ijk_to_ct).to(points)
        index = (points @ to_index[:3, :3].T + to_index[:3, 3]).round().long()
        sizes = torch.tensor(self.mask.shape[::-1], device=points.device)
        within = ((index >= 0) & (index < sizes)).all(-1)
        i, j, k = torch.minimum(index.clamp_min(0), sizes - 1).unbind(-1)
        other = torch.zeros_like(within) if self.others is None else self.others[k, j, i] & within
        return self.mask[k, j, i] & within, other


def isolated(volume: Volume, structure: Structure) -> tuple[Volume, Tensor]:
    """The structure's bone alone, in air, and how much each voxel of that volume belongs to it (K, J, I), 0 to 1.

    HU above those of soft tissue are kept, counted from there. Raises InputError where it lies outside the CT.
    """
    part = _cropped_to(volume, structure)
    share = _share(part, structure)
    if not bool((share > 0.5).any()):
        raise InputError(f"Region '{structure.name}': it holds no voxel of CT '{volume.name}'.")
    hu = part.hu.to(torch.float32)
    soft = hu[(share > 0) & (hu > SOFT_TISSUE_HU[0]) & (hu < SOFT_TISSUE_HU[1])]
    level = float(soft.median()) if len(soft) > 100 else USUAL_SOFT_TISSUE_HU
    alone = AIR_HU + share * (hu - level).clamp_min(0.0)
    return replace(part, hu=alone.round().to(torch.int16), name=structure.name), share


def structure_setup(setup: RegistrationSetup, structure: Structure) -> RegistrationSetup:
    """What a registration of the structure alone needs: its surface points and renderers of nothing else.

    ``setup``: of the whole CT. Raises InputError where the structure lies outside the CT or holds no bone.
    """
    alone, share = isolated(setup.volume, structure)
    part = _cropped_to(setup.volume, structure)
    try:
        surface = extract_surface_points(part, SURFACE)
    except InputError as error:
        raise InputError(f"Region '{structure.name}': {error}") from error
    inside = _sampled(share, alone, surface.points) > 0.5
    # The denser side is the structure's: the next bone's surface across a joint is left out.
    ahead = surface.points + 1.5 * surface.gradients / surface.gradients.norm(dim=1, keepdim=True).clamp_min(1e-6)
    inside &= _sampled(share, alone, ahead) > 0.5
    if structure.others is not None:
        inside &= ~structure.contains(ahead)[1]
    if int(inside.sum()) < 100:
        raise InputError(f"Region '{structure.name}': it holds hardly any bone of CT '{setup.volume.name}'.")
    kept = SurfacePoints(surface.points[inside].contiguous(), surface.gradients[inside].contiguous())
    return RegistrationSetup(alone, kept.to(setup.device), setup.device)


def _cropped_to(volume: Volume, structure: Structure) -> Volume:
    """The part of a CT around the structure, with room for its margin and for gradients at its border."""
    index = transform_points(torch.linalg.inv(volume.ijk_to_ct), structure.corners)
    low, high = index.amin(0).floor().long() - 4, index.amax(0).ceil().long() + 5
    try:
        return volume.cropped(tuple(low.tolist()), tuple(high.tolist()))
    except InputError as error:
        raise InputError(f"Region '{structure.name}': it lies outside CT '{volume.name}'.") from error


def _share(volume: Volume, structure: Structure) -> Tensor:
    """(K, J, I) float32: 1 in the structure and its margin, fading to 0 at its border."""
    slices, rows, columns = volume.shape
    inside = torch.zeros(volume.shape, dtype=torch.float32)
    other = torch.zeros(volume.shape, dtype=torch.bool)
    j, i = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    step = max(1, _SLAB_VOXELS // (rows * columns))
    for first in range(0, slices, step):
        k = torch.arange(first, min(slices, first + step))
        shape = (len(k), rows, columns)
        index = torch.stack([i.expand(shape), j.expand(shape), k[:, None, None].expand(shape)], -1).to(torch.float64)
        points = index @ volume.ijk_to_ct[:3, :3].T + volume.ijk_to_ct[:3, 3]
        mine, theirs = structure.contains(points)
        inside[first : first + len(k)], other[first : first + len(k)] = mine.to(torch.float32), theirs
    if structure.margin_mm > 0:
        own = inside > 0
        inside = _box_filter(inside, [1 + 2 * round(structure.margin_mm / s) for s in volume.spacing], widest=True)
        inside = torch.where(other & ~own, 0.0, inside)
        # The border's fading must not reach the labelled voxels.
        return torch.maximum(
            _box_filter(inside, [1 + 2 * round(0.5 * FADE_MM / s) for s in volume.spacing]), own.float()
        )
    return _box_filter(inside, [1 + 2 * round(0.5 * FADE_MM / s) for s in volume.spacing])


def _box_filter(values: Tensor, sizes: list[int], widest: bool = False) -> Tensor:
    """Mean (or maximum) of (K, J, I) over boxes of ``sizes`` voxels along i, j, k; beyond the border all is 0."""
    result = values[None, None]
    for axis, size in zip((4, 3, 2), sizes, strict=True):
        if size > 1:
            kernel = [size if a == axis else 1 for a in (2, 3, 4)]
            padding = [n // 2 for n in kernel]
            if widest:
                result = F.max_pool3d(result, kernel, stride=1, padding=padding)
            else:
                result = F.avg_pool3d(result, kernel, stride=1, padding=padding)
    return result[0, 0]


def _sampled(share: Tensor, volume: Volume, points: Tensor) -> Tensor:
    """Values (N,) of (K, J, I) on the volume's grid at the voxels nearest to points (N, 3); 0 outside."""
    index = transform_points(torch.linalg.inv(volume.ijk_to_ct), points.to(torch.float64)).round().long()
    sizes = torch.tensor(list(reversed(share.shape)))
    within = ((index >= 0) & (index < sizes)).all(-1)
    i, j, k = torch.minimum(index.clamp_min(0), sizes - 1).unbind(-1)
    return torch.where(within, share[k, j, i], 0.0)
