"""What a batch registers: a table of files, or a folder of case folders."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from .engine.case_file import load_case
from .engine.dicom_tags import is_dicom
from .engine.errors import InputError
from .engine.geometry_file import load_geometry
from .engine.image_files import data_files
from .engine.json_file import read_text

_NO_FILES = ("auto", "centre")
COLUMNS = ("name", "ct", "xrays", "geometry", "init", "landmarks")
SEPARATOR = ";"


@dataclass(frozen=True)
class BatchItem:
    """One registration. xrays: empty for those that the geometry names. init: a pose file, "auto", "centre", or
    None; start: ct_to_world as nested lists, of a case folder that lists starts."""

    name: str
    ct: Path
    xrays: tuple[Path, ...] = ()
    geometry: Path | None = None
    init: str | None = None
    landmarks: Path | None = None
    start: tuple[tuple[float, ...], ...] | None = None

    def files(self) -> list[Path]:
        """Every file that a registration of the item reads."""
        return [path for path in self.all_labelled_files().values() if not path.is_dir()]

    def all_labelled_files(self) -> dict[str, Path]:
        """What a file or folder is -> its path: those the item names, the files in its folders, the pixels beside a
        header, the slices beside a DICOM file that stands for its series, and the X-rays that its geometry names where
        it names none itself."""
        found = self.labelled_files()
        found |= {f"X-ray {number}": path for number, path in enumerate(self._images_of_geometry(), start=1)}
        for label, path in list(found.items()):
            if path.is_dir():
                beside = _inside(path)
            elif path == self.ct and path.is_file() and is_dicom(path):
                beside = [other for other in _inside(path.parent) if is_dicom(other) and other != path]
            else:
                beside = data_files(path)
            found |= {f"file {number} of the {label}": other for number, other in enumerate(beside, start=1)}
        return found

    def _images_of_geometry(self) -> list[Path]:
        """Those that count; none of a geometry that can't be read, which the registration will refuse."""
        if self.xrays or self.geometry is None:
            return []
        try:
            return [view.image for view in load_geometry(self.geometry) if view.image is not None]
        except InputError:
            return []

    def labelled_files(self) -> dict[str, Path]:
        """What a file is -> its path, of every file the item names."""
        named = {"CT": self.ct, "geometry": self.geometry, "landmarks": self.landmarks}
        named["pose"] = None if self.init in (None, *_NO_FILES) else Path(self.init)
        named |= {f"X-ray {number}": path for number, path in enumerate(self.xrays, start=1)}
        return {label: path for label, path in named.items() if path is not None}


def read_batch(path: Path) -> list[BatchItem]:
    """The items of a CSV table, or of a folder of case folders (each holds case.json). Raises InputError.

    The table's first line names its columns: ct and one of xrays and geometry are needed, name, init and landmarks may
    be there. Several X-rays are separated by semicolons. Paths are relative to the table's folder.
    """
    if path.is_dir():
        folders = [path] if (path / "case.json").exists() else sorted(p.parent for p in path.glob("*/case.json"))
        if not folders:
            raise InputError(f"{path}: no case folder in it (a folder with a case.json).")
        items = [_of_case(folder) for folder in folders]
    else:
        items = _of_table(path)
    seen: dict[str, int] = {}
    for item in items:
        seen[item.name.lower()] = seen.get(item.name.lower(), 0) + 1
    twice = [name for name, count in seen.items() if count > 1]
    if twice:
        raise InputError(f"{path}: the name '{twice[0]}' is there twice; results go into folders of these names.")
    return items


def _of_case(folder: Path) -> BatchItem:
    case = load_case(folder)
    init = next((str(folder / name) for name in ("start.json", "start.tfm") if (folder / name).exists()), None)
    start = None
    if init is None and case.starts:
        start = tuple(tuple(row) for row in case.starts[0][1].tolist())
    if init is None and start is None:
        init = "auto"
    return BatchItem(folder.resolve().name, case.ct, (), case.geometry, init, None, start)


def _of_table(path: Path) -> list[BatchItem]:
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path)), skipinitialspace=True, restkey="more"))
    except csv.Error as error:
        raise InputError(f"{path}: is not a table ({error}).") from error
    if not rows:
        raise InputError(f"{path}: holds no row below its line of column names ({', '.join(COLUMNS)}).")
    unknown = [name for name in rows[0] if name not in COLUMNS and name != "more"]
    if unknown or "ct" not in rows[0]:
        found = ", ".join(str(name) for name in rows[0])
        raise InputError(f"{path}: its first line must name the columns, of {', '.join(COLUMNS)}; found {found}.")
    items = []
    for number, row in enumerate(rows, start=2):
        if "more" in row or None in row.values():
            raise InputError(f"{path}: line {number} has not as many values as the first line has names.")
        values = {name: (row.get(name) or "").strip() for name in COLUMNS}
        if not values["ct"] or not (values["xrays"] or values["geometry"]):
            raise InputError(f"{path}: line {number} needs a ct, and xrays or a geometry.")

        def file(text: str) -> Path | None:
            return path.parent / text if text else None

        name = values["name"] or f"{number - 1:04d}"
        if not _is_folder_name(name):
            raise InputError(f"{path}: line {number}: the name '{name[:80]}' can't be the name of a folder everywhere.")
        init = values["init"] or None
        if init and init not in _NO_FILES:
            init = str(path.parent / init)
        images = tuple(path.parent / part.strip() for part in values["xrays"].split(SEPARATOR) if part.strip())
        ct, geometry, marks = (file(values[key]) for key in ("ct", "geometry", "landmarks"))
        items.append(BatchItem(name, ct, images, geometry, init, marks))
    return items


def _inside(folder: Path) -> list[Path]:
    """The files of a folder, less the hidden ones, which are no slices and come and go by themselves."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError:
        return []


def _is_folder_name(name: str) -> bool:
    """Whether a folder can have this name on every system, beside the summaries of a batch."""
    device = re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.IGNORECASE)
    return not (
        device is not None
        or len(name) > 100
        or name.startswith(".")
        or name.endswith((".", " "))
        or any(c in name for c in '/\\:*?"<>|')
        or not name.isprintable()
        or name.lower() in ("summary.csv", "summary.json")
    )
