"""The X-ray camera in numpy: what Slicer's process needs of the engine's ``Camera`` without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class XRayCamera:
    """One X-ray view, as the engine's ``Camera``.

    intrinsics: (3, 3), [[+-SDD/su, skew, cu], [0, SDD/sv, cv], [0, 0, 1]], negative K[0, 0] where mirrored.
    world_to_camera: (4, 4) rigid, LPS mm. columns, rows: image size. pixel_spacing: (su, sv) mm at the detector.
    """

    intrinsics: np.ndarray
    world_to_camera: np.ndarray
    columns: int
    rows: int
    pixel_spacing: tuple[float, float] = (1.0, 1.0)
    name: str = "view"

    def __post_init__(self) -> None:
        object.__setattr__(self, "intrinsics", np.array(self.intrinsics, dtype=np.float64).reshape(3, 3))
        object.__setattr__(self, "world_to_camera", np.array(self.world_to_camera, dtype=np.float64).reshape(4, 4))

    @classmethod
    def from_json(cls, camera: Mapping[str, Any]) -> XRayCamera:
        """The camera of a message or a node's attribute."""
        return cls(
            camera["intrinsics"],
            camera["world_to_camera"],
            int(camera["columns"]),
            int(camera["rows"]),
            (float(camera["pixel_spacing_mm"][0]), float(camera["pixel_spacing_mm"][1])),
            str(camera.get("name", "view")),
        )

    def to_json(self) -> dict[str, Any]:
        """As messages and node attributes carry it."""
        return {
            "name": self.name,
            "columns": int(self.columns),
            "rows": int(self.rows),
            "intrinsics": self.intrinsics.tolist(),
            "world_to_camera": self.world_to_camera.tolist(),
            "pixel_spacing_mm": [float(s) for s in self.pixel_spacing],
        }

    @property
    def mirrored(self) -> bool:
        """True where the image is seen from the detector towards the source."""
        return bool(self.intrinsics[0, 0] < 0)

    @property
    def source_to_detector(self) -> float:
        """SDD in mm."""
        return float(self.intrinsics[1, 1] * self.pixel_spacing[1])

    @property
    def principal_point(self) -> tuple[float, float]:
        """(cu, cv) in pixels."""
        return float(self.intrinsics[0, 2]), float(self.intrinsics[1, 2])

    @property
    def camera_to_world(self) -> np.ndarray:
        """(4, 4), the inverse of world_to_camera."""
        return np.linalg.inv(self.world_to_camera)

    @property
    def source(self) -> np.ndarray:
        """The X-ray source in world, (3,) LPS mm."""
        return self.camera_to_world[:3, 3]

    @property
    def axis(self) -> np.ndarray:
        """Unit vector from the source to the detector, (3,) LPS."""
        return self.world_to_camera[2, :3].copy()

    def depth(self, point: np.ndarray) -> float:
        """Distance of a world point (3,) from the source plane, mm."""
        return float(self.world_to_camera[2, :3] @ np.asarray(point) + self.world_to_camera[2, 3])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of world points (..., 3) LPS in front of the source."""
        seen = np.asarray(points) @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        homogeneous = seen @ self.intrinsics.T
        return homogeneous[..., :2] / homogeneous[..., 2:]

    def detector_points(self, pixels: np.ndarray) -> np.ndarray:
        """World points (..., 3) LPS on the detector plane of pixels (..., 2)."""
        pixels = np.asarray(pixels, dtype=np.float64)
        homogeneous = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1)
        seen = self.source_to_detector * homogeneous @ np.linalg.inv(self.intrinsics).T
        back = self.camera_to_world
        return seen @ back[:3, :3].T + back[:3, 3]

    def corners(self) -> np.ndarray:
        """World points (4, 3) LPS of the detector's outer corners, around the image: (0, 0), (W, 0), (W, H), (0, H)."""
        right, bottom = self.columns - 0.5, self.rows - 0.5
        return self.detector_points(np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]]))

    def ijk_to_lps(self) -> np.ndarray:
        """(4, 4): pixel (u, v, 0) to its place on the detector, LPS mm; the third axis is 1 mm and right-handed."""
        origin, along_u, along_v = self.detector_points(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        du, dv = along_u - origin, along_v - origin
        normal = np.cross(du, dv)
        matrix = np.eye(4)
        matrix[:3] = np.stack([du, dv, normal / np.linalg.norm(normal), origin], axis=1)
        return matrix

    def resized(self, columns: int, rows: int) -> XRayCamera:
        """The camera of the image resampled to columns x rows pixels over the same field."""
        su, sv = columns / self.columns, rows / self.rows
        change = np.array([[su, 0, 0.5 * su - 0.5], [0, sv, 0.5 * sv - 0.5], [0, 0, 1]])
        spacing = (self.pixel_spacing[0] / su, self.pixel_spacing[1] / sv)
        return replace(self, intrinsics=change @ self.intrinsics, columns=columns, rows=rows, pixel_spacing=spacing)

    def pixels_in(self, other: XRayCamera) -> np.ndarray:
        """(3, 3): homogeneous pixels of this camera to those of ``other``, which looks from the same place."""
        return other.intrinsics @ np.linalg.inv(self.intrinsics)
