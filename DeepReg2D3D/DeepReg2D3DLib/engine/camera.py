"""The X-ray camera: a point source, a flat detector, and the projection between them.

Frames (see ``Camera``): the camera frame has its origin at the source and z towards the detector; y runs down the image
rows; x runs along the image columns, or against them where the image is mirrored. Pixel centres lie at integers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import InputError
from .poses import check_rigid, invert_pose, make_pose, orthonormalised, transform_points

_NARROWEST, _WIDEST, _LARGEST_INTRINSIC = 1e-5, 20.0, 1e8


def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Pixels (..., N, 2) as (u, v) of points (..., N, 3) in the camera frame, by intrinsics (..., 3, 3).

    Points at or behind the source plane have no image: their pixels are meaningless, so test ``points[..., 2] > 0``.
    """
    homogeneous = points @ intrinsics.transpose(-1, -2)
    return homogeneous[..., :2] / homogeneous[..., 2:]


def backproject(pixels: Tensor, intrinsics: Tensor) -> Tensor:
    """Camera-frame points (..., N, 3) at depth z = 1 that are seen at pixels (..., N, 2)."""
    inverse = torch.linalg.inv(intrinsics)
    return torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1) @ inverse.transpose(-1, -2)


def resize_intrinsics(intrinsics: Tensor, scale_u: float, scale_v: float) -> Tensor:
    """Intrinsics (..., 3, 3) after an image was resized by (scale_u, scale_v), with c' = s (c + 0.5) - 0.5."""
    change = torch.tensor(
        [[scale_u, 0.0, 0.5 * scale_u - 0.5], [0.0, scale_v, 0.5 * scale_v - 0.5], [0.0, 0.0, 1.0]],
        dtype=intrinsics.dtype,
        device=intrinsics.device,
    )
    return change @ intrinsics


def decompose_projection(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Split a 3x4 projection matrix (world mm to pixels) into intrinsics (3, 3) and world_to_camera (4, 4).

    The scale of the matrix is arbitrary, its sign is not: the third component of P x is positive in front of the
    source. R is a rotation, K[1, 1] > 0, K[2, 2] = 1, and K[0, 0] has the sign of det(P[:, :3]): negative means
    mirrored. Skew is kept. Raises InputError when the matrix is not a finite projective camera.
    """
    if tuple(matrix.shape) != (3, 4):
        raise InputError(f"projection_matrix: expected 3 rows of 4 numbers, found shape {tuple(matrix.shape)}.")
    p = matrix.to(torch.float64)
    if not bool(torch.isfinite(p).all()):
        raise InputError("projection_matrix: it has values that are not finite numbers.")
    if p.abs().max() > 0:
        p = p / p.abs().max()  # its scale is arbitrary, and products of huge numbers overflow
    length = p[2, :3].norm()
    determinant = torch.det(p[:, :3])
    lengths = p[:, :3].norm(dim=1)
    if lengths.min() < 1e-100 or determinant.abs() <= 1e-12 * lengths.prod():
        raise InputError("projection_matrix: its left 3x3 part is singular, so it describes no point source.")
    p = p / length
    # RQ by hand, from the last row up: M = K R with K upper triangular and K[2, 2] = 1.
    r3 = p[2, :3]
    cv = p[1, :3] @ r3
    residual = p[1, :3] - cv * r3
    fv = residual.norm()
    r2 = residual / fv
    r1 = torch.linalg.cross(r2, r3)
    fu, skew, cu = p[0, :3] @ r1, p[0, :3] @ r2, p[0, :3] @ r3
    zero, one = torch.zeros_like(fu), torch.ones_like(fu)
    intrinsics = torch.stack([fu, skew, cu, zero, fv, cv, zero, zero, one]).reshape(3, 3)
    rotation = orthonormalised(torch.stack([r1, r2, r3]))
    translation = torch.linalg.solve(intrinsics, p[:, 3])
    return intrinsics, make_pose(rotation, translation)


@dataclass(frozen=True)
class Camera:
    """One X-ray view.

    intrinsics: (3, 3) float64, [[+-SDD/su, skew, cu], [0, SDD/sv, cv], [0, 0, 1]]; K[0, 0] < 0 exactly where mirrored.
    world_to_camera: (4, 4) float64 rigid, LPS mm.
    columns, rows: image size in pixels.
    pixel_spacing: (su, sv) in mm at the detector, along columns u and rows v.
    """

    intrinsics: Tensor
    world_to_camera: Tensor
    columns: int
    rows: int
    pixel_spacing: tuple[float, float] = (1.0, 1.0)
    name: str = "view"

    def __post_init__(self) -> None:
        k = torch.as_tensor(self.intrinsics, dtype=torch.float64)
        if tuple(k.shape) != (3, 3) or not bool(torch.isfinite(k).all()):
            raise InputError(f"View '{self.name}': the intrinsics must be 3x3 finite numbers.")
        if abs(float(k[1, 0])) > 1e-6 or not torch.allclose(k[2], k.new_tensor([0.0, 0.0, 1.0]), atol=1e-6):
            raise InputError(
                f"View '{self.name}': the intrinsics must be of the form [[fu, s, cu], [0, fv, cv], [0, 0, 1]], found "
                f"{k.tolist()}."
            )
        if k[1, 1] <= 0 or k[0, 0] == 0:
            raise InputError(f"View '{self.name}': the intrinsics need K[1][1] > 0 and K[0][0] not 0.")
        if self.columns < 1 or self.rows < 1:
            raise InputError(f"View '{self.name}': image size {self.columns} x {self.rows} is not positive.")
        if not all(0 < spacing < float("inf") for spacing in self.pixel_spacing):
            raise InputError(f"View '{self.name}': pixel spacing {self.pixel_spacing} mm must be positive.")
        # The tangent of the beam's opening: real ones are 0.1 to 1, a few columns cut out of an image a thousandth.
        wide = max(self.columns / abs(float(k[0, 0])), self.rows / float(k[1, 1]))
        if not _NARROWEST < wide < _WIDEST or not bool((k.abs() < _LARGEST_INTRINSIC).all()):
            raise InputError(
                f"View '{self.name}': no X-ray beam opens like that (the image is {wide:.3g} times as wide as its "
                "distance from the source). Distance and pixel spacing must be in mm, the principal point in pixels."
            )
        pose = torch.as_tensor(self.world_to_camera, dtype=torch.float64)
        object.__setattr__(self, "intrinsics", k)
        object.__setattr__(self, "world_to_camera", check_rigid(pose, f"View '{self.name}' world_to_camera"))

    @classmethod
    def from_parameters(
        cls,
        *,
        source_to_detector: float,
        pixel_spacing: tuple[float, float],
        principal_point: tuple[float, float],
        world_to_camera: Tensor,
        columns: int,
        rows: int,
        mirrored: bool = False,
        name: str = "view",
    ) -> Camera:
        """Camera from SDD in mm, spacing (su, sv) in mm at the detector and principal point (cu, cv) in pixels."""
        if not source_to_detector > 0 or min(pixel_spacing) <= 0:
            raise InputError(
                f"View '{name}': source_to_detector_mm ({source_to_detector}) and pixel_spacing_mm ({pixel_spacing}) "
                "must be positive."
            )
        fu, fv = (source_to_detector / s for s in pixel_spacing)
        k = [[-fu if mirrored else fu, 0.0, principal_point[0]], [0.0, fv, principal_point[1]], [0.0, 0.0, 1.0]]
        return cls(torch.tensor(k, dtype=torch.float64), world_to_camera, columns, rows, tuple(pixel_spacing), name)

    @classmethod
    def from_projection_matrix(
        cls,
        matrix: Tensor,
        columns: int,
        rows: int,
        pixel_spacing: tuple[float, float] | None = None,
        name: str = "view",
    ) -> Camera:
        """Camera from a 3x4 matrix, world mm to pixels (see ``decompose_projection``).

        ``pixel_spacing`` sets SDD = K[1, 1] sv; without it 1 mm is assumed, for display only.
        """
        intrinsics, world_to_camera = decompose_projection(matrix)
        return cls(intrinsics, world_to_camera, columns, rows, pixel_spacing or (1.0, 1.0), name)

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
    def size(self) -> tuple[int, int]:
        """(rows, columns), as torch orders an image."""
        return self.rows, self.columns

    @property
    def source(self) -> Tensor:
        """The X-ray source in world, (3,) mm."""
        return invert_pose(self.world_to_camera)[:3, 3]

    @property
    def axis(self) -> Tensor:
        """Unit vector in world along the principal ray, from the source to the detector, (3,)."""
        return self.world_to_camera[2, :3].clone()

    @property
    def projection_matrix(self) -> Tensor:
        """P = K [R|t], (3, 4), world mm to pixels, positive in front of the source."""
        return self.intrinsics @ self.world_to_camera[:3]

    def project_world(self, points: Tensor) -> Tensor:
        """Pixels (N, 2) of world points (N, 3)."""
        return project(transform_points(self.world_to_camera.to(points), points), self.intrinsics.to(points))

    def detector_points(self, pixels: Tensor) -> Tensor:
        """World points (N, 3) on the detector plane of pixels (N, 2)."""
        in_camera = self.source_to_detector * backproject(pixels, self.intrinsics.to(pixels))
        return transform_points(invert_pose(self.world_to_camera).to(pixels), in_camera)

    def resized(self, columns: int, rows: int) -> Camera:
        """The camera of the image resampled to columns x rows pixels over the same field."""
        su, sv = columns / self.columns, rows / self.rows
        spacing = (self.pixel_spacing[0] / su, self.pixel_spacing[1] / sv)
        return replace(
            self,
            intrinsics=resize_intrinsics(self.intrinsics, su, sv),
            columns=columns,
            rows=rows,
            pixel_spacing=spacing,
        )

    def cropped(self, first_column: int, first_row: int, columns: int, rows: int) -> Camera:
        """The camera of a sub-image (it may reach beyond the image) that starts at (first_column, first_row)."""
        k = self.intrinsics.clone()
        k[0, 2] -= first_column
        k[1, 2] -= first_row
        return replace(self, intrinsics=k, columns=columns, rows=rows)

    def flipped_columns(self) -> Camera:
        """The camera of the image with its columns in reverse order: u' = W - 1 - u, mirrored toggled."""
        k = self.intrinsics.clone()
        k[0] = -k[0]
        k[0, 2] += self.columns - 1
        return replace(self, intrinsics=k)

    def ct_to_camera(self, ct_to_world: Tensor) -> Tensor:
        """world_to_camera @ ct_to_world, (..., 4, 4), in the dtype and on the device of the pose."""
        return self.world_to_camera.to(ct_to_world) @ ct_to_world
