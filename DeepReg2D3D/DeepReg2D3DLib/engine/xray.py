"""An X-ray image as the engine works with it: line integrals, the pixels that can be trusted, and the camera."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from .camera import Camera
from .errors import InputError
from .image_gradient import masked_gradient
from .normalisation import normalise_for_network
from .resampling import resized_taps


@dataclass(frozen=True)
class XRay:
    """One X-ray view.

    line_integral: (1, 1, rows, columns) float32, attenuation times length, bone bright, finite everywhere.
    mask: (1, 1, rows, columns) bool, True where the pixel shows what the beam met (not the collimator's shadow).
    camera: its size is the image's.

    What a registration asks of the image at every step is computed once and kept: ``normalised`` and ``gradient``.
    """

    line_integral: Tensor
    mask: Tensor
    camera: Camera
    name: str = "view"
    _gradients: dict[float, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        wanted = (1, 1, *self.camera.size)
        for what, values, dtype in (
            ("line integrals", self.line_integral, torch.float32),
            ("mask", self.mask, torch.bool),
        ):
            if tuple(values.shape) != wanted or values.dtype != dtype:
                raise InputError(
                    f"X-ray '{self.name}': the {what} are {tuple(values.shape)} of {values.dtype}; the camera needs "
                    f"{wanted} of {dtype}."
                )
        if not bool(torch.isfinite(self.line_integral).all()):
            raise InputError(f"X-ray '{self.name}': its line integrals have values that are not finite.")

    @cached_property
    def normalised(self) -> Tensor:
        """The image (1, 2, rows, columns) as networks see it; see ``normalise_for_network``."""
        return normalise_for_network(self.line_integral, self.mask)

    def gradient(self, sigma: float) -> tuple[Tensor, Tensor]:
        """Gradient (1, 2, rows, columns), zero where it is not valid, and where it is; see ``masked_gradient``."""
        if sigma not in self._gradients:
            self._gradients[sigma] = masked_gradient(self.line_integral, self.mask, sigma)
        return self._gradients[sigma]

    def resized(self, columns: int, rows: int) -> XRay:
        """The image on columns x rows pixels over the same field.

        A smaller image averages the valid pixels under each new pixel (a larger one is interpolated); a new pixel is
        valid where at least half of it was. Where nothing was valid the plain average stands, so no edge appears.
        """
        if (rows, columns) == self.camera.size:
            return self
        down, across = resized_taps(self.camera.rows, rows), resized_taps(self.camera.columns, columns)

        given = torch.cat([self.mask.to(torch.float32), self.line_integral * self.mask, self.line_integral], 1)
        share, valid, plain = across.apply(down.apply(given, -2), -1).split(1, dim=1)
        image = torch.where(share > 1e-3, valid / share.clamp(min=1e-3), plain)
        return XRay(image, share >= 0.5, self.camera.resized(columns, rows), self.name)

    def to(self, device: torch.device | str) -> XRay:
        """The X-ray with its image and mask on ``device`` (the camera stays on the CPU)."""
        return XRay(self.line_integral.to(device), self.mask.to(device), self.camera, self.name)
