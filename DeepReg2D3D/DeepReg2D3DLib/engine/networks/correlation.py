"""All-pairs correlation of two feature maps, its pyramid, and the windows that the update operator looks up.

After RAFT (Teed and Deng, ECCV 2020, section 3.2). Correlations are computed and kept in float32 under autocast: half
precision overflows where many features agree.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def cell_grid(rows: int, columns: int, device: torch.device) -> Tensor:
    """The cells' own coordinates (1, 2, rows, columns) as (column, row), float32."""
    v = torch.arange(rows, dtype=torch.float32, device=device)
    u = torch.arange(columns, dtype=torch.float32, device=device)
    return torch.stack(torch.meshgrid(u, v, indexing="xy")).unsqueeze(0)


class Level(NamedTuple):
    """One resolution of the target: volume (B, h w, rows columns), its size, and how many fine cells a cell spans."""

    volume: Tensor
    rows: int
    columns: int
    span: int


class CorrelationPyramid:
    """Correlation of every cell of one map with every cell of another, at several resolutions of the other.

    reference, target: (B, C, h, w) features. Level l holds (B, h w, h / 2^l, w / 2^l): dot products over sqrt(C). Since
    correlation is linear, pooling the target's features gives the same pyramid as pooling the volume, for less. A
    target too small to halve again is repeated, so that any image gives the same number of channels.
    """

    def __init__(self, reference: Tensor, target: Tensor, levels: int, radius: int) -> None:
        self.batch, channels, self.rows, self.columns = reference.shape
        self.radius = radius
        self.levels: list[Level] = []
        with torch.autocast(reference.device.type, enabled=False):
            queries = reference.float().flatten(2).transpose(1, 2) * channels**-0.5
            target, span = target.float(), 1
            for level in range(levels):
                if level and min(target.shape[-2:]) >= 2:
                    target, span = F.avg_pool2d(target, 2), 2 * span
                volume = torch.bmm(queries, target.flatten(2))
                self.levels.append(Level(volume, target.shape[-2], target.shape[-1], span))
        reach = torch.arange(-radius, radius + 1, dtype=torch.float32, device=reference.device)
        self._window = torch.stack(torch.meshgrid(reach, reach, indexing="xy"), dim=-1)

    def look_up(self, positions: Tensor) -> Tensor:
        """Windows of (2 radius + 1)^2 correlations around ``positions`` on each level, zero outside the map.

        positions: (B, 2, h, w) target cells (column, row) that each reference cell now points at. Returns
        (B, levels (2 radius + 1)^2, h, w), stored channels last; within a window the column changes fastest.
        """
        side = 2 * self.radius + 1
        centres = positions.float().permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
        windows = []
        for volume, rows, columns, span in self.levels:
            # A coarse cell's centre lies between the fine ones that it averages: c' = (c + 0.5) / span - 0.5; then
            # grid_sample's own coordinates: 2 (c' + 0.5) / size - 1.
            scale = centres.new_tensor([2.0 / columns, 2.0 / rows])
            where = torch.addcmul((centres + 0.5) * (scale / span) - 1, self._window, scale)
            image = volume.reshape(-1, 1, rows, columns)
            windows.append(F.grid_sample(image, where, align_corners=False).reshape(-1, side * side))
        found = torch.cat(windows, dim=1)
        return found.view(self.batch, self.rows, self.columns, -1).permute(0, 3, 1, 2)
