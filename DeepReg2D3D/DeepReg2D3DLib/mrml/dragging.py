"""What a drag in an X-ray view does to the pose: the overlay stays under the pointer."""

from __future__ import annotations

import numpy as np

from .xray_camera import XRayCamera


class ViewDrag:
    """One drag (or turn of the wheel) in one view. All results start from the pose at its beginning.

    Args:
        camera: the view's camera.
        pose: (4, 4) ct_to_world at the beginning, LPS mm.
        centre: (3,) the CT's centre in its own LPS, mm; it is what stays under the pointer, and the pivot.
    """

    def __init__(self, camera: XRayCamera, pose: np.ndarray, centre: np.ndarray) -> None:
        self._camera, self._pose = camera, np.asarray(pose, float)
        self._centre = (self._pose @ np.append(np.asarray(centre, float), 1.0))[:3]
        in_camera = (camera.world_to_camera @ np.append(self._centre, 1.0))[:3]
        self._depth = float(in_camera[2])
        seen = camera.intrinsics @ in_camera
        self.centre_pixel = seen[:2] / seen[2]
        """(2,) where the CT's centre is seen, (u, v)."""
        self._rotation = camera.world_to_camera[:3, :3]
        self._ray = self._rotation.T @ (in_camera / np.linalg.norm(in_camera))

    def translated(self, du: float, dv: float) -> np.ndarray:
        """The pose moved parallel to the detector so that the CT's centre is seen (du, dv) pixels further.

        A pixel at the detector is SOD/SDD of its size at the CT's depth; both are in depth / focal length.
        """
        k = self._camera.intrinsics
        dy = dv * self._depth / k[1, 1]
        dx = (du * self._depth - k[0, 1] * dy) / k[0, 0]
        return self._moved(self._rotation.T @ np.array([dx, dy, 0.0]))

    def rotated(self, angle: float) -> np.ndarray:
        """The pose turned by `angle` (rad, from +u to +v) about the ray through the CT's centre."""
        # In a mirrored image u runs against the camera's x, so that the turn looks the other way round.
        turn = _rotation_about(self._ray, angle * np.sign(self._camera.intrinsics[0, 0]))
        matrix = np.eye(4)
        matrix[:3, :3] = turn
        matrix[:3, 3] = self._centre - turn @ self._centre
        return matrix @ self._pose

    def deepened(self, distance: float) -> np.ndarray:
        """The pose moved `distance` mm away from the source, along the ray through the CT's centre."""
        return self._moved(distance * self._ray)

    def _moved(self, shift: np.ndarray) -> np.ndarray:
        moved = self._pose.copy()
        moved[:3, 3] += shift
        return moved


def _rotation_about(axis: np.ndarray, angle: float) -> np.ndarray:
    """(3, 3) rotation by `angle` (rad) about the unit vector `axis` (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
