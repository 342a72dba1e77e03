"""What every correspondence finder gets (a scene) and gives (matches)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from .camera import Camera
from .contours import ContourPoints, image_normals
from .drr_paired import Renderer
from .normalisation import normalise_for_network
from .poses import transform_points, transform_vectors
from .surface import SurfacePoints
from .xray import XRay


@dataclass(frozen=True)
class Progress:
    """Where a registration stands: finders may narrow their search as it goes on.

    level and levels, step and steps within the level (upper bounds), the largest offset in pixels to expect, and
    whether the step before, on this level, moved the contours by less than a pixel.
    """

    level: int = 0
    levels: int = 1
    step: int = 0
    steps: int = 1
    search_px: float = 20.0
    settled: bool = False

    @property
    def fraction(self) -> float:
        """How much of the registration lies behind, from 0 to 1, if no level ends early."""
        return (self.level + self.step / max(1, self.steps)) / max(1, self.levels)

    @property
    def last_level(self) -> bool:
        """True on the finest level."""
        return self.level == self.levels - 1


@dataclass(frozen=True)
class Scene:
    """One view at the current pose, at the resolution of the level.

    drr: (1, 1, H, W) line integrals at the current pose; xray: the X-ray (image, mask, camera) on the same grid;
    ct_to_camera: (4, 4) float64; contour: points that draw contours at this pose; surface: all surface points;
    renderer: for finders that need more than one DRR.
    """

    drr: Tensor
    xray: XRay
    ct_to_camera: Tensor
    contour: ContourPoints
    surface: SurfacePoints
    renderer: Renderer
    progress: Progress = field(default_factory=Progress)

    @property
    def camera(self) -> Camera:
        """The camera of the level's grid."""
        return self.xray.camera

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of the level's grid."""
        return self.xray.camera.size

    @property
    def pose(self) -> Tensor:
        """ct_to_camera in float32 beside the points."""
        return self.ct_to_camera.to(self.contour.points)

    @cached_property
    def normalised_drr(self) -> Tensor:
        """The DRR (1, 2, H, W) as networks see it; see ``normalise_for_network``."""
        return normalise_for_network(self.drr)

    @cached_property
    def points_in_camera(self) -> Tensor:
        """Contour points (M, 3) in the camera frame, mm."""
        return transform_points(self.pose, self.contour.points)

    @cached_property
    def gradients_in_camera(self) -> Tensor:
        """Their gradients (M, 3) in the camera frame."""
        return transform_vectors(self.pose, self.contour.gradients)

    @cached_property
    def normals(self) -> Tensor:
        """Unit normals (M, 2) of the contours in the image, towards the denser side."""
        return image_normals(
            self.points_in_camera, self.gradients_in_camera, self.camera.intrinsics.to(self.contour.points)
        )


@dataclass(frozen=True)
class Matches:
    """Where the contour points of a scene are found in the X-ray.

    pixels (M, 2) = contour pixels + flow (M, 2), in pixels of the level; weights (M,) from 0 (ignore) to 1; log_scale
    (M,) the logarithm of the predicted error in pixels, where the finder predicts one.
    """

    pixels: Tensor
    weights: Tensor
    flow: Tensor
    log_scale: Tensor | None = None

    @classmethod
    def from_flow(
        cls, contour: ContourPoints, flow: Tensor, weights: Tensor, log_scale: Tensor | None = None
    ) -> Matches:
        """Matches at the contour's pixels moved by ``flow`` (M, 2)."""
        return cls(contour.pixels + flow, weights, flow, log_scale)


class CorrespondenceFinder(Protocol):
    """Finds where contour points went. May keep networks; keeps nothing about a registration between calls."""

    def find(self, scene: Scene) -> Matches:
        """Matches for every contour point of the scene, in its order; what was not found has weight 0."""
        ...


class Weighting(Protocol):
    """Judges matches that a finder has made."""

    def weigh(self, scene: Scene, matches: Matches) -> Tensor:
        """Weights (M,) from 0 to 1 in place of the finder's own."""
        ...


def no_matches(scene: Scene) -> Matches:
    """Matches of weight zero that move nothing."""
    flow = torch.zeros_like(scene.contour.pixels)
    return Matches.from_flow(scene.contour, flow, flow[:, 0])
