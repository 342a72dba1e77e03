"""Rigid motions as 4x4 matrices: exponential map, motions about a centre, Euler angles for people.

Every function takes leading batch dimensions, keeps dtype and device, and is differentiable.
Lengths are mm, angles radians. A pose maps column vectors: y = R x + t.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .errors import InputError

FARTHEST_MM = 1e5
"""No coordinate of a patient, a CT or a C-arm lies farther from its origin: 100 m."""


def skew(vectors: Tensor) -> Tensor:
    """Cross-product matrices: ``skew(v) @ x == v x x``. (..., 3) -> (..., 3, 3)."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    return rows.reshape(*vectors.shape[:-1], 3, 3)


def exp_rotation(rotation_vector: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3) in radians (Rodrigues), smooth at zero."""
    squared = (rotation_vector * rotation_vector).sum(-1)[..., None, None]
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    a = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    b = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / safe)
    k = skew(rotation_vector)
    return torch.eye(3, dtype=k.dtype, device=k.device) + a * k + b * (k @ k)


def log_rotation(rotation: Tensor) -> Tensor:
    """Rotation vectors (..., 3), of length 0 to pi, of rotation matrices (..., 3, 3), by way of unit quaternions."""
    m = rotation
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # Four equivalent quaternions, each well conditioned where its own leading component is the largest.
    diagonal = torch.stack(
        [
            trace,
            m[..., 0, 0] - m[..., 1, 1] - m[..., 2, 2],
            m[..., 1, 1] - m[..., 0, 0] - m[..., 2, 2],
            m[..., 2, 2] - m[..., 0, 0] - m[..., 1, 1],
        ],
        dim=-1,
    )
    wx = m[..., 2, 1] - m[..., 1, 2]
    wy = m[..., 0, 2] - m[..., 2, 0]
    wz = m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = (m[..., i, j] + m[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    lead = 1 + diagonal
    candidates = torch.stack(
        [
            torch.stack([lead[..., 0], wx, wy, wz], -1),
            torch.stack([wx, lead[..., 1], xy, xz], -1),
            torch.stack([wy, xy, lead[..., 2], yz], -1),
            torch.stack([wz, xz, yz, lead[..., 3]], -1),
        ],
        dim=-2,
    )
    best = diagonal.argmax(-1)[..., None, None].expand(*diagonal.shape[:-1], 1, 4)
    q = torch.gather(candidates, -2, best).squeeze(-2)
    q = q / q.norm(dim=-1, keepdim=True)
    q = torch.where(q[..., :1] < 0, -q, q)
    w, v = q[..., :1], q[..., 1:]
    squared = (v * v).sum(-1, keepdim=True)
    small = squared < 1e-12
    length = torch.where(small, torch.ones_like(squared), squared).sqrt()
    factor = torch.where(small, 2 / w.clamp_min(1e-6), 2 * torch.atan2(length, w) / length)
    return v * factor


def make_pose(rotation: Tensor, translation: Tensor) -> Tensor:
    """4x4 poses (..., 4, 4) from rotations (..., 3, 3) and translations (..., 3) in mm."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 0, 3] = 1
    return torch.cat([top, bottom], dim=-2)


def invert_pose(pose: Tensor) -> Tensor:
    """Inverse of rigid poses (..., 4, 4)."""
    rotation = pose[..., :3, :3].transpose(-1, -2)
    return make_pose(rotation, -(rotation @ pose[..., :3, 3:]).squeeze(-1))


def transform_points(pose: Tensor, points: Tensor) -> Tensor:
    """Apply poses (..., 4, 4) to points (..., N, 3): R x + t."""
    return points @ pose[..., :3, :3].transpose(-1, -2) + pose[..., None, :3, 3]


def transform_vectors(pose: Tensor, vectors: Tensor) -> Tensor:
    """Apply the rotations of poses (..., 4, 4) to vectors (..., N, 3)."""
    return vectors @ pose[..., :3, :3].transpose(-1, -2)


def motion_about(rotation_vector: Tensor, translation: Tensor, centre: Tensor) -> Tensor:
    """The pose (..., 4, 4) that turns by ``rotation_vector`` about ``centre`` and then moves by ``translation``.

    All three are (..., 3), in the same frame: y = R (x - c) + c + t.
    """
    rotation = exp_rotation(rotation_vector)
    moved = (rotation @ centre[..., None]).squeeze(-1)
    return make_pose(rotation, centre - moved + translation)


def _axis_rotation(axis: int, angle: Tensor) -> Tensor:
    vector = torch.zeros(*angle.shape, 3, dtype=angle.dtype, device=angle.device)
    vector[..., axis] = 1
    return exp_rotation(vector * angle[..., None])


def rotation_from_euler(angles: Tensor) -> Tensor:
    """R = Rz Ry Rx (..., 3, 3) from angles (..., 3) about x, y and z in radians."""
    x, y, z = angles.unbind(-1)
    return _axis_rotation(2, z) @ _axis_rotation(1, y) @ _axis_rotation(0, x)


def euler_from_rotation(rotation: Tensor) -> Tensor:
    """Angles (..., 3) about x, y and z in radians with R = Rz Ry Rx; y lies in [-pi/2, pi/2].

    At y = +-90 degrees x and z turn about the same axis; x is then set to 0.
    """
    sine = -rotation[..., 2, 0]
    cosine = torch.hypot(rotation[..., 0, 0], rotation[..., 1, 0])
    y = torch.atan2(sine, cosine)
    locked = cosine < 1e-7
    x = torch.where(locked, torch.zeros_like(y), torch.atan2(rotation[..., 2, 1], rotation[..., 2, 2]))
    free_z = torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])
    locked_z = torch.atan2(-rotation[..., 0, 1], rotation[..., 1, 1])
    return torch.stack([x, y, torch.where(locked, locked_z, free_z)], dim=-1)


def orthonormalised(rotation: Tensor) -> Tensor:
    """The rotation (..., 3, 3) nearest to a matrix in the Frobenius norm."""
    u, _, vh = torch.linalg.svd(rotation)
    sign = torch.det(u @ vh).sign()
    scale = torch.ones_like(rotation[..., 0])
    scale[..., 2] = sign
    return u @ (scale[..., None] * vh)


def check_rigid(matrix: Tensor, what: str, tolerance: float = 1e-3) -> Tensor:
    """Return a 4x4 rigid matrix (float64), made exactly orthonormal.

    Raises InputError, beginning with ``what``, when the matrix is not 4x4, not finite, mirrors, scales or shears by
    more than ``tolerance``.
    """
    if tuple(matrix.shape) != (4, 4):
        raise InputError(f"{what}: expected a 4x4 matrix, found shape {tuple(matrix.shape)}.")
    matrix = matrix.to(torch.float64)
    numbers = matrix.tolist()  # cheaper to look at than tensors of four numbers
    if not all(math.isfinite(x) for row in numbers for x in row):
        raise InputError(f"{what}: the matrix has values that are not finite numbers.")
    if any(abs(x - expected) > 1.1e-5 for x, expected in zip(numbers[3], (0.0, 0.0, 0.0, 1.0), strict=True)):
        raise InputError(f"{what}: the last row must be 0 0 0 1, found {numbers[3]}.")
    if any(abs(row[3]) > FARTHEST_MM for row in numbers[:3]):
        far = [round(min(max(row[3], -1e15), 1e15)) for row in numbers[:3]]
        raise InputError(f"{what}: the translation {far} is farther than 100 m; lengths are in mm.")
    rotation = matrix[:3, :3]
    if torch.det(rotation) <= 0:
        raise InputError(f"{what}: the matrix mirrors (its determinant is not positive); only rotations are allowed.")
    square = rotation.T @ rotation
    error = (square - torch.eye(3, dtype=torch.float64)).abs().max().item()
    if not error <= tolerance:  # NaN, of numbers beyond all bounds, is refused
        raise InputError(f"{what}: the matrix scales or shears (deviation {error:.3g}); only rigid poses are allowed.")
    if error > 1e-9:
        return make_pose(orthonormalised(rotation), matrix[:3, 3])
    # What is off by rounding alone needs no decomposition: one step of Newton's iteration squares the error.
    return make_pose(1.5 * rotation - 0.5 * (rotation @ square), matrix[:3, 3])


def rotation_angle(rotation: Tensor) -> Tensor:
    """Angle in radians (...) of rotations (..., 3, 3)."""
    return log_rotation(rotation).norm(dim=-1)


def degrees(angle: float) -> float:
    """Radians to degrees, for people."""
    return math.degrees(angle)
