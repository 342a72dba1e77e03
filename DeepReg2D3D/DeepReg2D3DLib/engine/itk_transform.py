"""ITK's transform text files ("#Insight Transform File V1.0"), linear kinds only.

A transform maps x to M (x - c) + c + t, with the centre c among its fixed parameters (Ibanez et al., The ITK Software
Guide, "Transforms"). The frame is LPS and the direction is from the fixed to the moving image.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from .errors import InputError
from .poses import exp_rotation, rotation_from_euler

_HEADER = "#Insight Transform File V1.0"
_MAX_BYTES = 1024 * 1024
# Number of parameters of each kind. The centre, 3 fixed parameters, may be missing (then it is the origin).
_PARAMETERS = {
    "AffineTransform": 12,
    "MatrixOffsetTransformBase": 12,
    "Rigid3DTransform": 12,
    "Euler3DTransform": 6,
    "VersorTransform": 3,
    "VersorRigid3DTransform": 6,
    "QuaternionRigidTransform": 7,
    "Similarity3DTransform": 7,
    "ScaleVersor3DTransform": 9,
    "TranslationTransform": 3,
    "IdentityTransform": 0,
}


def format_itk_transform(matrix: Tensor) -> str:
    """The text of an ITK transform file that maps by ``matrix`` (4, 4), about the origin."""
    values = [*matrix[:3, :3].reshape(-1).tolist(), *matrix[:3, 3].tolist()]
    numbers = " ".join(repr(float(value)) for value in values)
    return (
        f"{_HEADER}\n#Transform 0\nTransform: AffineTransform_double_3_3\nParameters: {numbers}\n"
        "FixedParameters: 0 0 0\n"
    )


def parse_itk_transform(path: str | Path) -> Tensor:
    """The matrix (4, 4) float64 of an ITK transform text file, LPS mm.

    Raises InputError for a missing or damaged file, kinds that are not linear, and several transforms that are not
    tied together by a CompositeTransform. Scale and shear pass: the caller judges the matrix.
    """
    path = Path(path)
    blocks = _blocks(_lines(path), path)
    if not blocks:
        raise InputError(f"{path}: holds no transform.")
    composite = blocks[0][0] == "CompositeTransform"
    if composite:
        blocks = blocks[1:]
    elif len(blocks) > 1:
        raise InputError(f"{path}: holds {len(blocks)} transforms side by side; save the one that is meant.")
    result = torch.eye(4, dtype=torch.float64)
    for kind, parameters, fixed in blocks:
        # A composite applies its last transform first.
        result = result @ _matrix(kind, parameters, fixed, path)
    return result


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: is too large for a linear transform; deformable transforms are not read.")
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not an ITK transform text file.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if not lines or not lines[0].replace(" ", "").startswith("#InsightTransformFile"):
        raise InputError(f"{path}: is not an ITK transform text file (it should begin with '{_HEADER}').")
    return lines


def _blocks(lines: list[str], path: Path) -> list[tuple[str, list[float], list[float]]]:
    """(kind, parameters, fixed parameters) of every transform in the file."""
    blocks: list[tuple[str, dict[str, list[float]]]] = []
    for line in lines:
        key, colon, value = line.partition(":")
        key = key.strip()
        if line.lstrip().startswith("#") or not colon:
            continue
        if key == "Transform":
            blocks.append((_kind(value.strip(), path), {}))
        elif key in ("Parameters", "FixedParameters") and blocks:
            if key in blocks[-1][1]:
                raise InputError(f"{path}: a transform gives its {key} twice.")
            blocks[-1][1][key] = _numbers(value, key, path)
    return [(kind, values.get("Parameters", []), values.get("FixedParameters", [])) for kind, values in blocks]


def _kind(name: str, path: Path) -> str:
    kind, _, rest = name.partition("_")
    if kind != "CompositeTransform" and kind not in _PARAMETERS:
        raise InputError(f"{path}: '{name}' is not a rigid transform; harden or export it as a linear one.")
    if rest not in ("double_3_3", "float_3_3"):
        raise InputError(f"{path}: '{name}' is not a transform between 3D points.")
    return kind


def _numbers(text: str, key: str, path: Path) -> list[float]:
    try:
        values = [float(word) for word in text.split()]
    except ValueError as error:
        raise InputError(f"{path}: {key} holds something that is not a number ({error}).") from error
    if not all(map(math.isfinite, values)):
        raise InputError(f"{path}: {key} holds numbers that are not finite.")
    return values


def _matrix(kind: str, parameters: list[float], fixed: list[float], path: Path) -> Tensor:
    if kind == "CompositeTransform":
        raise InputError(f"{path}: holds a composite inside a composite, which is not read; harden it first.")
    if len(parameters) != _PARAMETERS[kind]:
        raise InputError(f"{path}: {kind} needs {_PARAMETERS[kind]} parameters, found {len(parameters)}.")
    p = torch.tensor(parameters, dtype=torch.float64)
    linear, translation = _linear(kind, p, fixed, path)
    if kind in ("TranslationTransform", "IdentityTransform"):
        centre = torch.zeros(3, dtype=torch.float64)
    elif len(fixed) in (0, 3) or (len(fixed) == 4 and kind == "Euler3DTransform"):
        centre = torch.tensor(fixed[:3] or [0.0] * 3, dtype=torch.float64)
    else:
        raise InputError(f"{path}: {kind} needs 3 fixed parameters (its centre), found {len(fixed)}.")
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + translation - linear @ centre
    return matrix


def _linear(kind: str, p: Tensor, fixed: list[float], path: Path) -> tuple[Tensor, Tensor]:
    """The 3x3 part and the translation of one transform about its centre."""
    if kind in ("AffineTransform", "MatrixOffsetTransformBase", "Rigid3DTransform"):
        return p[:9].reshape(3, 3), p[9:]
    if kind == "Euler3DTransform":
        return _euler(p[:3], zyx=len(fixed) == 4 and fixed[3] != 0), p[3:]
    if kind in ("VersorTransform", "VersorRigid3DTransform"):
        translation = p[3:] if len(p) == 6 else torch.zeros(3, dtype=torch.float64)
        return _versor(p[:3], path), translation
    if kind == "Similarity3DTransform":
        return p[6] * _versor(p[:3], path), p[3:6]
    if kind == "ScaleVersor3DTransform":
        if not torch.allclose(p[6:], torch.ones(3, dtype=torch.float64), atol=1e-3):
            raise InputError(f"{path}: the transform scales by {p[6:].tolist()}; only rigid poses are allowed.")
        return _versor(p[:3], path), p[3:6]
    if kind == "QuaternionRigidTransform":
        return _quaternion(p[:3], p[3], path), p[4:]
    return torch.eye(3, dtype=torch.float64), p if len(p) == 3 else torch.zeros(3, dtype=torch.float64)


def _euler(angles: Tensor, zyx: bool) -> Tensor:
    """ITK's Euler3DTransform: R = Rz Rx Ry, or Rz Ry Rx with ComputeZYX."""
    if zyx:
        return rotation_from_euler(angles)
    about_x, about_y, about_z = (exp_rotation(row) for row in torch.diag(angles))
    return about_z @ about_x @ about_y


def _versor(vector: Tensor, path: Path) -> Tensor:
    """The rotation of a unit quaternion with vector part (3,) and a scalar part that is not negative."""
    length = vector.norm()
    if length > 1 + 1e-6:
        raise InputError(f"{path}: the versor {vector.tolist()} is longer than 1, so it is no rotation.")
    return _quaternion(vector, (1 - length.clamp(max=1) ** 2).clamp(min=0).sqrt(), path)


def _quaternion(vector: Tensor, scalar: Tensor, path: Path) -> Tensor:
    length = vector.norm()
    if not (length**2 + scalar**2 - 1).abs() < 1e-3:
        raise InputError(f"{path}: the quaternion {[*vector.tolist(), float(scalar)]} has not length 1.")
    if length == 0:
        return torch.eye(3, dtype=torch.float64)
    return exp_rotation(vector / length * (2 * torch.atan2(length, scalar)))
