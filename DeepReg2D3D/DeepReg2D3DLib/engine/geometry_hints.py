"""What foreign geometry formats leave open and somebody has to say: frame, image size, spacing, what is in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .errors import InputError

COORDINATES = ("LPS", "RAS")
MAX_SIDE = 32768


@dataclass(frozen=True)
class GeometryHints:
    """Said by the user, or read from the images.

    coordinates: 'LPS' or 'RAS', the axes of the foreign file's world, or None where nobody said.
    sizes: (columns, rows) of each view, or one for all.
    spacing: (su, sv) mm at the detector. origin: (x, y) mm on the detector of the first pixel's centre, for RTK.
    in_front: a world point (3,) in LPS in front of every source, as the CT's centre is; None: the world's origin.
    """

    coordinates: str | None = None
    sizes: Sequence[tuple[int, int]] = ()
    spacing: tuple[float, float] | None = None
    origin: tuple[float, float] | None = None
    in_front: Tensor | None = None

    def size(self, index: int, count: int, path: Path) -> tuple[int, int]:
        """(columns, rows) of view ``index`` of ``count``. Raises InputError where it is not known."""
        if len(self.sizes) not in (0, 1, count):
            raise InputError(f"{path}: has {count} views, but {len(self.sizes)} image sizes were given.")
        if not self.sizes:
            raise InputError(
                f"{path}: does not say how large the images are; give them with --xray, or their size with --size."
            )
        columns, rows = self.sizes[index if len(self.sizes) > 1 else 0]
        if not (1 <= columns <= MAX_SIDE and 1 <= rows <= MAX_SIDE):
            raise InputError(f"{path}: {columns} x {rows} is no size of an image.")
        return columns, rows

    def frame(self, path: Path, what: str) -> str:
        """The coordinate system, which no default may stand for. Raises InputError where nobody said it."""
        if self.coordinates not in COORDINATES:
            raise InputError(
                f"{path}: {what} do not say whether world is LPS (ITK, DICOM) or RAS (3D Slicer); say it with "
                "--coordinates (reading) or --out-coordinates (writing)."
            )
        return self.coordinates

    def front_point(self) -> Tensor:
        """(3,) float64, world LPS."""
        return torch.zeros(3, dtype=torch.float64) if self.in_front is None else self.in_front.to(torch.float64)


def from_world(coordinates: str) -> Tensor:
    """(4, 4) from LPS to ``coordinates`` and back: RAS turns the first two axes round."""
    signs = [-1.0, -1.0, 1.0, 1.0] if coordinates == "RAS" else [1.0] * 4
    return torch.diag(torch.tensor(signs, dtype=torch.float64))
