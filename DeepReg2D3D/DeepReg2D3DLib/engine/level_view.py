"""One X-ray at one level of a registration: its part that shows the CT, the DRR there, the contour points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .camera import project
from .contours import ContourPoints, apparent_contour_points
from .correspondences import Progress, Scene
from .drr_paired import Renderer
from .image_gradient import image_gradient
from .poses import transform_points
from .region import depth_of, level_xray, pixel_at_depth, region_of_interest
from .setup import RegistrationSetup
from .similarity import gradient_ncc_of
from .surface import SurfacePoints
from .xray import XRay

RESELECT_PX = 1.0
"""Contour points are selected anew once they have moved this far on average."""
CONTOUR_TOLERANCES = (0.07, 0.12)
"""|cos| between gradient and viewing ray: 4 degrees, or 7 where that gives fewer than ENOUGH_POINTS."""
ENOUGH_POINTS = 250


@dataclass
class LevelView:
    """The X-ray on the level's grid, the renderer for it, the size of a pixel in mm at the CT, and the DRR and contour
    points at the pose of the latest step."""

    xray: XRay
    renderer: Renderer
    pixel_mm: float
    drr: Tensor | None = None
    contour: ContourPoints | None = None
    asked_points: int = 0
    """How many contour points were asked for."""
    moved_px: float = math.inf
    """How far they have moved, as seen, since they were selected."""

    @classmethod
    def around(
        cls, setup: RegistrationSetup, xray: XRay, ct_to_world: Tensor, long_side: int, margin_mm: float
    ) -> LevelView:
        """The part of an X-ray around the CT at a pose (4, 4), ``long_side`` pixels long. Raises DegenerateError where
        the CT is not in the X-ray."""
        ct_to_camera = xray.camera.ct_to_camera(ct_to_world)
        region = region_of_interest(setup.surface, ct_to_camera, xray, margin_mm)
        part = level_xray(xray, region, long_side)
        pixel = pixel_at_depth(part, depth_of(setup.surface, ct_to_camera))
        return cls(part, setup.renderer(pixel), pixel)

    def render(self, ct_to_world: Tensor) -> None:
        """The DRR at a pose (4, 4)."""
        camera = self.xray.camera
        with torch.no_grad():
            self.drr = self.renderer(camera.ct_to_camera(ct_to_world)[None], camera.intrinsics, camera.size).to(
                torch.float32
            )

    def similarity(self) -> float:
        """Gradient NCC of the DRR and the X-ray."""
        return float(gradient_ncc_of(self.drr, self.xray)[0])

    def scene(self, surface: SurfacePoints, ct_to_world: Tensor, progress: Progress, most_points: int) -> Scene:
        """What a method is shown at a pose (4, 4), whose DRR has been rendered."""
        camera = self.xray.camera
        ct_to_camera = camera.ct_to_camera(ct_to_world)
        pose = ct_to_camera.to(surface.points)
        intrinsics = camera.intrinsics.to(pose)
        if self.contour is None or self.moved_px > RESELECT_PX or self.asked_points != most_points:
            self.contour = self._select_contour(surface, pose, intrinsics, most_points)
            self.moved_px, self.asked_points = 0.0, most_points
        else:
            # The same points, so that the last steps settle instead of jumping between selections.
            pixels = project(transform_points(pose, self.contour.points), intrinsics)
            self.contour = ContourPoints(self.contour.points, self.contour.gradients, pixels)
        return Scene(self.drr, self.xray, ct_to_camera, self.contour, surface, self.renderer, progress)

    def moved(self, before: Tensor, after: Tensor) -> tuple[float, float]:
        """Note that the CT moves from one pose (4, 4) to another: by how many mm the contour points move on average, in
        space and across their viewing rays."""
        points = self.contour.points.to("cpu", torch.float64)
        if len(points) == 0:  # the CT lies beside the image, and may come into it
            self.moved_px = math.inf
            return 0.0, 0.0
        old, new = (transform_points(self.xray.camera.ct_to_camera(pose), points) for pose in (before, after))
        motion = new - old
        across = motion - (motion * old).sum(-1, keepdim=True) * old / old.square().sum(-1, keepdim=True)
        seen_mm = float(across.norm(dim=-1).mean())
        self.moved_px += seen_mm / self.pixel_mm
        return float(motion.norm(dim=-1).mean()), seen_mm

    def _select_contour(
        self, surface: SurfacePoints, pose: Tensor, intrinsics: Tensor, most_points: int
    ) -> ContourPoints:
        """Contour points at a pose; where a small bone has few, those that are less exactly on the contour, too."""
        strength = image_gradient(self.drr, 1.0)[0]
        for tolerance in CONTOUR_TOLERANCES:
            contour = apparent_contour_points(
                surface,
                pose,
                intrinsics,
                self.xray.camera.size,
                None,
                most_points,
                tolerance=tolerance,
                strength_image=strength,
            )
            if len(contour) >= ENOUGH_POINTS:
                break
        return contour
