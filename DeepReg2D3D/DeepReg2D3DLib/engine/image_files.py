"""How image files are opened and written, with SimpleITK.

Opened are known formats, ordinary files, and no header that sends the reader elsewhere.
"""

from __future__ import annotations

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
_META_DATA = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*([^\r\n]*)\r?\n?", re.MULTILINE | re.IGNORECASE)
_NRRD_DATA = re.compile(rb"^data ?file:[ \t]*([^\r\n]*)\r?\n?", re.MULTILINE | re.IGNORECASE)


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


def write_image(image: sitk.Image, path: str | Path) -> None:
    """Write an image, compressed where the format can, whole or not at all. Raises InputError where that fails."""
    with atomic_path(path) as part:
        try:
            sitk.WriteImage(image, str(part), useCompression=True)
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
        try:
            inside(name)
        except ValueError as error:
            raise InputError(f"{path}: its pixels are said to lie elsewhere: {error}.") from error


def _data_names(path: Path, kind: str) -> list[str]:
    """The files in which a header says its pixels are; none where they are in its own."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    if kind == "NrrdImageIO":
        # The header ends at the first empty line; what follows are pixels, which may look like anything.
        head = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
        found = _NRRD_DATA.search(head)
    else:
        found = _META_DATA.search(head)
        if found is None:
            raise InputError(f"{path}: is damaged: its header does not say where its pixels are (ElementDataFile).")
    name = "LOCAL" if found is None else found.group(1).decode("utf-8", "replace").strip()
    if name.upper() == "LOCAL":
        return []
    names = [name]
    if name.upper().split(" ")[0] == "LIST":
        names = head[found.end() :].decode("utf-8", "replace").split("\n")
    return [each.strip() for each in names if each.strip()]
