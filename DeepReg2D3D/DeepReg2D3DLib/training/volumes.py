"""One training volume: a real CT, a different copy of one, or a phantom, prepared for rendering and cached.

Every volume exists twice. The DRR is rendered from the one that stands for the CT that a user loads: noisy, with the
HU curve and slice thickness of some scanner, sometimes cut to the field of a cone-beam CT. The X-ray is made from the
other: the whole patient on a finer grid, shifted against the first, with another HU curve and no noise, and often going
on beyond the CT's last slices. So a network cannot live on the two images coming from one and the same array of voxels,
nor on the cut faces of the CT, which no real X-ray shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..engine.atomic import atomic_path
from ..engine.errors import InputError
from ..engine.surface import SurfacePoints, SurfaceSettings, extract_surface_points
from ..engine.volume import Volume
from .deformation import DeformationSettings, deformed, draw_deformation, identity_deformation
from .draws import uniform


@dataclass(frozen=True)
class VolumeSettings:
    """How one training volume is made. Lengths in mm, densities in HU.

    bone_gain: of the patient's bone; curve: relative deviation of bone between the scanner's HU and the X-ray's world;
    noise: of the CT at its spacing; slice_blur: extra width along z of the CT; truncation: how often the CT is cut to a
    block of truncation_mm; continued: how often the X-ray's patient goes on beyond the CT's ends (its slices mirrored
    there, at most continued_mm).
    """

    drr_spacing: float = 2.0
    xray_spacing: float = 1.6
    deformation: DeformationSettings = field(default_factory=DeformationSettings)
    bone_gain: tuple[float, float] = (0.7, 1.3)
    curve: float = 0.08
    noise: tuple[float, float] = (0.0, 40.0)
    slice_blur: float = 3.0
    truncation: float = 0.35
    truncation_mm: tuple[float, float] = (180.0, 260.0)
    continued: float = 0.6
    continued_mm: float = 90.0
    surface_points: int = 60_000


@dataclass(frozen=True)
class PreparedVolume:
    """What the cache holds of one volume: ``ct`` (the DRR's) and ``patient`` (the X-ray's) in HU, the CT's surface
    points and gradients (N, 3) in LPS mm, isocentres (K, 3) along the spine, and how many slices the patient goes on
    at either end (``continued_patient``)."""

    name: str
    ct: Volume
    patient: Volume
    points: Tensor
    gradients: Tensor
    isocentres: Tensor
    continued: int = 0

    def continued_patient(self) -> Volume:
        """The patient with ``continued`` slices more at either end, mirrored from those inside (not stored: large)."""
        count = min(self.continued, self.patient.shape[0] - 1)
        if count == 0:
            return self.patient
        last = self.patient.shape[0] - 1
        index = torch.arange(-count, last + count + 1).abs()
        index = last - (last - index).abs()
        matrix = self.patient.ijk_to_ct.clone()
        matrix[:3, 3] -= count * matrix[:3, 2]
        return Volume(self.patient.hu[index], matrix, self.patient.name)


def bone_remapped(hu: Tensor, gain: float, offset: float = 0.0) -> Tensor:
    """HU with everything above 100 HU scaled about 100, and soft tissue shifted by ``offset``."""
    changed = hu + (gain - 1) * (hu - 100).clamp_min(0)
    return torch.where(hu > -200, changed + offset, changed)


def _blurred_along_z(hu: Tensor, sigma_voxels: float) -> Tensor:
    if sigma_voxels < 0.2:
        return hu
    reach = max(1, int(3 * sigma_voxels))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma_voxels) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, -1)
    lines = hu.flatten(1).T[:, None]
    return functional.conv1d(functional.pad(lines, (reach, reach), mode="replicate"), kernel)[:, 0].T.reshape(hu.shape)


def spine_points(volume: Volume, step_mm: float = 10.0) -> Tensor:
    """(K, 3) float64 LPS points near the vertebral column, one every ``step_mm`` along z (the grid's third axis).

    In every slab the densest accumulation of bone over about 45 mm in plane, smoothed along the spine; the volume's
    axes must be about those of LPS. Good to a few cm: isocentres for random acquisitions, not landmarks.
    """
    coarse = volume.resampled(5.0) if min(volume.spacing) < 4.5 else volume
    hu = coarse.hu.to(torch.float32)
    slices, rows, columns = hu.shape
    slab = max(1, round(step_mm / coarse.spacing[2]))
    groups = max(1, slices // slab)
    bone = ((hu - 120) / 400).clamp(0, 2)[: groups * slab].reshape(groups, slab, rows, columns).mean(1)
    body = (hu > -300).float()[: groups * slab].reshape(groups, slab, rows, columns).mean(1)
    window = max(1, round(45.0 / coarse.spacing[0])) // 2 * 2 + 1
    mass = functional.avg_pool2d(bone[:, None], window, 1, window // 2)[:, 0]
    # Near the body's median plane, which keeps hips, shoulders and arms out, and behind its middle, which keeps a heart
    # full of contrast and the sternum out.
    columns_at, rows_at = torch.arange(columns, dtype=torch.float32), torch.arange(rows, dtype=torch.float32)
    middle = (body.sum((0, 1)) * columns_at).sum() / body.sum().clamp_min(1)
    behind = (body.sum((0, 2)) * rows_at).sum() / body.sum().clamp_min(1) + 40.0 / coarse.spacing[1]
    mass = mass * torch.exp(-0.5 * ((columns_at - middle) * coarse.spacing[0] / 45.0) ** 2)
    mass = mass * torch.exp(-0.5 * ((rows_at - behind) * coarse.spacing[1] / 35.0) ** 2)[:, None]
    # Soft arg-max over the plane of each slab, sharpened, then a running mean along the spine.
    weight = (mass / mass.amax((1, 2), keepdim=True).clamp_min(1e-6)) ** 8
    total = weight.sum((1, 2)).clamp_min(1e-6)
    j = (weight.sum(2) * rows_at).sum(1) / total
    i = (weight.sum(1) * columns_at).sum(1) / total
    line = torch.stack([i, j], 0)[None]
    if groups >= 5:
        line = functional.avg_pool1d(functional.pad(line, (2, 2), mode="replicate"), 5, 1)
    k = (torch.arange(groups) + 0.5) * slab - 0.5
    ijk = torch.stack([line[0, 0], line[0, 1], k.float()], 1).to(torch.float64)
    has_bone = mass.amax((1, 2)) > 0.1 * mass.max()
    return (ijk @ coarse.ijk_to_ct[:3, :3].T + coarse.ijk_to_ct[:3, 3])[has_bone]


def prepare_volume(
    source: Volume, generator: torch.Generator, settings: VolumeSettings | None = None, vary: bool = True
) -> PreparedVolume:
    """One training volume from a CT or phantom: deformed and remapped when ``vary``, else the patient as scanned.

    Even an unvaried one has two different grids, and the CT's blur along z.
    """
    s = settings or VolumeSettings()
    source = source.cropped_to_body()
    # Sampling is trilinear, so the source is brought near the target's spacing first.
    wanted = tuple(max(0.75 * s.drr_spacing, own) for own in source.spacing)
    coarse = source.resampled(wanted)
    size = torch.tensor(list(reversed(coarse.shape)), dtype=torch.float64)
    extent = coarse.ijk_to_ct[:3, :3].abs() @ (size - 1)
    change = draw_deformation(generator, extent, s.deformation) if vary else identity_deformation(extent)
    ct = deformed(coarse, change, s.drr_spacing)
    finer = tuple(max(0.75 * s.xray_spacing, own) for own in source.spacing)
    patient_source = source.resampled(finer) if finer != wanted else coarse
    patient = deformed(patient_source, change, s.xray_spacing, offset=0.37)

    gain = float(uniform(generator, 1, *s.bone_gain)) if vary else 1.0
    curve = 1 + s.curve * float(torch.randn(1, generator=generator)) if vary else 1.0
    offset = 15.0 * float(torch.randn(1, generator=generator)) if vary else 0.0
    patient = Volume(bone_remapped(patient.hu, gain), patient.ijk_to_ct, source.name)
    hu = bone_remapped(ct.hu, gain * curve, offset)
    hu = _blurred_along_z(hu, float(uniform(generator, 1, 0.0, s.slice_blur)) / 2.355 / s.drr_spacing)
    noise = float(uniform(generator, 1, *s.noise)) if vary else 0.0
    if noise > 1:
        inside = hu > -950
        hu = hu + noise * torch.randn(hu.shape, generator=generator) * inside
    ct = Volume(hu.clamp(-1024, 6000), ct.ijk_to_ct, source.name)
    spine = spine_points(patient)
    if vary and float(torch.rand(1, generator=generator)) < s.truncation:
        ct = _truncated(ct, spine, generator, s)
        inside = _inside(ct, spine)
        spine = spine[inside] if bool(inside.any()) else spine
    surface = _surface(ct, s.surface_points)
    goes_on = vary and float(torch.rand(1, generator=generator)) < s.continued
    continued = int(s.continued_mm / s.xray_spacing) if goes_on else 0
    return PreparedVolume(source.name, ct, patient, surface.points, surface.gradients, spine, continued)


def _surface(ct: Volume, count: int) -> SurfacePoints:
    """Surface points, with lower thresholds where porous bone or coarse voxels leave too few."""
    for factor in (1.0, 0.4, 0.1):
        weak, strong = factor * SurfaceSettings.weak, factor * SurfaceSettings.strong
        try:
            surface = extract_surface_points(ct, SurfaceSettings(max_points=count, weak=weak, strong=strong))
        except InputError:
            continue
        if len(surface) >= 2000 or factor < 0.2:
            return surface
    raise InputError(f"CT '{ct.name}': no bone surface was found in a training volume made of it.")


def _inside(volume: Volume, points: Tensor, margin: float = 0.0) -> Tensor:
    low, high = volume.corners.amin(0), volume.corners.amax(0)
    return ((points > low + margin) & (points < high - margin)).all(1)


def _truncated(ct: Volume, spine: Tensor, generator: torch.Generator, s: VolumeSettings) -> Volume:
    """The CT cut to a block about a point of the spine, as a cone-beam CT's field would."""
    if len(spine) == 0:
        return ct
    middle = spine[int(torch.randint(len(spine), (1,), generator=generator))]
    middle = middle + torch.randn(3, generator=generator, dtype=torch.float64) * 20
    half = 0.5 * uniform(generator, 3, *s.truncation_mm).to(torch.float64)
    half[1] = half[0]
    inverse = torch.linalg.inv(ct.ijk_to_ct)
    ends = torch.stack([middle - half, middle + half]) @ inverse[:3, :3].T + inverse[:3, 3]
    size = torch.tensor(list(reversed(ct.shape)))
    low = ends.amin(0).round().long().clamp_min(0)
    high = torch.minimum(ends.amax(0).round().long(), size)
    spacing = torch.tensor(ct.spacing)
    if bool(((high - low) * spacing < 90).any()):
        return ct
    return ct.cropped(tuple(low.tolist()), tuple(high.tolist()))


def save_prepared(volume: PreparedVolume, path: Path) -> None:
    """Write one volume as .npz: HU as int16, the rest as float32 and float64. A torn file never appears."""
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(
            file,
            name=np.array(volume.name),
            ct=volume.ct.hu.round().to(torch.int16).numpy(),
            ct_matrix=volume.ct.ijk_to_ct.numpy(),
            patient=volume.patient.hu.round().to(torch.int16).numpy(),
            patient_matrix=volume.patient.ijk_to_ct.numpy(),
            points=volume.points.numpy(),
            gradients=volume.gradients.numpy(),
            isocentres=volume.isocentres.numpy(),
            continued=np.array(volume.continued),
        )


def load_prepared(path: Path) -> PreparedVolume:
    """Read what ``save_prepared`` wrote (HU stay int16)."""
    with np.load(path, allow_pickle=False) as stored:
        name, continued = str(stored["name"]), int(stored["continued"])
        tensors = {key: torch.from_numpy(stored[key]) for key in stored.files if stored[key].ndim > 0}
    return PreparedVolume(
        name,
        Volume(tensors["ct"], tensors["ct_matrix"], name),
        Volume(tensors["patient"], tensors["patient_matrix"], name),
        tensors["points"],
        tensors["gradients"],
        tensors["isocentres"],
        continued,
    )
