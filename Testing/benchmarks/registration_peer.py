"""The peer of a registration: nanodrr's gradient registration, coarse to fine (pip install nanodrr).

nanodrr brings the pose as a differentiable module (``Registration``), the similarities and ``rescale_``; the recipe is
the one its author published for it (xvr, Gopalakrishnan et al.): the mean of multi-scale NCC (whole image and 9 x 9
patches) and gradient NCC (11 x 11 patches), Adam with 0.01 rad and 1 mm (a half and an eighth of that at the next
resolutions), steps divided by ten whenever ten iterations bring nothing, on to the next resolution after the third
time. We give it line integrals of our own attenuation, the
X-ray's field (zero outside, in both images), and resolutions by the longer side in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from DeepReg2D3DLib.engine.poses import invert_pose, orthonormalised
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.xray import XRay
from torch import Tensor


@dataclass(frozen=True)
class PeerSettings:
    """sides: pixels along the longer side, coarse to fine; steps in rad and mm; iterations at most, a resolution."""

    sides: tuple[int, ...] = (64, 128, 256)
    step_rad: float = 1e-2
    step_mm: float = 1.0
    patience: int = 10
    plateaus: int = 3
    iterations: int = 500
    samples: int = 500
    gradient_sigma: float = 1.0
    """Pixels; the recipe's own 10 belongs to images of 1,500 pixels, nanodrr's default is 1."""


class NanoDrrRegistration:
    """nanodrr's registration of one CT to single X-rays, on ``device``."""

    def __init__(self, volume: Volume, device: torch.device, settings: PeerSettings | None = None) -> None:
        from nanodrr.data import Subject
        from nanodrr.metrics import GradientNormalizedCrossCorrelation2d, MultiscaleNormalizedCrossCorrelation2d
        from nanodrr.registration import Registration

        self._registration = Registration
        self.settings, self.device = settings or PeerSettings(), device
        image = volume.attenuation()[None, None]
        self.subject = Subject(
            image,
            torch.zeros_like(image),
            volume.ijk_to_ct.to(torch.float32),
            torch.linalg.inv(volume.ijk_to_ct).to(torch.float32),
            Subject._make_voxel_to_grid(image.shape),
            volume.centre.to(torch.float32),
            convert_to_mu=False,
        ).to(device)
        self._whole = MultiscaleNormalizedCrossCorrelation2d([None, 9], [0.5, 0.5]).to(device)
        self._edges = GradientNormalizedCrossCorrelation2d(11, self.settings.gradient_sigma).to(device)

    def register(self, xray: XRay, ct_to_world: Tensor) -> tuple[Tensor, int]:
        """The pose ct_to_world (4, 4) float64 that it ends at, and the number of iterations."""
        camera_to_ct = invert_pose(xray.camera.ct_to_camera(ct_to_world))
        total = 0
        for stage, side in enumerate(self.settings.sides):
            step = 2.0 ** -(stage * (stage + 1) // 2)
            camera_to_ct, used = self._stage(self._at(xray, side), camera_to_ct, step)
            total += used
        return invert_pose(xray.camera.world_to_camera) @ invert_pose(camera_to_ct), total

    def _at(self, xray: XRay, side: int) -> XRay:
        scale = min(1.0, side / max(xray.camera.size))
        return xray.resized(round(scale * xray.camera.columns), round(scale * xray.camera.rows)).to(self.device)

    def _stage(self, xray: XRay, camera_to_ct: Tensor, step: float) -> tuple[Tensor, int]:
        """One resolution, with steps ``step`` times the first one's."""
        settings, camera = self.settings, xray.camera
        k = camera.intrinsics.clone()
        k[:2, 2] += 0.5  # nanodrr counts from the pixels' outer edge
        # Rays must end behind the CT, wherever the start put it.
        distance = torch.tensor([1.5 * camera.source_to_detector], device=self.device)
        module = self._registration(
            self.subject,
            camera_to_ct[None].to(self.device, torch.float32),
            torch.linalg.inv(k)[None].to(self.device, torch.float32),
            distance,
            camera.rows,
            camera.columns,
        )
        inside = xray.mask.to(torch.float32)
        fixed = xray.line_integral * inside
        optimiser = torch.optim.Adam(
            [
                {"params": [module._rot], "lr": step * settings.step_rad},
                {"params": [module._xyz], "lr": step * settings.step_mm},
            ],
            maximize=True,
        )
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, mode="max", factor=0.1, patience=settings.patience
        )
        rate, plateaus, iteration = optimiser.param_groups[0]["lr"], 0, 0
        while iteration < settings.iterations and plateaus < settings.plateaus:
            iteration += 1
            optimiser.zero_grad()
            moving = module(n_samples=settings.samples) * inside
            similarity = 0.5 * self._whole(fixed, moving) + 0.5 * self._edges(fixed, moving)
            similarity.sum().backward()
            optimiser.step()
            schedule.step(float(similarity.detach()))
            now = optimiser.param_groups[0]["lr"]
            plateaus, rate = plateaus + (now < rate), now
        with torch.no_grad():
            pose = module.pose[0].to("cpu", torch.float64)
        return _rigid(pose), iteration


def _rigid(pose: Tensor) -> Tensor:
    pose = pose.clone()
    pose[:3, :3] = orthonormalised(pose[:3, :3])
    return pose
