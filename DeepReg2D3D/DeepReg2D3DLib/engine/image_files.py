"""How image files are opened and written, with SimpleITK.

Opened are known formats, ordinary files, and no header that sends the reader elsewhere.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from .atomic import atomic_path
from .errors import InputError
from .json_file import inside

CT_FORMATS = {"NrrdImageIO": "NRRD", "NiftiImageIO": "NIfTI", "MetaImageIO": "MHA, MHD", "GDCMImageIO": "DICOM"}
XRAY_FORMATS = CT_FORMATS | {
    "PNGImageIO": "PNG", "TIFFImageIO": "TIFF", "JPEGImageIO": "JPEG", "BMPImageIO": "BMP",
}  # fmt: skip
"""ITK's readers that may be used -> what people call their formats."""
_HEADER_BYTES = 1 << 20
_META_KEY = b"ElementDataFile"
_META_DATA = re.compile(_META_KEY + rb"[^=:]*[=:][=:\s]*([^\n]{0,1024})\n?")
_NRRD_DATA = re.compile(rb"^data ?file:[ \t]*([^\n]*)\n?", re.MULTILINE | re.IGNORECASE)


@contextmanager
def quiet_itk() -> Iterator[None]:
    """ITK's own warnings, which name source files of ITK, are not printed meanwhile."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def opened_image(path: Path, formats: dict[str, str]) -> sitk.ImageFileReader:
    """A reader that has read the header of an image file.

    Raises InputError for what is no ordinary file (a pipe would never end), is of none of the ``formats``, is damaged,
    or keeps its pixels in a file outside its own folder.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is {'a folder' if path.is_dir() else 'no ordinary file'}, not an image.")
    unreadable = f"{path}: is not an image that can be read ({', '.join(formats.values())}), or it is damaged."
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            kind = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
            if kind not in formats:
                raise InputError(unreadable)
            if kind in ("NrrdImageIO", "MetaImageIO"):
                _check_data_file(path, kind)
            reader.SetImageIO(kind)
            reader.ReadImageInformation()
    except (RuntimeError, OSError) as error:
        raise InputError(unreadable) from error
    return reader


def write_image(image: sitk.Image, path: str | Path, compressed: bool = True) -> None:
    """Write an image, whole or not at all; compressed: where the format can. Raises InputError where that fails."""
    with atomic_path(path) as part:
        try:
            sitk.WriteImage(image, str(part), useCompression=compressed)
        except RuntimeError as error:  # ITK does not say why
            raise InputError(f"{path}: the image cannot be written there. Is the disk full?") from error


def data_files(path: Path) -> list[Path]:
    """The files that hold the pixels of a header on its own (.mhd, .nhdr): those of them that there are.

    None for any other file, and for a header that names none; an image that is refused says why when it is read.
    """
    kind = {".mhd": "MetaImageIO", ".nhdr": "NrrdImageIO"}.get(path.suffix.lower())
    try:
        names = [] if kind is None else _data_names(path, kind)
        found = [path.parent / inside(name) for name in names]
        return [file for file in found if file.is_file()]
    except (InputError, OSError, ValueError):
        return []


def _check_data_file(path: Path, kind: str) -> None:
    """Refuse a header whose pixels lie in a file that is not in the header's folder or below."""
    for name in _data_names(path, kind):
        if name == "-":  # NRRD's name of the standard input
            raise InputError(f"{path}: its pixels are said to lie elsewhere: in no file.")
        try:
            inside(name)
        except ValueError as error:
            raise InputError(f"{path}: its pixels are said to lie elsewhere: {error}.") from error


def _data_names(path: Path, kind: str) -> list[str]:
    """The files in which a header may say its pixels are; none where they are in its own."""
    found = _nrrd_names(path) if kind == "NrrdImageIO" else _meta_names(path)
    return [name for each in found if (name := each.decode("utf-8", "replace").strip())]


def _nrrd_names(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        head, more = file.read(_HEADER_BYTES), file.read(1)
    head = re.sub(rb"\r\n?", b"\n", head)  # a line may end so, too
    # The header ends at the first empty line; what follows are pixels, which may look like anything.
    header, empty_line, _ = head.partition(b"\n\n")
    found = _NRRD_DATA.search(header)
    listed = found is not None and found[1].startswith(b"LIST")
    if more and (listed or not empty_line):
        raise _endless(path)
    if listed:
        return head[found.end() :].split(b"\n")
    return [] if found is None else [found[1]]


def _meta_names(path: Path) -> list[bytes]:
    """Of every place in the file that ITK might take for the one that says where the pixels are."""
    names: list[bytes] = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(_META_KEY)
        if place < 0:
            raise InputError(f"{path}: is damaged: its header does not say where its pixels are (ElementDataFile).")
        while place >= 0:
            found = _META_DATA.match(content, place)
            place = content.find(_META_KEY, place + 1)
            if found is None:
                continue
            name = found[1].strip()
            if name.startswith(b"LIST"):
                if len(content) - found.end() > _HEADER_BYTES:
                    raise _endless(path)
                names += content[found.end() :].split(b"\n")
            elif name.upper() != b"LOCAL":
                names.append(name)
    return names


def _endless(path: Path) -> InputError:
    return InputError(f"{path}: its header is longer than {_HEADER_BYTES >> 20} MB; save the image without comments.")
