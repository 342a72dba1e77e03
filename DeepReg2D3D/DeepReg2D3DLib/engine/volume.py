"""The CT: Hounsfield units on a grid of voxels that knows where it lies in the patient."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import SimpleITK as sitk
import torch
from torch import Tensor

from .errors import InputError
from .poses import transform_points
from .resampling import Taps, resampling_taps

WATER_PER_MM = 0.0200  # linear attenuation of water at the effective energy of a C-arm
AIR_HU = -1000.0
BODY_HU = -500.0  # between air and fat, lung wall included
_SLAB_VOXELS = 4_000_000  # voxels that are held in float32 at a time


def attenuation_of(hu: Tensor) -> Tensor:
    """Linear attenuation per mm, float32, of Hounsfield units: 0.0200 max(0, 1 + HU / 1000)."""
    return hu.to(torch.float32).mul(1e-3).add_(1.0).clamp_(min=0.0).mul_(WATER_PER_MM)


@dataclass(frozen=True)
class Volume:
    """A CT.

    hu: (slices, rows, columns) int16 or float32, Hounsfield units.
    ijk_to_ct: (4, 4) float64; voxel index (i column, j row, k slice) -> LPS mm; right-handed.
    grid_centre: (3,) float64, the centre of the grid the CT came in; crops and resamplings keep it, so that the
        centre about which people turn the CT never moves. None: the centre of this grid.
    """

    hu: Tensor
    ijk_to_ct: Tensor
    name: str = "ct"
    grid_centre: Tensor | None = field(default=None)

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or self.hu.dtype not in (torch.int16, torch.float32):
            raise InputError(
                f"CT '{self.name}': expected 3 dimensions of int16 or float32, found {self.hu.ndim} of {self.hu.dtype}."
            )
        matrix = torch.as_tensor(self.ijk_to_ct, dtype=torch.float64)
        if tuple(matrix.shape) != (4, 4) or not bool(torch.isfinite(matrix).all()):
            raise InputError(f"CT '{self.name}': ijk_to_ct must be 4x4 finite numbers.")
        axes = matrix[:3, :3]
        if torch.det(axes).abs() <= 1e-6 * axes.norm(dim=0).prod():
            raise InputError(f"CT '{self.name}': its direction is degenerate: two axes are parallel or one is zero.")
        object.__setattr__(self, "ijk_to_ct", matrix)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        slices, rows, columns = self.hu.shape
        return slices, rows, columns

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(si, sj, sk) in mm, along columns i, rows j and slices k."""
        si, sj, sk = self.ijk_to_ct[:3, :3].norm(dim=0).tolist()
        return si, sj, sk

    @property
    def centre(self) -> Tensor:
        """(3,) float64, LPS mm: the centre of the full voxel grid."""
        if self.grid_centre is not None:
            return self.grid_centre
        middle = torch.tensor([0.5 * (n - 1) for n in reversed(self.shape)], dtype=torch.float64)
        return transform_points(self.ijk_to_ct, middle[None])[0]

    @property
    def corners(self) -> Tensor:
        """(8, 3) float64, LPS mm: the outer corners of the corner voxels."""
        ends = [(-0.5, n - 0.5) for n in reversed(self.shape)]
        ijk = torch.cartesian_prod(*(torch.tensor(end, dtype=torch.float64) for end in ends))
        return transform_points(self.ijk_to_ct, ijk)

    def attenuation(self) -> Tensor:
        """(slices, rows, columns) float32 per mm; see ``attenuation_of``. Made slab by slab to spare memory."""
        result = torch.empty(self.shape, dtype=torch.float32)
        step = max(1, _SLAB_VOXELS // (self.shape[1] * self.shape[2]))
        for first in range(0, self.shape[0], step):
            result[first : first + step] = attenuation_of(self.hu[first : first + step])
        return result

    def cropped(self, lo_ijk: tuple[int, int, int], hi_ijk: tuple[int, int, int]) -> Volume:
        """The voxels with lo <= (i, j, k) < hi, clipped to the grid. Raises InputError when none is left."""
        sizes = tuple(reversed(self.shape))
        lo = [max(0, int(a)) for a in lo_ijk]
        hi = [min(n, int(b)) for n, b in zip(sizes, hi_ijk, strict=True)]
        if any(a >= b for a, b in zip(lo, hi, strict=True)):
            raise InputError(f"CT '{self.name}': the crop from {lo_ijk} to {hi_ijk} holds no voxel of {sizes}.")
        hu = self.hu[lo[2] : hi[2], lo[1] : hi[1], lo[0] : hi[0]].contiguous()
        shift = torch.eye(4, dtype=torch.float64)
        shift[:3, 3] = torch.tensor(lo, dtype=torch.float64)
        return replace(self, hu=hu, ijk_to_ct=self.ijk_to_ct @ shift, grid_centre=self.centre)

    def resampled(self, spacing_mm: float | tuple[float, float, float]) -> Volume:
        """The CT on voxels of ``spacing_mm`` (one number or (si, sj, sk)) over the same field, same dtype.

        Each new voxel is the average over its own extent (coarser) or interpolated linearly (finer), axis by axis;
        the field is kept to within half a new voxel, with the same middle.
        """
        target = (spacing_mm,) * 3 if isinstance(spacing_mm, (int, float)) else tuple(spacing_mm)
        if len(target) != 3 or not all(math.isfinite(s) and s > 0 for s in target):
            raise InputError(f"CT '{self.name}': the spacing {spacing_mm} mm is not positive.")
        sizes = tuple(reversed(self.shape))
        steps = [wanted / own for wanted, own in zip(target, self.spacing, strict=True)]
        counts = [max(1, round(n / step)) for n, step in zip(sizes, steps, strict=True)]
        firsts = [0.5 * (n - 1) - 0.5 * step * (m - 1) for n, m, step in zip(sizes, counts, steps, strict=True)]
        taps = [resampling_taps(*each) for each in zip(sizes, counts, steps, firsts, strict=True)]
        change = torch.diag(torch.tensor([*steps, 1.0], dtype=torch.float64))
        change[:3, 3] = torch.tensor(firsts, dtype=torch.float64)
        hu = self._resample(taps, counts)
        return replace(self, hu=hu, ijk_to_ct=self.ijk_to_ct @ change, grid_centre=self.centre)

    def _resample(self, taps: list[Taps], counts: list[int]) -> Tensor:
        hu = torch.empty(tuple(reversed(counts)), dtype=self.hu.dtype)
        per_slice = self.shape[1] * self.shape[2] * taps[2].indices.shape[1]
        step = max(1, _SLAB_VOXELS // per_slice)
        for first in range(0, counts[2], step):
            slab = Taps(taps[2].indices[first : first + step], taps[2].weights[first : first + step])
            values = taps[0].apply(taps[1].apply(slab.apply(self.hu, 0), 1), 2)
            hu[first : first + step] = values if hu.is_floating_point() else values.round_()
        return hu

    def cropped_to_body(self, margin_mm: float = 10.0) -> Volume:
        """The part of the CT that holds the body (tissue above -500 HU) with a margin around it.

        Looked for on a grid of about 4 mm: the largest connected piece and every other piece of at least 5 % of its
        size (limbs, the halves of a cut body), so that dust and noise do not count. Without any tissue the CT is
        returned whole.
        """
        coarse = self.resampled(tuple(max(4.0, s) for s in self.spacing))
        tissue = (coarse.hu > BODY_HU).to(torch.uint8)
        if not bool(tissue.any()):
            return self
        pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(tissue.numpy()), True)
        labels = torch.from_numpy(sitk.GetArrayFromImage(pieces).astype("int32"))
        sizes = torch.bincount(labels.flatten())
        sizes[0] = 0
        keep = sizes >= 0.05 * sizes.max()
        inside = keep[labels.long()].nonzero().flip(1).to(torch.float64)
        # From coarse voxel centres to the outer edges of these voxels, in voxels of the full grid.
        ends = torch.stack([inside.amin(0) - 0.5, inside.amax(0) + 0.5])
        ends = transform_points(torch.linalg.inv(self.ijk_to_ct) @ coarse.ijk_to_ct, ends)
        margin = margin_mm / torch.tensor(self.spacing, dtype=torch.float64)
        lo = torch.floor(ends[0] - margin + 0.5).long().tolist()
        hi = torch.ceil(ends[1] + margin + 0.5).long().tolist()
        return self.cropped(tuple(lo), tuple(hi))
