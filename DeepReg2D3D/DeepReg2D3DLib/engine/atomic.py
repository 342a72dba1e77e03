"""Files that are either whole or not there: written beside their place under another name, then moved over it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import InputError

PART = ".part-"
"""How the names of files begin that are being written."""


def make_folder(folder: str | Path) -> Path:
    """Make a folder for results, and those above it, where it is missing. Raises InputError where that cannot be."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{folder}: is a file, or lies in one; results cannot be written there.") from error
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror or error}). Choose another folder.") from error
    return folder


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``, with its suffix; move it to ``path`` when the block succeeds.

    A reader never sees half a file and a failure leaves an older ``path`` untouched. Missing folders are made. Raises
    InputError when the folder cannot be written.
    """
    path = Path(path)
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=PART, suffix=suffix)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}). Choose another folder.") from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        # mkstemp makes files private to their owner; results carry the permissions that any new file would have.
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)
        with part.open("rb+") as written:
            os.fsync(written.fileno())  # the name must not point to it before its content is on the disk
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def written_together(folder: Path, last: str) -> Iterator[Path]:
    """Give a hidden folder inside ``folder``; what the block wrote there is moved to ``folder`` when it succeeds.

    A failure leaves older files of those names untouched. last: the file that says that all are there. To be used by
    one process at a time (``folder_lock``).
    """
    unfinished = folder / f"{PART}result"
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    try:
        yield make_folder(unfinished)
        for path in sorted(unfinished.iterdir(), key=lambda path: path.name == last):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def cut_torn_line(path: Path) -> None:
    """Take a last line without its end, as an interrupted writer leaves it, out of a file that grows line by line."""
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` in UTF-8, whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as JSON, whole or not at all. Raises ValueError for NaN and infinities, which JSON has not."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
