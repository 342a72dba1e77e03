"""A whole test case from a CT, a geometry and a pose: realistic X-rays, the true pose, targets and starts.

The X-ray is not made from the voxels that the case hands over as its CT: the patient behind it lies on another, finer
grid, with another bone density and HU curve and smoothed noise, so a registration can't profit from both images coming
from one array (the inverse crime).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from ..engine.camera import Camera
from ..engine.case_file import Case, save_case
from ..engine.drr import DrrRenderer
from ..engine.errors import InputError
from ..engine.folder_lock import folder_lock
from ..engine.geometry_file import load_geometry, save_geometry
from ..engine.image_files import write_image
from ..engine.pose_file import load_pose
from ..engine.poses import transform_points
from ..engine.random_starts import draw_starts
from ..engine.view_files import image_stems
from ..engine.volume import Volume
from ..engine.volume_io import load_volume, save_volume
from .deformation import deformed, identity_deformation
from .draws import uniform
from .simulator import REALISTIC, XraySettings, draw_xray_recipe, simulate_xray
from .spectrum import split_materials
from .volumes import bone_remapped, spine_points

TARGETS = 300
STARTS = 60
FARTHEST_START = 60.0  # mm mTRE
_LARGEST_PATIENT = 40e6  # voxels
_FULL_SCALE = 65535


def patient_behind(ct: Volume, generator: torch.Generator) -> Volume:
    """The patient whose X-ray is taken, in float32 HU: the CT on another, finer grid, its noise smoothed along the way,
    with bone 3 to 10 % denser or less dense and soft tissue a few HU off."""
    body = ct.cropped_to_body()
    size = torch.tensor(list(reversed(body.shape)), dtype=torch.float64)
    extent = body.ijk_to_ct[:3, :3].abs() @ (size - 1)
    spacing = 0.8 * min(body.spacing)
    spacing = max(spacing, float((extent.prod() / _LARGEST_PATIENT) ** (1 / 3)))
    finer = deformed(body, identity_deformation(extent), spacing, offset=0.31)
    gain = 1 + float(uniform(generator, 1, 0.03, 0.10)) * (1 if float(uniform(generator, 1, -1, 1)) > 0 else -1)
    return Volume(bone_remapped(finer.hu, gain, float(uniform(generator, 1, -10, 10))), finer.ijk_to_ct, ct.name)


def simulate_views(
    patient: Volume,
    cameras: Sequence[Camera],
    ct_to_world: Tensor,
    generator: torch.Generator,
    settings: XraySettings = REALISTIC,
    device: torch.device | str = "cpu",
) -> list[Tensor]:
    """X-ray images (rows, columns) in [0, 1], proportional to photons, bone dark, one a camera.

    Raises InputError when a view doesn't see the patient.
    """
    renderer = DrrRenderer(split_materials(patient.hu).to(device), patient.ijk_to_ct)
    images = []
    for camera in cameras:
        pose = camera.ct_to_camera(ct_to_world.to(torch.float64))[None]
        paths = renderer(pose, camera.intrinsics, camera.size).to(torch.float32)
        if float((paths[:, :1] > 0.2).float().mean()) < 0.01:
            raise InputError(
                f"View '{camera.name}' does not see the CT at this pose: its rays pass beside it. Give --pose, or a "
                "geometry whose world is the CT's frame."
            )
        recipe = draw_xray_recipe(generator, 1, settings).to(device)
        noise = torch.Generator(device).manual_seed(int(recipe.detector.seed[0]))
        images.append(simulate_xray(paths[:, :1], paths[:, 1:], recipe, noise).intensity[0, 0].cpu())
    return images


def draw_targets(
    ct: Volume, cameras: Sequence[Camera], ct_to_world: Tensor, generator: torch.Generator, count: int = TARGETS
) -> Tensor:
    """(count, 3) float64 CT points on dense bone near the spine, seen by every view where there are enough of them.

    Without such bone: dense bone anywhere, or else anything denser than fat.
    """
    coarse = ct.cropped_to_body().resampled(tuple(max(2.0, s) for s in ct.spacing))
    spine = spine_points(coarse)
    for threshold, near in ((250, True), (250, False), (-50, False)):
        ijk = (coarse.hu > threshold).nonzero().flip(1).to(torch.float64)
        points = transform_points(coarse.ijk_to_ct, ijk)
        if near and len(spine) and len(points):
            level = (points[:, None, 2] - spine[None, :, 2]).abs().argmin(1)
            points = points[(points - spine[level])[:, :2].norm(dim=1) < 45]
        if len(points) < count:
            continue
        world = transform_points(ct_to_world.to(torch.float64), points)
        seen = torch.ones(len(points), dtype=torch.bool)
        for camera in cameras:
            u, v = camera.project_world(world).unbind(1)
            seen &= (u > 0) & (v > 0) & (u < camera.columns - 1) & (v < camera.rows - 1)
        if int(seen.sum()) >= count:
            points = points[seen]
        return points[torch.randperm(len(points), generator=generator)[:count]]
    raise InputError(f"CT '{ct.name}' holds too little tissue for {count} target points.")


def _write_intensity(image: Tensor, path: Path, spacing: tuple[float, float]) -> None:
    stored = sitk.GetImageFromArray((image * _FULL_SCALE).round().clamp(0, _FULL_SCALE).numpy().astype(np.uint16))
    stored.SetSpacing([float(s) for s in spacing])
    write_image(stored, path)


def run_simulate(
    ct: str | Path,
    geometry: str | Path,
    pose: str | Path | Tensor | None,
    out: str | Path,
    seed: int = 0,
    settings: XraySettings = REALISTIC,
    device: torch.device | str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write a case folder: ct.nrrd, an X-ray a view, geometry.json, pose.json, case.json. Returns the images' paths.

    pose: a file, ct_to_world (4, 4), or None for identity. The same arguments give the same files.
    Raises InputError when an input can't be used or a view does not see the CT.
    """
    out = Path(out)
    tell = progress or (lambda message: None)
    tell("reading the CT")
    volume = load_volume(ct)
    views = load_geometry(geometry)
    truth = pose if isinstance(pose, Tensor) else torch.eye(4, dtype=torch.float64) if pose is None else load_pose(pose)
    generator = torch.Generator().manual_seed(seed)
    cameras = [view.camera for view in views]
    tell("rendering the X-rays")
    images = simulate_views(patient_behind(volume, generator), cameras, truth, generator, settings, device)
    targets = draw_targets(volume, cameras, truth, generator)
    drawn = sorted(draw_starts(truth, targets, STARTS, FARTHEST_START, seed), key=lambda start: start.initial_mtre)
    starts = [(f"{index:03d}", start.pose) for index, start in enumerate(drawn)]
    tell("writing the case")
    with folder_lock(out):
        paths, written = [], []
        for view, image, stem in zip(views, images, image_stems([view.name for view in views]), strict=True):
            path = out / f"{stem}.nrrd"
            _write_intensity(image, path, view.camera.pixel_spacing)
            paths.append(path)
            written.append(replace(view, image=path, image_kind="intensity"))
        save_volume(volume, out / "ct.nrrd")
        save_geometry(written, out / "geometry.json")
        case = Case(out.absolute().name, out / "ct.nrrd", out / "geometry.json", truth, targets, starts)
        save_case(case, out)
    return paths
