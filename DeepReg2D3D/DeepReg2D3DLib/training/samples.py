"""Training samples: X-rays of random acquisitions, DRRs at random starts, contour points and their true flow.

One X-ray serves several starts: it is rendered, simulated and later encoded once. Everything is batched torch on any
device; on a GPU the trainer calls ``SampleMaker.make`` for every step, on a CPU a second process fills a ring with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..engine.camera import project
from ..engine.contours import apparent_contour_batch, image_normals
from ..engine.drr import DrrRenderer
from ..engine.poses import transform_points, transform_vectors
from ..engine.surface import SurfacePoints
from .acquisition import Acquisitions, draw_cameras, draw_starts
from .config import SampleConfig
from .simulator import XraySettings, draw_xray_recipe, simulate_xray


@dataclass(frozen=True)
class SampleBatch:
    """B starts over M X-rays.

    drr (B, 1, H, W) line integrals; xray (M, 1, H, W) line integrals with mask (M, 1, H, W) of valid pixels;
    xray_index (B,) which X-ray each start belongs to. points, gradients (B, N, 3) in the CT; valid (B, N).
    start, truth (B, 4, 4) ct_to_camera; intrinsics (B, 3, 3), negative K[0, 0] where mirrored.
    All float32 but for the masks (bool), the index (int64) and poses and intrinsics (float64).
    """

    drr: Tensor
    xray: Tensor
    mask: Tensor
    xray_index: Tensor
    points: Tensor
    gradients: Tensor
    valid: Tensor
    start: Tensor
    truth: Tensor
    intrinsics: Tensor

    def to(self, device: torch.device | str) -> SampleBatch:
        """The same batch on another device."""
        return SampleBatch(**{k: v.to(device, non_blocking=True) for k, v in self.__dict__.items()})

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of the images."""
        return self.drr.shape[-2], self.drr.shape[-1]

    def pixels(self) -> Tensor:
        """(B, N, 2) where the points are seen at the start, pixels."""
        return self._project(self.start)

    def flow(self) -> Tensor:
        """(B, N, 2) true flow: the same 3D points under the true pose less under the start, pixels."""
        return self._project(self.truth) - self._project(self.start)

    def normals(self) -> Tensor:
        """(B, N, 2) unit normals of the contours in the image at the start."""
        pose = self.start.to(self.points.dtype)
        points, gradients = transform_points(pose, self.points), transform_vectors(pose, self.gradients)
        return image_normals(points, gradients, self.intrinsics.to(points.dtype))

    def _project(self, pose: Tensor) -> Tensor:
        seen = transform_points(pose.to(self.points.dtype), self.points)
        # A start may put a point behind the source; such points are not valid, but must stay finite.
        seen = torch.cat([seen[..., :2], seen[..., 2:].clamp_min(1.0)], dim=-1)
        return project(seen, self.intrinsics.to(seen.dtype))

    def weights(self, outside: float = 0.3) -> Tensor:
        """(B, N) loss weights: 1 where the X-ray shows the point's true place, ``outside`` beyond image or field."""
        rows, columns = self.size
        target = self._project(self.truth)
        scale = target.new_tensor([max(columns - 1, 1), max(rows - 1, 1)])
        weights = outside + (1 - outside) * seen_at(self, target)
        # Far outside nothing can be predicted: a start that lost the patient teaches nothing.
        far = ((target / scale - 0.5).abs() > 1.0).any(-1)
        return torch.where(self.valid & ~far, weights, torch.zeros_like(weights))


def seen_at(batch: SampleBatch, pixels: Tensor) -> Tensor:
    """1 where pixels (B, N, 2) lie on valid pixels of each start's X-ray, 0 beyond, between at the border; (B, N)."""
    rows, columns = batch.size
    grid = (2 * pixels / pixels.new_tensor([max(columns - 1, 1), max(rows - 1, 1)]) - 1)[:, :, None]
    field = batch.mask[batch.xray_index].to(pixels.dtype)
    return torch.nn.functional.grid_sample(field, grid, align_corners=True)[:, 0, :, 0]


@dataclass(frozen=True)
class TrainingVolume:
    """A CT prepared for rendering.

    drr: the volume that the registration would render. materials: the (2, D, H, W) water and bone densities, as line
    integrals per mm, from which the X-ray is made: another resolution and HU curve than the DRR's, so that a network
    can't profit from both images coming from one and the same sampling of the CT. surface: the CT's surface points.
    isocentres: (K, 3) points along the spine to aim at, CT mm.
    """

    name: str
    drr: DrrRenderer
    materials: DrrRenderer
    surface: SurfacePoints
    isocentres: Tensor


class SampleMaker:
    """Makes batches from one training volume at a time."""

    def __init__(self, config: SampleConfig, xray: XraySettings | None = None) -> None:
        self.config = config
        self.xray = xray or config.xray

    def make(self, volume: TrainingVolume, xrays: int, generator: torch.Generator) -> SampleBatch:
        """``xrays`` X-rays of one volume with ``config.starts_per_xray`` starts each, on the generator's device."""
        config, device = self.config, generator.device
        size = (config.rows, config.columns)
        chosen = torch.randint(len(volume.isocentres), (xrays,), generator=generator, device=device)
        fine = torch.rand(xrays, generator=generator, device=device) < config.fine_share
        truth = draw_cameras(generator, volume.isocentres.to(device)[chosen], size, fine, config.acquisition)
        paths = volume.materials(truth.ct_to_camera, truth.intrinsics, size)
        # Recipes are drawn on the CPU, from a seed that this generator gives.
        seed = int(torch.randint(2**31, (1,), generator=generator, device=device))
        recipe = draw_xray_recipe(torch.Generator().manual_seed(seed), xrays, self.xray)
        image = simulate_xray(paths[:, :1], paths[:, 1:2], recipe.to(device), generator)

        return self.with_starts(volume, truth, image.line_integral, image.mask, generator)

    def with_starts(
        self, volume: TrainingVolume, truth: Acquisitions, xray: Tensor, mask: Tensor, generator: torch.Generator
    ) -> SampleBatch:
        """Samples about X-rays that are there already: (M, 1, H, W) images and masks with their true acquisitions."""
        config, device = self.config, generator.device
        count, size = len(xray), (xray.shape[-2], xray.shape[-1])
        index = torch.arange(count, device=device).repeat_interleave(config.starts_per_xray)
        repeated = truth[index]
        start = draw_starts(generator, repeated, config.start)
        drr = volume.drr(start, repeated.intrinsics, size)
        surface = volume.surface
        contour = apparent_contour_batch(
            surface.points.expand(len(index), -1, -1),
            surface.gradients.expand(len(index), -1, -1),
            start,
            repeated.intrinsics,
            size,
            config.points,
            cell=2.0,
            tolerance=0.09,
            generator=generator,
        )
        return SampleBatch(
            drr=drr.to(torch.float32),
            xray=xray.to(torch.float32),
            mask=mask,
            xray_index=index,
            points=contour.points,
            gradients=contour.gradients,
            valid=contour.valid,
            start=start,
            truth=repeated.ct_to_camera,
            intrinsics=repeated.intrinsics,
        )


def flipped(batch: SampleBatch, columns: Tensor, rows: Tensor) -> SampleBatch:
    """Flip the images of chosen X-rays, with their DRRs, poses and cameras.

    columns, rows: (M,) bool. A flip of the columns sets u' = W - 1 - u and negates K[0, 0]; a flip of the rows is that
    and a half turn about the viewing axis, so that K[1, 1] stays positive.
    """
    height, width = batch.size
    drr, xray, mask = batch.drr, batch.xray, batch.mask

    def along(images: Tensor, chosen: Tensor, axis: int) -> Tensor:
        return torch.where(chosen[:, None, None, None], images.flip(axis), images)

    xray, mask = along(along(xray, columns, -1), rows, -2), along(along(mask, columns, -1), rows, -2)
    columns, rows = columns[batch.xray_index], rows[batch.xray_index]
    drr = along(along(drr, columns, -1), rows, -2)
    k = batch.intrinsics.clone()
    # u' = W - 1 - u and v' = H - 1 - v; a half turn about z (x, y -> -x, -y) then restores the sign of K[1, 1].
    k[columns, 0] = -k[columns, 0]
    k[columns, 0, 2] += width - 1
    k[rows, 1] = -k[rows, 1]
    k[rows, 1, 2] += height - 1
    k[rows, 0, 0] = -k[rows, 0, 0]
    k[rows, 1, 1] = -k[rows, 1, 1]
    turn = torch.diag(k.new_tensor([-1.0, -1.0, 1.0, 1.0]))
    start = torch.where(rows[:, None, None], turn @ batch.start, batch.start)
    truth = torch.where(rows[:, None, None], turn @ batch.truth, batch.truth)
    return replace(batch, drr=drr, xray=xray, mask=mask, start=start, truth=truth, intrinsics=k)


def turned(batch: SampleBatch, angle: Tensor, shift: Tensor) -> SampleBatch:
    """Turn the images of each X-ray by ``angle`` (M,) radians about its principal point, then shift by (M, 2) pixels.

    The turn changes both poses (about the viewing axis), the shift moves the principal point; pixels from outside are
    zero in the DRR and invalid in the X-ray. Pixels must be square.
    """
    height, width = batch.size
    first = torch.searchsorted(batch.xray_index, torch.arange(len(batch.xray), device=batch.xray_index.device))
    k = batch.intrinsics[first]
    principal = k[:, :2, 2]
    sign = k[:, 0, 0].sign()
    cosine, sine = torch.cos(angle), torch.sin(angle)
    # In pixels the turn is u' - c = Q (u - c); sampling needs its inverse.
    v, u = torch.meshgrid(
        torch.arange(height, device=angle.device, dtype=torch.float64),
        torch.arange(width, device=angle.device, dtype=torch.float64),
        indexing="ij",
    )
    du = u - (principal + shift)[:, 0, None, None]
    dv = v - (principal + shift)[:, 1, None, None]
    cos_, sin_ = cosine[:, None, None], sine[:, None, None]
    source_u = cos_ * du + sin_ * dv + principal[:, 0, None, None]
    source_v = -sin_ * du + cos_ * dv + principal[:, 1, None, None]
    grid = torch.stack([2 * source_u / (width - 1) - 1, 2 * source_v / (height - 1) - 1], dim=-1).to(batch.xray.dtype)

    def warp(images: Tensor, grid: Tensor) -> Tensor:
        return torch.nn.functional.grid_sample(images, grid, align_corners=True)

    mask = warp(batch.mask.to(batch.xray.dtype), grid) > 0.99
    xray = warp(batch.xray, grid)
    drr = warp(batch.drr, grid[batch.xray_index])
    # A turn by Q in pixels is one by sign * angle about z in the camera frame.
    signed = (sign * angle)[batch.xray_index]
    turn = torch.eye(4, dtype=torch.float64, device=angle.device).repeat(len(signed), 1, 1)
    turn[:, 0, 0] = turn[:, 1, 1] = torch.cos(signed)
    turn[:, 1, 0] = torch.sin(signed)
    turn[:, 0, 1] = -turn[:, 1, 0]
    intrinsics = batch.intrinsics.clone()
    intrinsics[:, :2, 2] += shift[batch.xray_index]
    return replace(
        batch,
        drr=drr,
        xray=xray,
        mask=mask,
        start=turn @ batch.start,
        truth=turn @ batch.truth,
        intrinsics=intrinsics,
    )


def augmented(batch: SampleBatch, generator: torch.Generator) -> SampleBatch:
    """Random flips, turns and shifts of each X-ray together with all its starts."""
    count, device = len(batch.xray), generator.device
    coin = torch.rand(2, count, generator=generator, device=device)
    # Mirrored images are common, images upside down are rare.
    batch = flipped(batch, coin[0] < 0.5, coin[1] < 0.1)
    angle = math.radians(6.0) * torch.randn(count, generator=generator, device=device, dtype=torch.float64)
    shift = 4.0 * torch.randn(count, 2, generator=generator, device=device, dtype=torch.float64)
    return turned(batch, angle, shift)
