"""One process at a time writes into an output folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .atomic import PART, make_folder
from .errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

FILE_NAME = ".in-use"
_RETRY_SECONDS = 0.05
_ABANDONED_SECONDS = 60.0


@contextmanager
def folder_lock(folder: Path, wait: bool = False, name: str = FILE_NAME) -> Iterator[None]:
    """Own ``folder`` (made where it is missing) during the block; the system gives it back if this process dies.

    Where another process owns it, InputError says so; with ``wait`` it is waited for instead. On file systems that
    know no locks the folder is used without.
    """
    make_folder(folder)
    path = folder / name
    file = _opened(path)
    try:
        while (owned := _try_lock(file, path)) is False:
            if not wait:
                raise InputError(
                    f"{folder}: another process is writing into this folder. Wait for it, or choose another --out."
                )
            time.sleep(_RETRY_SECONDS)
            file.close()
            file = _opened(path)
        try:
            sweep(folder)
            yield
        finally:
            if owned:
                _remove(path)
    finally:
        file.close()
        if fcntl is None:
            _remove(path)  # Windows removes no open file


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left unfinished."""
    for part in folder.glob(f"{PART}*"):
        with suppress(OSError):
            if part.is_file() and part.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                part.unlink()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("a+b")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}). Choose another folder.") from error


def _try_lock(file: BinaryIO, path: Path) -> bool | None:
    """True: owned; False: another process owns it, or has just removed the file; None: no locks here."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    try:
        # The one before may have removed the file between our opening and our locking it.
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
