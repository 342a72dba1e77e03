"""Training volumes of one patient: the CT that is to be registered, and copies that lie and scan a little otherwise.

The same CT serves all of them, so the copies differ only in what may differ between a patient's CT and a later X-ray of
the same patient: posture by a little, the HU curve, bone density, noise, and what the CT's ends leave out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..engine.atomic import atomic_path
from ..engine.camera import Camera
from ..engine.errors import InputError
from ..engine.poses import transform_points
from ..engine.surface import SurfacePoints
from ..engine.volume import Volume
from .acquisition import AcquisitionConfig
from .deformation import DeformationSettings
from .volumes import PreparedVolume, VolumeSettings, load_prepared, prepare_volume, save_prepared

STILL = DeformationSettings(mirror=0.0, scale=(1.0, 1.0), stretch=0.0, bend_mm=0.0, twist_deg=0.0, warp_mm=0.0)
POSTURE = DeformationSettings(mirror=0.0, scale=(0.99, 1.01), stretch=0.01, bend_mm=3.0, twist_deg=1.5, warp_mm=0.6)
SAME_PATIENT = VolumeSettings(deformation=POSTURE, bone_gain=(0.85, 1.15), noise=(0.0, 25.0))
COPIES = 3
"""Training volumes beside the CT as it is."""
SOURCE = "ct.npz"
_AIMS = 64


@dataclass(frozen=True)
class Aim:
    """Where X-rays are taken, when the views are known. points: (K, 3) of the CT that are seen, mm."""

    acquisition: AcquisitionConfig
    points: Tensor


def aim_of(cameras: list[Camera], ct_to_world: Tensor, surface: SurfacePoints) -> Aim:
    """Acquisitions about known views of a CT at a pose (4, 4): the same distances and fields, turned by a few degrees.

    Raises InputError for a view that does not see the CT.
    """
    rotations, distances, magnifications, widths, seen = [], [], [], [], []
    points = surface.points.to("cpu", torch.float64)
    for camera in cameras:
        ct_to_camera = camera.ct_to_camera(ct_to_world.to(torch.float64))
        u, v = camera.project_world(transform_points(ct_to_world.to(torch.float64), points)).unbind(-1)
        depth = transform_points(ct_to_camera, points)[:, 2]
        columns, rows = camera.columns - 1, camera.rows - 1
        inside = (depth > 0) & ((u / columns - 0.5).abs() < 0.35) & ((v / rows - 0.5).abs() < 0.35)
        if int(inside.sum()) < 50:
            raise InputError(
                f"View '{camera.name}' hardly sees the CT's bone at this pose: give the pose with --init, or leave "
                "--geometry out."
            )
        distance = float(camera.intrinsics[1, 1]) * camera.pixel_spacing[1]
        rotations.append(tuple(ct_to_camera[:3, :3].flatten().tolist()))
        distances.append(distance)
        magnifications.append(distance / float(depth[inside].median()))
        widths.append(camera.columns * camera.pixel_spacing[0])
        seen.append(points[inside][:: max(1, int(inside.sum()) // _AIMS)])
    acquisition = AcquisitionConfig(
        source_to_detector=(0.97 * min(distances), 1.03 * max(distances)),
        magnification=(0.95 * min(magnifications), 1.05 * max(magnifications)),
        detector_width=(0.85 * min(widths), 1.05 * max(widths)),
        fine_width=(0.4 * min(widths), 0.6 * max(widths)),
        view_rotations=tuple(rotations),
    )
    return Aim(acquisition, torch.cat(seen))


@dataclass(frozen=True)
class PatientVolumes:
    """The volumes of one CT in a folder, made where they are missing: a set that a process filling a ring can iterate.

    aims: points of the CT that X-rays are aimed at; None takes the spine, or the bone where there is no spine.
    """

    cache: Path
    seed: int = 0
    aims: Tensor | None = None

    def keep(self, ct: Volume) -> None:
        """Put the CT, as coarse as the volumes need it, where ``volumes`` finds it, in whatever process that runs."""
        body = ct.cropped_to_body()
        wanted = 0.75 * SAME_PATIENT.xray_spacing
        body = body.resampled(tuple(max(wanted, own) for own in body.spacing))
        self.cache.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.cache / SOURCE) as part, part.open("wb") as file:
            np.savez(file, hu=body.hu.to(torch.float32).round().to(torch.int16).numpy(), matrix=body.ijk_to_ct.numpy())

    def volumes(self) -> Iterator[Path]:
        """Files to train on: the CT as it is, then its copies."""
        for index in range(1 + COPIES):
            yield self._made(f"train_{index:04d}_ct.npz", self.seed + index, SAME_PATIENT, vary=index > 0)

    def held_out(self) -> PreparedVolume:
        """The volume that is never trained on: the patient lying still, scanned otherwise."""
        settings = replace(SAME_PATIENT, deformation=STILL, truncation=0.0)
        return load_prepared(self._made("val_ct.npz", self.seed - 1, settings, vary=True))

    def _made(self, name: str, seed: int, settings: VolumeSettings, vary: bool) -> Path:
        path = self.cache / name
        if not path.exists():
            with np.load(self.cache / SOURCE, allow_pickle=False) as stored:
                ct = Volume(torch.from_numpy(stored["hu"]), torch.from_numpy(stored["matrix"]), "the CT")
            made = prepare_volume(ct, torch.Generator().manual_seed(seed % 2**62), settings, vary)
            save_prepared(replace(made, isocentres=self._aims(made)), path)
        return path

    def _aims(self, made: PreparedVolume) -> Tensor:
        if self.aims is not None:
            return self.aims
        if len(made.isocentres) >= 3:
            return made.isocentres
        return made.points[:: max(1, len(made.points) // _AIMS)].to(torch.float64)
