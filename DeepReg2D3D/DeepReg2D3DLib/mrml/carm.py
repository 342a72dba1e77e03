"""The numbers by which people know a C-arm's view, and the camera that they describe."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .xray_camera import XRayCamera

# What a view without any geometry starts from; shown as "assumed" until someone has looked at it.
ASSUMED_SDD_MM = 1000.0
ASSUMED_SOD_MM = 700.0
ASSUMED_SPACING_MM = 0.5


@dataclass(frozen=True)
class CArmNumbers:
    """One view in words of the clinic.

    Attributes:
        source_to_detector: SDD, mm.
        source_to_isocenter: distance along the principal ray from the source to the world's origin, mm.
        pixel_spacing: (su, sv) at the detector, mm.
        principal_point: (cu, cv), pixels.
        primary_deg: DICOM positioner primary angle (RAO negative, LAO positive).
        secondary_deg: DICOM positioner secondary angle (caudal negative, cranial positive).
        mirrored: the image is as seen from the detector towards the source.
    """

    source_to_detector: float
    source_to_isocenter: float
    pixel_spacing: tuple[float, float]
    principal_point: tuple[float, float]
    primary_deg: float
    secondary_deg: float
    mirrored: bool


def carm_frame(primary_deg: float, secondary_deg: float) -> np.ndarray:
    """(3, 3) right-handed frame of a C-arm in LPS: columns u, -v, d with d from the source to the detector.

    d = (sin a cos b, -cos a cos b, sin b): DICOM PS3.3 C.8.7.5.1.2 for a head-first supine patient.
    """
    a, b = np.deg2rad([primary_deg, secondary_deg])
    u = np.array([np.cos(a), np.sin(a), 0.0])
    d = np.array([np.sin(a) * np.cos(b), -np.cos(a) * np.cos(b), np.sin(b)])
    return np.stack([u, np.cross(d, u), d], axis=1)


def angles_of(direction: np.ndarray) -> tuple[float, float]:
    """Primary and secondary angle in degrees of a direction (3,) from the source to the detector, LPS."""
    x, y, z = np.asarray(direction, float) / np.linalg.norm(direction)
    secondary = float(np.rad2deg(np.arcsin(np.clip(z, -1.0, 1.0))))
    primary = 0.0 if np.hypot(x, y) < 1e-9 else float(np.rad2deg(np.arctan2(x, -y)))
    return primary, secondary


def numbers_from_camera(camera: XRayCamera) -> CArmNumbers:
    """The C-arm's numbers of a camera."""
    rotation = camera.world_to_camera[:3, :3]
    primary, secondary = angles_of(rotation[2])
    k = camera.intrinsics
    return CArmNumbers(
        source_to_detector=float(k[1, 1] * camera.pixel_spacing[1]),
        source_to_isocenter=float(camera.world_to_camera[2, 3]),
        pixel_spacing=(float(camera.pixel_spacing[0]), float(camera.pixel_spacing[1])),
        principal_point=(float(k[0, 2]), float(k[1, 2])),
        primary_deg=primary,
        secondary_deg=secondary,
        mirrored=bool(k[0, 0] < 0),
    )


def camera_with_numbers(camera: XRayCamera, numbers: CArmNumbers) -> XRayCamera:
    """`camera` changed to `numbers`. What the numbers don't say stays: turn of the image, offset of the isocentre.

    New angles turn the C-arm about the isocentre, the world's origin. Mirroring is the sign of K[0, 0]: the camera's
    frame stays right-handed, the columns of the image run the other way.
    """
    old = numbers_from_camera(camera)
    turn = np.eye(4)
    frame = carm_frame(numbers.primary_deg, numbers.secondary_deg)
    turn[:3, :3] = frame @ carm_frame(old.primary_deg, old.secondary_deg).T
    world_to_camera = camera.world_to_camera @ np.linalg.inv(turn)
    world_to_camera[2, 3] = numbers.source_to_isocenter
    su, sv = numbers.pixel_spacing
    sign = -1.0 if numbers.mirrored else 1.0
    intrinsics = camera.intrinsics.copy()
    intrinsics[0, 0] = sign * numbers.source_to_detector / su
    intrinsics[1, 1] = numbers.source_to_detector / sv
    intrinsics[0, 2], intrinsics[1, 2] = numbers.principal_point
    return replace(camera, intrinsics=intrinsics, world_to_camera=world_to_camera, pixel_spacing=(su, sv))


def assumed_camera(columns: int, rows: int, name: str, lateral: bool = False, spacing_mm: float | None = None):
    """A camera for an image that came without geometry: a usual frontal (or left lateral) radiograph.

    The source is in front of the patient (lateral: at the left), the isocentre in the middle of the image.
    """
    spacing = spacing_mm or ASSUMED_SPACING_MM
    rotation = [[0, 1, 0], [0, 0, -1], [-1, 0, 0]] if lateral else [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = rotation
    world_to_camera[2, 3] = ASSUMED_SOD_MM
    focal = ASSUMED_SDD_MM / spacing
    intrinsics = np.array([[focal, 0, (columns - 1) / 2], [0, focal, (rows - 1) / 2], [0, 0, 1.0]])
    return XRayCamera(
        intrinsics=intrinsics,
        world_to_camera=world_to_camera,
        columns=columns,
        rows=rows,
        pixel_spacing=(spacing, spacing),
        name=name,
    )


def summary(numbers: CArmNumbers) -> str:
    """One line for the table of views."""
    su, sv = numbers.pixel_spacing
    spacing = f"{su:.3g}" if abs(su - sv) < 1e-6 else f"{su:.3g} x {sv:.3g}"
    return (
        f"SDD {numbers.source_to_detector:.0f} mm, {spacing} mm/px, "
        f"{numbers.primary_deg:.0f}\N{DEGREE SIGN} / {numbers.secondary_deg:.0f}\N{DEGREE SIGN}"
    )
