"""geometry.json: where the X-ray views are, and which image each one took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .atomic import write_json
from .camera import Camera
from .dicom_geometry import OVER_FRAMES
from .errors import InputError
from .json_file import Record, inside, read_record
from .pose_file import rigid_from_file

FORMAT = "deepreg2d3d-geometry"
IMAGE_KINDS = ("auto", "intensity", "line_integral")
_MAX_PIXELS = 32768
_MAX_FRAMES = 100_000
_MAX_VIEWS = 64
_LONGEST_NAME = 64
_PARAMETERS = ("source_to_detector_mm", "pixel_spacing_mm", "principal_point_px", "world_to_camera")
_KEYS = (
    *_PARAMETERS, "name", "image", "frame", "columns", "rows", "mirrored", "image_kind", "projection_matrix", "sources",
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """One X-ray view: its camera, its image file where one is named, and how the image's values are to be read.

    frame: of a DICOM file with several, a number from 1, 'mean' or 'maximum'; None stands for the first.
    sources: for people: key of geometry.json -> where its value came from; it begins with 'assumed' for defaults.
    """

    camera: Camera
    image: Path | None = None
    image_kind: str = "auto"
    frame: int | str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.camera.name


def load_geometry(path: str | Path) -> list[View]:
    """The views of a geometry.json; image paths come back joined to its folder (the files need not exist).

    A view gives source_to_detector_mm, pixel_spacing_mm, principal_point_px, world_to_camera (and mirrored, false
    where it is absent), or projection_matrix, beside which any of them may stand when they agree with it.
    Raises InputError naming the file and the key.
    """
    record = read_record(path, FORMAT)
    record.refuse_misspelt(("views", "coordinate_system"))
    records = record.records("views")
    if not records:
        raise record.error("the list is empty; give at least one view", "views")
    if len(records) > _MAX_VIEWS:
        raise record.error(f"holds {len(records)} views; {_MAX_VIEWS} is the limit", "views")
    views = [_view(item, index) for index, item in enumerate(records)]
    names = [view.name for view in views]
    for name in names:
        if names.count(name) > 1:
            raise record.error(f"two views are named '{name}'; names must differ", "views")
    return views


def save_geometry(views: Sequence[View], path: str | Path) -> None:
    """Write geometry.json. Images must lie in the folder of ``path`` or below, and are written relative to it."""
    path = Path(path)
    content = [_written(view, path) for view in views]
    write_json(path, {"format": FORMAT, "version": 1, "coordinate_system": "LPS", "views": content})


def _view(record: Record, index: int) -> View:
    record.refuse_misspelt(_KEYS)
    name = record.text("name", f"view{index + 1}")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise record.error(f"a name has at most {_LONGEST_NAME} printable characters", "name")
    columns, rows = record.count("columns", _MAX_PIXELS), record.count("rows", _MAX_PIXELS)
    try:
        camera = (_from_matrix if "projection_matrix" in record else _from_parameters)(record, columns, rows, name)
    except InputError as error:
        if str(error).startswith(str(record.path)):
            raise
        raise record.error(str(error).rstrip(".")) from error
    kind = record.choice("image_kind", IMAGE_KINDS, "auto")
    return View(camera, record.file("image", None), kind, _frame(record), _sources(record))


def _sources(record: Record) -> Mapping[str, str]:
    given = record.get("sources", {})
    return {key: str(text) for key, text in given.items() if isinstance(text, str)} if isinstance(given, dict) else {}


def _frame(record: Record) -> int | str | None:
    if "frame" not in record:
        return None
    if isinstance(record.get("frame"), str):
        return record.choice("frame", OVER_FRAMES)
    return record.count("frame", _MAX_FRAMES)


def _pair(record: Record, key: str) -> tuple[float, float]:
    first, second = record.numbers(key, (2,)).tolist()
    return first, second


def _positive(record: Record, key: str, values: Sequence[float]) -> None:
    if min(values) <= 0:
        raise record.error(f"must be positive, found {list(values)}", key)


def _rigid(record: Record) -> Tensor:
    matrix = record.numbers("world_to_camera", (4, 4))
    return rigid_from_file(matrix, f"{record.path}: {record.place}.world_to_camera")


def _from_parameters(record: Record, columns: int, rows: int, name: str) -> Camera:
    distance, spacing = record.number("source_to_detector_mm"), _pair(record, "pixel_spacing_mm")
    _positive(record, "source_to_detector_mm", [distance])
    _positive(record, "pixel_spacing_mm", spacing)
    return Camera.from_parameters(
        source_to_detector=distance,
        pixel_spacing=spacing,
        principal_point=_pair(record, "principal_point_px"),
        world_to_camera=_rigid(record),
        columns=columns,
        rows=rows,
        mirrored=record.boolean("mirrored", False),
        name=name,
    )


def _from_matrix(record: Record, columns: int, rows: int, name: str) -> Camera:
    matrix = record.numbers("projection_matrix", (3, 4))
    spacing = None
    if "pixel_spacing_mm" in record:
        spacing = _pair(record, "pixel_spacing_mm")
        _positive(record, "pixel_spacing_mm", spacing)
    camera = Camera.from_projection_matrix(matrix, columns, rows, spacing, name)
    if spacing is None and "source_to_detector_mm" in record:
        distance = record.number("source_to_detector_mm")
        _positive(record, "source_to_detector_mm", [distance])
        k = camera.intrinsics
        spacing = (distance / abs(float(k[0, 0])), distance / float(k[1, 1]))
        camera = Camera.from_projection_matrix(matrix, columns, rows, spacing, name)
    _check_agreement(record, camera)
    return camera


def _check_agreement(record: Record, camera: Camera) -> None:
    """Refuse parameters beside a projection matrix that say something else than it does."""

    def check(key: str, agrees: bool, given: Any, found: Any) -> None:
        if not agrees:
            raise record.error(
                f"the view gives {given}, but its projection_matrix means {found}; remove the one that is wrong", key
            )

    if "mirrored" in record:
        given = record.boolean("mirrored")
        check("mirrored", given == camera.mirrored, str(given).lower(), str(camera.mirrored).lower())
    if "source_to_detector_mm" in record:
        given, found = record.number("source_to_detector_mm"), camera.source_to_detector
        check("source_to_detector_mm", abs(given - found) < 0.005 * found, f"{given:g}", f"{found:.6g}")
    if "principal_point_px" in record:
        given, found = _pair(record, "principal_point_px"), camera.principal_point
        near = max(abs(a - b) for a, b in zip(given, found, strict=True)) < 0.5
        check("principal_point_px", near, list(given), [round(value, 3) for value in found])
    if "world_to_camera" in record:
        given, found = _rigid(record), camera.world_to_camera
        near = bool((given - found)[:3, :3].abs().max() < 1e-3) and bool((given - found)[:3, 3].abs().max() < 0.5)
        check("world_to_camera", near, given.tolist(), [[round(x, 6) for x in row] for row in found.tolist()])


def _written(view: View, path: Path) -> dict[str, Any]:
    camera = view.camera
    content: dict[str, Any] = {"name": view.name}
    if view.image is not None:
        content["image"] = _relative(view.image, path)
    if view.frame is not None:
        content["frame"] = view.frame
    content |= {"columns": camera.columns, "rows": camera.rows}
    fu, fv = abs(float(camera.intrinsics[0, 0])), float(camera.intrinsics[1, 1])
    su, sv = camera.pixel_spacing
    plain = float(camera.intrinsics[0, 1]) == 0 and abs(fu * su - fv * sv) < 1e-9 * fv * sv
    if plain:
        content["source_to_detector_mm"] = camera.source_to_detector
    else:  # skew, or focal lengths that no single distance explains
        content["projection_matrix"] = camera.projection_matrix.tolist()
    content["pixel_spacing_mm"] = [su, sv]
    if plain:
        content["principal_point_px"] = list(camera.principal_point)
        content["world_to_camera"] = camera.world_to_camera.tolist()
        content["mirrored"] = camera.mirrored
    content["image_kind"] = view.image_kind
    return content | ({"sources": dict(view.sources)} if view.sources else {})


def _relative(image: Path, path: Path) -> str:
    try:
        if image.is_absolute():
            name = image.relative_to(path.parent.absolute())
        else:  # as load_geometry gives it, joined to the folder, or already relative to it
            name = image.relative_to(path.parent) if path.parent in image.parents else image
        return str(inside(name.as_posix()))
    except ValueError as error:
        raise InputError(f"{path}: the image {image} does not lie in this folder; copy it there.") from error
