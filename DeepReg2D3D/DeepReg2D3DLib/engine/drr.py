"""Digitally reconstructed radiographs by Joseph's projector (P. M. Joseph, IEEE Trans. Med. Imaging 1(3), 1982)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .drr_plan import Occupancy, Sector, find_sectors, plan_slabs
from .drr_planes import sum_planes
from .errors import InputError
from .volume import Volume, attenuation_of

# Below this attenuation per mm (-950 HU) a margin of the volume counts as air and is cropped.
AIR_PER_MM = 0.001

# Look-ups held at a time: on a CPU so many that their coordinates stay in the cache, on a GPU as many as 200 MB allow.
_SAMPLES = {"cpu": 262_144, "cuda": 16_000_000}
# A copy of the volume whose planes across i lie together in memory is kept up to this size, made anew slab by slab
# beyond it.
_KEPT_COPY_BYTES = 320 * 2**20


class DrrRenderer:
    """Line integrals of a volume along the rays of a camera.

    attenuation: (D, H, W) or (C, D, H, W) per mm, indexed [slice k, row j, column i]; its device is where images are
        rendered. Images have its dtype; float16 and bfloat16 volumes are rendered in float32.
    ijk_to_ct: (4, 4), voxel index (i, j, k) to CT mm.
    crop: leave out margins in which every voxel is air (at most ``AIR_PER_MM``).

    Each ray crosses the voxel planes of the axis along which it advances most, in voxels; it may be another axis for
    another pixel. In each plane the value is interpolated bilinearly between voxel centres and counts for the length
    of ray from half a voxel before the plane to half a voxel behind it. The volume is zero beyond its border: across
    the ray, values fall linearly to zero over the voxel beyond the outermost centres (so that half a voxel's worth
    lies outside), along the ray they end half a voxel beyond them. Only what lies in front of the source counts.
    """

    def __init__(self, attenuation: Tensor, ijk_to_ct: Tensor, crop: bool = True) -> None:
        if attenuation.dim() not in (3, 4) or not attenuation.is_floating_point():
            raise InputError(
                "A volume to render needs 3 or 4 dimensions of floating-point numbers, "
                f"found shape {tuple(attenuation.shape)} of {attenuation.dtype}."
            )
        volume = (attenuation if attenuation.dim() == 4 else attenuation[None]).detach()
        self.channels = volume.shape[0]
        self.ijk_to_ct = ijk_to_ct.detach().to("cpu", torch.float64)
        self._occupancy = Occupancy.of(volume, AIR_PER_MM if crop else 0.0)
        if crop and self._occupancy.box is not None:
            (i0, i1), (j0, j1), (k0, k1) = self._occupancy.box
            volume = volume[:, k0:k1, j0:j1, i0:i1]
            shift = torch.eye(4, dtype=torch.float64)
            shift[:3, 3] = torch.tensor([i0, j0, k0])
            self.ijk_to_ct = self.ijk_to_ct @ shift
            # Inside the box air counts for what it is: only planes and margins of exact zeros are skipped.
            self._occupancy = Occupancy.of(volume)
        self.volume = volume
        self.dtype = volume.dtype if volume.dtype == torch.float64 else torch.float32
        self._across_i: Tensor | None = None
        # A ray that advances less than this along its axis runs along the planes.
        self._least_advance = 1e-3 / float(self.ijk_to_ct[:3, :3].norm(dim=0).max())

    @classmethod
    def from_volume(
        cls,
        volume: Volume,
        spacing_mm: float | tuple[float, float, float] | None = None,
        device: torch.device | str | None = None,
    ) -> DrrRenderer:
        """Renderer of a CT in float32, resampled to ``spacing_mm`` first where that is given."""
        if spacing_mm is not None:
            volume = volume.resampled(spacing_mm)
        # Cropped as Hounsfield units, of which there are half as many bytes.
        box = Occupancy.of(volume.hu[None], AIR_PER_MM, attenuation_of).box
        if box is not None:
            volume = volume.cropped(tuple(lo for lo, _ in box), tuple(hi for _, hi in box))
        attenuation = volume.attenuation()
        return cls(attenuation.to(device or attenuation.device), volume.ijk_to_ct, crop=False)

    @property
    def device(self) -> torch.device:
        """Where the volume is and images are rendered."""
        return self.volume.device

    def __call__(self, ct_to_camera: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
        """Images (B, C, rows, columns) of line integrals (dimensionless).

        ct_to_camera: (B, 4, 4) rigid, mm; intrinsics: (B, 3, 3) or (3, 3), pixels; any device and floating dtype.
        size: (rows, columns). Differentiable (once) in ct_to_camera and intrinsics, not in the volume.
        """
        rows, columns = size
        batch = ct_to_camera.shape[0]
        pose = ct_to_camera.to("cpu", torch.float64)
        k = intrinsics.to("cpu", torch.float64).expand(batch, 3, 3)
        axes = pose[:, :3, :3] @ self.ijk_to_ct[:3, :3]
        first_voxel = pose[:, :3, :3] @ self.ijk_to_ct[:3, 3] + pose[:, :3, 3]
        to_ijk, to_rays = torch.linalg.inv(axes), torch.linalg.inv(k)
        source, to_directions = -(to_ijk @ first_voxel[..., None])[..., 0], to_ijk @ to_rays
        image = torch.zeros(batch, self.channels, rows, columns, dtype=self.dtype, device=self.device)
        if self._occupancy.box is None or batch == 0:
            return image
        with torch.no_grad():
            to_pixels = (k @ torch.cat([axes, first_voxel[..., None]], -1)).numpy()
            sectors = find_sectors(to_pixels, to_directions.detach().numpy(), self._occupancy.box, size)
        for group in self._groups(sectors):
            items = [sector.item for sector in group]
            part, r, c = self._render(group, to_pixels[items], source[items], to_directions[items], to_rays[items])
            part = F.pad(part, (c, columns - c - part.shape[-1], r, rows - r - part.shape[-2]))
            if len(sectors) == batch and items == list(range(batch)):
                return part
            image = image.index_add_(0, torch.tensor(items, device=self.device), part)
        return image

    def _groups(self, sectors: list[Sector]) -> list[list[Sector]]:
        """Sectors to render in one go: on a CPU each alone, with its own rectangle; on a GPU many of one axis."""
        if self._one_by_one:
            return [[sector] for sector in sectors]
        groups = []
        for axis in range(3):
            mine = [sector for sector in sectors if sector.axis == axis]
            if mine:
                (r0, r1), (c0, c1) = _union(mine)
                share = max(1, self._samples // ((r1 - r0) * (c1 - c0)))
                groups += [mine[first : first + share] for first in range(0, len(mine), share)]
        return groups

    @property
    def _one_by_one(self) -> bool:
        return self.device.type == "cpu"

    @property
    def _samples(self) -> int:
        return _SAMPLES["cpu" if self.device.type == "cpu" else "cuda"]

    def _planes(self, axis: int) -> Tensor:
        """The volume as (planes of axis, C, y, x); x is the lower of the two voxel axes that span a plane."""
        planes = self.volume.permute(3 - axis, 0, *(3 - a for a in (2, 1, 0) if a != axis))
        if axis != 0 or self.volume.numel() * self.volume.element_size() > _KEPT_COPY_BYTES:
            return planes
        if self._across_i is None:
            self._across_i = planes.contiguous()
        return self._across_i

    def _render(
        self, group: list[Sector], to_pixels: np.ndarray, source: Tensor, to_directions: Tensor, to_rays: Tensor
    ) -> tuple[Tensor, int, int]:
        """Images (n, C, h, w) of the sectors of a group over their common rectangle, with its first row and column."""
        axis = group[0].axis
        (r0, r1), (c0, c1) = _union(group)
        planes = self._planes(axis)
        count, _, ny, nx = planes.shape
        signs = torch.tensor([sector.sign for sector in group], dtype=torch.float64)
        # The part of each plane's voxel of length that lies before the source.
        index = torch.arange(count, dtype=torch.float64)
        weights = (signs[:, None] * (index - source[:, axis, None]) + 0.5).clamp(0, 1)
        ahead = (weights > 0).any(0).numpy()
        area = len(group) * (r1 - r0) * (c1 - c0)
        if self._one_by_one:
            at_once, samples = max(8, torch.get_num_threads()), self._samples
        else:  # a large batch has room in proportion
            at_once = max(4, self._samples // area)
            samples = max(self._samples, at_once * area)
        mask = None
        if any(sector.mask is not None for sector in group):
            mask = _masks(group, (r0, r1), (c0, c1))
        slabs = plan_slabs(
            to_pixels,
            axis,
            self._occupancy,
            ahead,
            (r0, r1),
            (c0, c1),
            min(at_once, 64),
            samples,
            None if mask is None else mask.any(0),
        )
        full = (weights == 1).all(0).tolist()
        whole = all(all(full[slab.first : slab.last]) for slab in slabs)

        # Everything on the grid is a ratio of functions linear in the pixel, counted from the middle of the rectangle
        # so that float32 holds them well.
        centre_u, centre_v = 0.5 * (c0 + c1 - 1), 0.5 * (r0 + r1 - 1)
        centring = torch.tensor([[1, 0, centre_u], [0, 1, centre_v], [0, 0, 1]], dtype=torch.float64)
        directions, rays = to_directions @ centring, to_rays @ centring
        leading, middle = directions[:, axis], 0.5 * (count - 1)
        linear = [leading, rays[:, 0], rays[:, 1], rays[:, 2]]
        for a, n in zip((a for a in range(3) if a != axis), (nx, ny), strict=True):
            # Where the ray meets the middle plane, x = source_x + (middle - source_a) d_x / d_a, as (2 x + 1) / n - 1.
            at_middle = source[:, a, None] * leading + (middle - source[:, axis, None]) * directions[:, a]
            linear += [(2 * at_middle + leading) / n - leading, 2 * directions[:, a] / n]
        u = torch.arange(c1 - c0, dtype=self.dtype, device=self.device) + (c0 - centre_u)
        v = torch.arange(r1 - r0, dtype=self.dtype, device=self.device) + (r0 - centre_v)
        per_u, per_v, constant = torch.stack(linear).to(self.device, self.dtype)[..., None].unbind(-2)
        on_rows, on_columns = per_v * v + constant, per_u * u
        lead, ray_x, ray_y, ray_z, x, step_x, y, step_y = on_rows[..., :, None] + on_columns[..., None, :]

        # Pixels of other sectors may run along the planes; where they do in the shared rectangle they see nothing here.
        forward = signs.to(lead)[:, None, None]
        valid = lead * forward > self._least_advance
        if mask is not None:
            valid = valid & torch.from_numpy(mask).to(self.device)
        inverse = torch.where(valid, lead, forward).reciprocal()
        origin = torch.stack([x, y], -1) * inverse[..., None]
        slope = torch.stack([step_x, step_y], -1) * inverse[..., None]
        total = sum_planes(planes, origin, slope, None if whole else weights.to(origin), slabs)
        length = (ray_x.square() + ray_y.square() + ray_z.square()).sqrt() * inverse.abs()
        return total * torch.where(valid, length, 0.0)[:, None], r0, c0


def _union(group: list[Sector]) -> tuple[tuple[int, int], tuple[int, int]]:
    """[lo, hi) of rows and of columns of the rectangle around all sectors."""
    rows = min(s.rows[0] for s in group), max(s.rows[1] for s in group)
    return rows, (min(s.columns[0] for s in group), max(s.columns[1] for s in group))


def _masks(group: list[Sector], rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    """(n, rows, columns) bool: which pixels of the common rectangle belong to each sector."""
    masks = np.zeros((len(group), rows[1] - rows[0], columns[1] - columns[0]), dtype=bool)
    for mask, sector in zip(masks, group, strict=True):
        (r0, r1), (c0, c1) = sector.rows, sector.columns
        inside = slice(r0 - rows[0], r1 - rows[0]), slice(c0 - columns[0], c1 - columns[0])
        mask[inside] = True if sector.mask is None else sector.mask
    return masks
