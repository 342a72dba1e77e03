"""Arrays between the two processes: mapped files in one folder that both know, referred to by name in the messages.

Only a reference (file name, dtype, shape, offset) travels through the pipe. The client makes the folder and owns it;
``owner.txt`` in it holds the token of the process that may delete it (see ``ArrayFolder.remove_if_mine``).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = ("bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64")
PREFIX = "deepreg2d3d-"
_OWNER = "owner.txt"
_ALIGNMENT = 64
# Messages with arrays that may wait unread. A reader that lags further gets its messages without the pictures.
MAX_WAITING = 12


class ArrayError(ValueError):
    """A reference that names no readable array in the folder."""


def reference(file: str, array: np.ndarray, offset: int = 0) -> dict[str, Any]:
    """The JSON form of an array stored in ``file`` from byte ``offset``."""
    return {"file": file, "dtype": array.dtype.name, "shape": list(array.shape), "offset": offset}


class ArrayFolder:
    """Mapped arrays in a folder. Names are plain file names: nothing outside the folder can be reached."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)

    @classmethod
    def create(cls) -> ArrayFolder:
        """A new empty folder in the user's temporary directory."""
        return cls(tempfile.mkdtemp(prefix=PREFIX))

    def _file(self, name: str) -> Path:
        if not name or name != os.path.basename(name) or name in (".", "..") or "\\" in name or ":" in name:
            raise ArrayError(f"'{name[:80]}' is not a plain file name")
        return self.path / name

    def allocate(self, name: str, shape: tuple[int, ...], dtype: str) -> np.memmap:
        """A writable mapped array in a new file of the full size (its blocks are taken as they are written)."""
        return np.memmap(self._file(name), dtype=dtype, mode="w+", shape=shape)

    def write(self, name: str, array: np.ndarray) -> dict[str, Any]:
        """Store ``array`` in a file of its own and return its reference."""
        array = np.ascontiguousarray(array)
        if array.size:
            mapped = self.allocate(name, array.shape, array.dtype.name)
            mapped[...] = array
            mapped.flush()
        else:
            self._file(name).touch()
        return reference(name, array)

    def open(self, ref: Mapping[str, Any]) -> np.ndarray:
        """The referred array, mapped read-only. Raises ArrayError where the file doesn't hold it."""
        path = self._file(str(ref["file"]))
        if ref["dtype"] not in DTYPES:
            raise ArrayError(f"arrays of type '{ref['dtype']}' are not passed on")
        dtype, shape, offset = np.dtype(ref["dtype"]), tuple(ref["shape"]), int(ref.get("offset", 0))
        size = dtype.itemsize
        for extent in shape:
            size *= extent
        if size == 0:
            return np.zeros(shape, dtype)
        if not path.is_file() or path.stat().st_size < offset + size:
            raise ArrayError(f"file '{path.name}' does not hold an array of {shape} {dtype.name}")
        return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)

    def read(self, ref: Mapping[str, Any]) -> np.ndarray:
        """A copy of the referred array, which stays valid after the file is used again."""
        return np.array(self.open(ref))

    def inside(self, value: Any) -> tuple[Any, list[str]]:
        """``value`` with every {"$array": reference} replaced by a copy of the array, and the files they were in."""
        files: list[str] = []

        def replace(ref: Mapping[str, Any]) -> np.ndarray:
            array = self.read(ref)
            if ref["file"] not in files:
                files.append(ref["file"])
            return array

        return _replaced(value, replace), files

    def delete(self, name: str) -> None:
        """Remove a file; no error where it is gone or still mapped (Windows)."""
        try:
            self._file(name).unlink()
        except OSError:
            pass

    def claim(self, token: str) -> None:
        """Note whose folder this is; a worker that was replaced then no longer removes it."""
        (self.path / _OWNER).write_text(token, encoding="ascii")

    def remove_if_mine(self, token: str) -> None:
        """Delete the folder where ``token`` is the one of ``claim``."""
        try:
            mine = (self.path / _OWNER).read_text(encoding="ascii") == token
        except OSError:
            return
        if mine:
            self.remove()

    def remove(self) -> None:
        """Delete the folder and everything in it, as far as the system lets us."""
        shutil.rmtree(self.path, ignore_errors=True)


def _replaced(value: Any, replace: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        if "$array" in value:
            return replace(value["$array"])
        return {key: _replaced(item, replace) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, replace) for item in value]
    return value


class ArrayWriter:
    """The worker's outgoing arrays: one file a message, used again once the client has read and released it."""

    def __init__(self, folder: ArrayFolder, prefix: str = "out") -> None:
        self._folder = folder
        self._prefix = prefix
        self._free: list[tuple[str, int]] = []
        self._waiting: dict[str, int] = {}
        self._count = 0

    @property
    def behind(self) -> bool:
        """True where the client hasn't read the last messages yet, so that pictures are better left out."""
        return len(self._waiting) >= MAX_WAITING

    def release(self, name: str) -> None:
        """The client has read this file."""
        size = self._waiting.pop(name, None)
        if size is not None:
            self._free.append((name, size))

    def pack(self, arrays: Mapping[str, np.ndarray]) -> tuple[str, dict[str, dict[str, Any]]]:
        """Write arrays side by side into one file. Returns its name and each array's reference."""
        contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        offsets, size = {}, 0
        for key, array in contiguous.items():
            offsets[key] = size
            size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        name = self._take(max(size, _ALIGNMENT))
        data = np.memmap(self._folder.path / name, dtype=np.uint8, mode="r+")
        for key, array in contiguous.items():
            start = offsets[key]
            data[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
        return name, {key: reference(name, array, offsets[key]) for key, array in contiguous.items()}

    def outside(self, value: Any, with_pictures: bool = True) -> Any:
        """``value`` with every numpy array in it replaced by {"$array": reference}, all of them in one file.

        Without pictures they become null. Small things (poses) are better given as lists, which travel in the line.
        """
        found: dict[str, np.ndarray] = {}

        def walk(item: Any) -> Any:
            if isinstance(item, np.ndarray):
                if not with_pictures:
                    return None
                key = str(len(found))
                found[key] = item
                return {"$array": key}
            if isinstance(item, Mapping):
                return {key: walk(inner) for key, inner in item.items()}
            if isinstance(item, (list, tuple)):
                return [walk(inner) for inner in item]
            return item

        walked = walk(value)
        if not found:
            return walked
        references = self.pack(found)[1]
        return _replaced(walked, lambda key: {"$array": references[key]})

    def _take(self, size: int) -> str:
        for index, (name, capacity) in enumerate(self._free):
            if capacity >= size:
                del self._free[index]
                self._waiting[name] = capacity
                return name
        if self._free:  # too small for what is written now: give its room back
            self._folder.delete(self._free.pop(0)[0])
        self._count += 1
        name = f"{self._prefix}{self._count}.bin"
        with open(self._folder.path / name, "wb") as file:
            file.truncate(size)
        self._waiting[name] = size
        return name


def remove_abandoned(older_than_seconds: float = 7 * 24 * 3600.0) -> int:
    """Delete array folders in the temporary directory that nobody has touched for a week (a killed machine)."""
    count = 0
    for path in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            stale = (path / _OWNER).stat().st_mtime < time.time() - older_than_seconds
        except OSError:
            continue
        if stale:
            shutil.rmtree(path, ignore_errors=True)
            count += 1
    return count
