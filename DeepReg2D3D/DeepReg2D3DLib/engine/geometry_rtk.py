"""Geometries of RTK, the Reconstruction Toolkit: nine parameters a projection, in XML (its documentation, Geometry.md).

RTK's world is the frame of its volumes, which ITK reads in LPS; its matrices map it to mm on the detector, and the
detector's images say themselves where their first pixel lies and how far apart pixels are. This program writes that
beside the parameters (ImageColumns, ImageSpacingX, ...); RTK passes over elements that it does not know.

For parameters angles g (gantry), o (out of plane), i (in plane), source (sx, sy, SID), detector offset (px, py), SDD:
    R = Rz(-i) Rx(-o) Ry(-g),   M = T(sx - px, sy - py) diag(-SDD, -SDD, 1) [R | (-sx, -sy, -SID)].
In the turned frame the source is at z = SID and the detector at z = SID - SDD, so what is in front of the source has
the sign of -SDD in the third component: the signed matrix is -sign(SDD) M. With both distances positive, x, y and the
direction to the source are right-handed: the image is seen from the detector (mirrored). Images seen from the source
take both distances negative, which RTK allows, and which leaves source and detector where they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import torch
from torch import Tensor

from .atomic import write_text
from .camera import Camera
from .errors import InputError
from .geometry_file import View
from .geometry_hints import GeometryHints, from_world

_ROOT = "RTKThreeDCircularGeometry"
_VERSIONS = ("2", "3")
_PARAMETERS = (
    "GantryAngle", "SourceToIsocenterDistance", "SourceToDetectorDistance", "SourceOffsetX", "SourceOffsetY",
    "ProjectionOffsetX", "ProjectionOffsetY", "OutOfPlaneAngle", "InPlaneAngle",
)  # fmt: skip
_OURS = ("ImageColumns", "ImageRows", "ImageSpacingX", "ImageSpacingY", "ImageOriginX", "ImageOriginY")
_MAX_BYTES = 32 * 1024 * 1024
_MAX_VIEWS = 5000
_AGREE = 1e-3  # RTK's own tolerance between a matrix and its parameters, relative to the matrix's size here


@dataclass(frozen=True)
class _Pixels:
    columns: int
    rows: int
    spacing: tuple[float, float]
    origin: tuple[float, float]

    def from_mm(self) -> Tensor:
        """(3, 3): detector mm to pixels."""
        (su, sv), (x, y) = self.spacing, self.origin
        return torch.tensor([[1 / su, 0, -x / su], [0, 1 / sv, -y / sv], [0, 0, 1]], dtype=torch.float64)


def read_rtk(path: str | Path, hints: GeometryHints) -> tuple[list[View], list[str]]:
    """Views of an RTK geometry, and notes. Size, spacing and origin of the images are the hints' where given.

    Raises InputError for parallel beams, curved detectors, and matrices that contradict their parameters.
    """
    path = Path(path)
    root = _parse(path)
    common = {child.tag: _number(child, path) for child in root if child.tag in (*_PARAMETERS, *_OURS)}
    radius = root.find("RadiusCylindricalDetector")
    if radius is not None and _number(radius, path) != 0:
        raise InputError(f"{path}: has a curved detector (RadiusCylindricalDetector), which is not modelled.")
    projections = root.findall("Projection")
    if not 1 <= len(projections) <= _MAX_VIEWS:
        raise InputError(f"{path}: holds {len(projections)} projections; from 1 to {_MAX_VIEWS} can be views.")
    change = from_world(hints.coordinates or "LPS")
    views, notes = [], []
    for index, projection in enumerate(projections):
        values = dict.fromkeys(_PARAMETERS, 0.0) | common
        values |= {child.tag: _number(child, path) for child in projection if child.tag in (*_PARAMETERS, *_OURS)}
        name = (projection.findtext("ViewName") or f"view{index + 1}").strip() or f"view{index + 1}"
        place = f"{path}: projection {index + 1}"
        if values["SourceToDetectorDistance"] == 0:
            raise InputError(f"{place}: has parallel beams (SourceToDetectorDistance 0); an X-ray source is a point.")
        matrix = _matrix(values)
        _check_matrix(projection, matrix, place)
        pixels, note = _pixels(values, hints, index, len(projections), path)
        notes += [f"view '{name}': {note}"] if note else []
        signed = -math.copysign(1.0, values["SourceToDetectorDistance"]) * (pixels.from_mm() @ matrix) @ change
        try:
            camera = Camera.from_projection_matrix(signed, pixels.columns, pixels.rows, pixels.spacing, name)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        views.append(View(camera))
    return views, notes


def write_rtk(views: Sequence[View], path: str | Path, hints: GeometryHints) -> list[str]:
    """Write an RTK geometry (version 3); gives notes. Images are taken as centred: their middle is at 0 mm.

    Raises InputError for cameras with skew, which RTK has no parameter for.
    """
    path = Path(path)
    change = from_world(hints.coordinates or "LPS")
    lines = ['<?xml version="1.0"?>', "<!DOCTYPE RTKGEOMETRY>", f'<{_ROOT} version="3">']
    notes, spacings = [], set()
    for view in views:
        values, pixels = _parameters(view.camera, change, path)
        spacings.add((*(round(s, 9) for s in pixels.spacing), pixels.columns, pixels.rows))
        notes.append(
            f"view '{view.name}': for RTK the image has spacing {pixels.spacing[0]:.9g} x {pixels.spacing[1]:.9g} mm "
            f"and origin {pixels.origin[0]:.9g}, {pixels.origin[1]:.9g} mm"
        )
        lines.append("  <Projection>")
        lines += [f"    <{name}>{values[name]:.15g}</{name}>" for name in _PARAMETERS]
        lines.append(f"    <ViewName>{escape(view.name)}</ViewName>")
        ours = (pixels.columns, pixels.rows, *pixels.spacing, *pixels.origin)
        lines += [f"    <{name}>{value:.15g}</{name}>" for name, value in zip(_OURS, ours, strict=True)]
        matrix = _matrix({name: float(f"{value:.15g}") for name, value in values.items()})
        rows = ["      " + " ".join(f"{value:.15g}" for value in row) for row in matrix.tolist()]
        lines += ["    <Matrix>", *rows, "    </Matrix>", "  </Projection>"]
    write_text(path, "\n".join([*lines, f"</{_ROOT}>"]) + "\n")
    if len(spacings) > 1:
        notes.append("the views differ in size or spacing, so RTK can't read their images as one stack")
    return notes


def _rotation(axis: int, angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    turn = torch.eye(3, dtype=torch.float64)
    a, b = [(1, 2), (2, 0), (0, 1)][axis]
    turn[a, a] = turn[b, b] = c
    turn[a, b], turn[b, a] = -s, s
    return turn


def _matrix(values: dict[str, float]) -> Tensor:
    """RTK's (3, 4) matrix, world mm to detector mm."""
    gantry, out, inside = (math.radians(values[n]) for n in ("GantryAngle", "OutOfPlaneAngle", "InPlaneAngle"))
    sx, sy, sid = values["SourceOffsetX"], values["SourceOffsetY"], values["SourceToIsocenterDistance"]
    sdd = values["SourceToDetectorDistance"]
    pose = torch.zeros(3, 4, dtype=torch.float64)
    pose[:, :3] = _rotation(2, -inside) @ _rotation(0, -out) @ _rotation(1, -gantry)
    pose[:, 3] = torch.tensor([-sx, -sy, -sid], dtype=torch.float64)
    shift_x, shift_y = sx - values["ProjectionOffsetX"], sy - values["ProjectionOffsetY"]
    k = torch.tensor([[-sdd, 0, shift_x], [0, -sdd, shift_y], [0, 0, 1.0]], dtype=torch.float64)
    return k @ pose


def _parameters(camera: Camera, change: Tensor, path: Path) -> tuple[dict[str, float], _Pixels]:
    """The nine parameters whose matrix, in pixels, is the camera's up to scale."""
    k = camera.intrinsics
    if abs(float(k[0, 1])) > 1e-6 * abs(float(k[0, 0])):
        raise InputError(f"{path}: view '{camera.name}' has skew, which RTK cannot say; write matrices instead.")
    sdd = camera.source_to_detector
    spacing = (sdd / abs(float(k[0, 0])), camera.pixel_spacing[1])
    origin = tuple(
        -0.5 * (count - 1) * step for count, step in zip((camera.columns, camera.rows), spacing, strict=True)
    )
    pixels = _Pixels(camera.columns, camera.rows, spacing, (origin[0], origin[1]))
    pose = camera.world_to_camera @ torch.linalg.inv(change)
    right = -1.0 if camera.mirrored else 1.0  # the image's columns run along right * x of the camera
    # Seen from the detector, (right, down, to the source) is right-handed; seen from the source, (.., .., to detector).
    axes = torch.stack([right * pose[0, :3], pose[1, :3], right * pose[2, :3]])
    source = -axes @ pose[:3, :3].T @ pose[:3, 3]
    sign = -right
    (px, py) = (origin[n] + camera.principal_point[n] * spacing[n] for n in (0, 1))
    out = math.asin(max(-1.0, min(1.0, -float(axes[2, 1]))))
    if math.cos(out) > 1e-9:
        gantry = math.atan2(float(axes[2, 0]), float(axes[2, 2]))
        inside = math.atan2(float(axes[0, 1]), float(axes[1, 1]))
    else:  # x and z turn about the same axis
        gantry, inside = math.atan2(-float(axes[0, 2]), float(axes[0, 0])), 0.0
    values = {
        "GantryAngle": math.degrees(gantry) % 360,
        "SourceToIsocenterDistance": float(source[2]),
        "SourceToDetectorDistance": sign * sdd,
        "SourceOffsetX": float(source[0]),
        "SourceOffsetY": float(source[1]),
        "ProjectionOffsetX": float(source[0]) - px,
        "ProjectionOffsetY": float(source[1]) - py,
        "OutOfPlaneAngle": math.degrees(out) % 360,
        "InPlaneAngle": math.degrees(inside) % 360,
    }
    return values, pixels


def _pixels(
    values: dict[str, float], hints: GeometryHints, index: int, count: int, path: Path
) -> tuple[_Pixels, str | None]:
    """Size, spacing and origin of the images: the hints', else those beside the parameters; and a note."""
    said = all(name in values for name in _OURS)
    if not hints.sizes and said:
        columns, rows = int(values["ImageColumns"]), int(values["ImageRows"])
        GeometryHints(sizes=[(columns, rows)]).size(0, 1, path)
    else:
        columns, rows = hints.size(index, count, path)
    spacing = hints.spacing or ((values["ImageSpacingX"], values["ImageSpacingY"]) if said else None)
    if spacing is None or min(spacing) <= 0:
        raise InputError(f"{path}: RTK maps to mm on the detector; give the images' pixel spacing with --spacing.")
    if hints.origin is not None:
        return _Pixels(columns, rows, spacing, hints.origin), None
    if said and hints.spacing is None and not hints.sizes:
        return _Pixels(columns, rows, spacing, (values["ImageOriginX"], values["ImageOriginY"])), None
    centred = (-0.5 * (columns - 1) * spacing[0], -0.5 * (rows - 1) * spacing[1])
    if said and (columns, rows) == (int(values["ImageColumns"]), int(values["ImageRows"])) and hints.spacing is None:
        return _Pixels(columns, rows, spacing, (values["ImageOriginX"], values["ImageOriginY"])), None
    note = f"its images are taken as centred, with their first pixel at {centred[0]:g}, {centred[1]:g} mm (--origin)"
    return _Pixels(columns, rows, spacing, centred), note


def _parse(path: Path) -> ElementTree.Element:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: is too large for a geometry.")
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
    if b"<!ENTITY" in text:  # expanded, a few lines can fill the memory
        raise InputError(f"{path}: declares XML entities, which no RTK geometry needs; remove them.")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: is not valid XML ({error}).") from None
    if root.tag != _ROOT:
        raise InputError(f"{path}: is not an RTK geometry: its element is '{root.tag[:40]}', not '{_ROOT}'.")
    version = root.get("version", "")
    if version not in _VERSIONS:
        raise InputError(f"{path}: is version '{version[:10]}' of RTK's geometry; {' and '.join(_VERSIONS)} are read.")
    return root


def _number(element: ElementTree.Element, path: Path) -> float:
    try:
        value = float(element.text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 1e9:
        raise InputError(f"{path}: {element.tag} is not a number that can be.")
    return value


def _check_matrix(projection: ElementTree.Element, matrix: Tensor, place: str) -> None:
    text = projection.findtext("Matrix")
    if text is None:
        return
    try:
        given = torch.tensor([float(word) for word in text.split()], dtype=torch.float64).reshape(3, 4)
    except (ValueError, RuntimeError):
        raise InputError(f"{place}: its Matrix is not 3 rows of 4 numbers.") from None
    if not bool(((given - matrix).abs() <= _AGREE * (1 + matrix.abs().amax(1, keepdim=True))).all()):
        raise InputError(f"{place}: its Matrix contradicts its parameters; remove the one that is wrong.")
