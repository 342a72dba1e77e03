"""What the torso phantom is painted with: a voxel grid in mm, signed distances of simple bodies, and bone tissue."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Point = Sequence[float]


class Block:
    """A box of voxels of the canvas: index slices and coordinates x (1, 1, nx), y (1, ny, 1), z (nz, 1, 1) in mm."""

    def __init__(self, index: tuple[slice, slice, slice], x: Tensor, y: Tensor, z: Tensor) -> None:
        self.index, self.x, self.y, self.z = index, x, y, z

    def local(self, origin: Point, axes: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates about ``origin``, along the columns of ``axes`` (3, 3) where given."""
        x, y, z = self.x - origin[0], self.y - origin[1], self.z - origin[2]
        if axes is None:
            return x, y, z
        a = axes.tolist()
        return tuple(a[0][c] * x + a[1][c] * y + a[2][c] * z for c in range(3))


class Canvas:
    """HU (slices, rows, columns) float32 on a grid along LPS axes; ``low`` is the first voxel centre in mm."""

    def __init__(self, low: Point, shape: tuple[int, int, int], spacing: float, generator: torch.Generator) -> None:
        self.spacing = spacing
        self.shape = shape
        self.axes = [low[a] + spacing * torch.arange(shape[2 - a], dtype=torch.float32) for a in range(3)]
        self.hu = torch.full(shape, -1000.0)
        # One block of noise serves every texture: voxel by voxel, and smooth over about 3 voxels.
        self.grain = torch.randn(shape, generator=generator)

    def block(self, low: Point, high: Point) -> Block | None:
        """The voxels within [low, high], or None when the grid holds none."""
        bounds = []
        for axis in range(3):
            values = self.axes[axis]
            first = int(torch.searchsorted(values, low[axis]))
            last = int(torch.searchsorted(values, high[axis], right=True))
            if first >= last:
                return None
            bounds.append(slice(first, last))
        x, y, z = (self.axes[a][bounds[a]] for a in range(3))
        return Block((bounds[2], bounds[1], bounds[0]), x[None, None, :], y[None, :, None], z[:, None, None])

    def around(self, points: Sequence[Point], margin: float) -> Block | None:
        """The voxels within the bounding box of some points and a margin."""
        low = [min(p[a] for p in points) - margin for a in range(3)]
        high = [max(p[a] for p in points) + margin for a in range(3)]
        return self.block(low, high)

    def fill(self, block: Block, distance: Tensor, hu: Tensor | float, soft: float = 0.5) -> None:
        """Paint the inside of a signed distance (mm, negative inside) with HU, with an edge of ``soft`` mm more."""
        share = (0.5 - distance / (self.spacing + soft)).clamp(0, 1)
        view = self.hu[block.index]
        view += share * (hu - view)

    def bone(
        self,
        block: Block,
        distance: Tensor,
        cortex_mm: float,
        cortex_hu: float,
        marrow_hu: float,
        texture: float = 45.0,
    ) -> None:
        """Paint a bone: a cortical shell, trabeculae that thin out towards the middle, and their texture.

        Where bones touch, the denser wins. The shell's peak falls when it is thinner than a voxel.
        """
        inside = (0.5 - distance / self.spacing).clamp(0, 1)
        depth = -distance
        # Overlap of the shell [0, cortex] with a voxel of the canvas about this depth.
        half = 0.5 * self.spacing
        shell = ((depth + half).clamp_max(cortex_mm) - (depth - half).clamp_min(0)).clamp_min(0) / self.spacing
        grain = self.grain[block.index]
        trabecular = marrow_hu + 0.35 * marrow_hu * torch.exp(-depth.clamp_min(0) / 3.0) + texture * grain
        value = shell * (cortex_hu + 1.3 * texture * grain) + (inside - shell).clamp_min(0) * trabecular
        view = self.hu[block.index]
        painted = value + (1 - inside) * view
        view.copy_(torch.where(inside > 0, torch.maximum(painted, torch.where(view > 150, view, painted)), view))


def capsule(p: tuple[Tensor, Tensor, Tensor], a: Point, b: Point, ra: float, rb: float, stretch: Point = (1, 1, 1)):
    """Signed distance to a capsule between a and b whose radius goes from ra to rb; cross-sections are stretched along
    the axes by ``stretch`` (distances then are those of the thinnest axis)."""
    q = [(p[i] - a[i]) / stretch[i] for i in range(3)]
    d = [(b[i] - a[i]) / stretch[i] for i in range(3)]
    length = max(sum(v * v for v in d), 1e-9)
    t = ((q[0] * d[0] + q[1] * d[1] + q[2] * d[2]) / length).clamp(0, 1)
    squared = sum((q[i] - t * d[i]) ** 2 for i in range(3))
    return squared.sqrt() - (ra + (rb - ra) * t)


def ellipsoid(p: tuple[Tensor, Tensor, Tensor], centre: Point, radii: Point) -> Tensor:
    """About the signed distance to an ellipsoid along the axes (exact on its surface)."""
    q = [(p[i] - centre[i]) / radii[i] for i in range(3)]
    k = (q[0] ** 2 + q[1] ** 2 + q[2] ** 2).sqrt()
    slope = ((q[0] / radii[0]) ** 2 + (q[1] / radii[1]) ** 2 + (q[2] / radii[2]) ** 2).sqrt()
    # The small terms give the middle, where both vanish, the distance of the smallest radius.
    return (k + 1e-6) * (k - 1) / (slope + 1e-6 / min(radii))


def smooth_union(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Minimum of two distances, blended over ``width`` mm."""
    h = (width - (a - b).abs()).clamp_min(0) / width
    return torch.minimum(a, b) - h * h * (width / 4)


def smooth_intersection(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Maximum of two distances, its edge rounded over ``width`` mm."""
    return -smooth_union(-a, -b, width)


def curve(points: Sequence[Point], step: float) -> list[list[float]]:
    """A Catmull-Rom curve through points, sampled about every ``step`` mm."""
    p = torch.tensor([points[0], *points, points[-1]], dtype=torch.float64)
    result = []
    for i in range(1, len(p) - 2):
        count = max(2, int((p[i + 1] - p[i]).norm() / step))
        t = (torch.arange(count, dtype=torch.float64) / count)[:, None]
        a = 2 * p[i]
        b = p[i + 1] - p[i - 1]
        c = 2 * p[i - 1] - 5 * p[i] + 4 * p[i + 1] - p[i + 2]
        d = -p[i - 1] + 3 * p[i] - 3 * p[i + 1] + p[i + 2]
        result += (0.5 * (a + b * t + c * t**2 + d * t**3)).tolist()
    return [*result, p[-1].tolist()]


def interpolated(table: Sequence[tuple[float, float]], at: Tensor) -> Tensor:
    """Values at ``at`` of a smooth-ish curve through (position, value), positions rising, constant beyond the ends."""
    positions = torch.tensor([t[0] for t in table])
    values = torch.tensor([t[1] for t in table])
    index = torch.searchsorted(positions, at.clamp(positions[0], positions[-1]).contiguous()).clamp(1, len(table) - 1)
    share = (at - positions[index - 1]) / (positions[index] - positions[index - 1])
    share = share.clamp(0, 1)
    share = share * share * (3 - 2 * share)
    return values[index - 1] + share * (values[index] - values[index - 1])
