"""A CT from a folder of DICOM slices: which series, in which order, and whether its slices are evenly spaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .errors import InputError
from .image_files import quiet_itk

_MIN_SLICES = 16
_POSITION, _ORIENTATION = "0020|0032", "0020|0037"
_DESCRIPTION, _MODALITY, _SERIES = "0008|103e", "0008|0060", "0020|000e"


def read_series(path: Path) -> sitk.Image:
    """The volume of the DICOM series in a folder, or of the series that one file belongs to.

    Raises InputError when there is no DICOM, when several series could be meant (they are named), and when slices are
    missing, doubled, unevenly spaced or shifted against each other.
    """
    names = series_files(path)
    reader = sitk.ImageSeriesReader()
    if len(names) == 1:
        return _execute(_file_reader(names[0]), path)
    reader.SetFileNames(names)
    _check_positions([_file_reader(name) for name in names], path)
    return _execute(reader, path)


def series_files(path: Path) -> tuple[str, ...]:
    """The files, in the order of their slices, of the DICOM series in a folder, or that one file belongs to.

    Raises InputError when there is no DICOM, and when several series could be meant (they are named).
    """
    with quiet_itk():
        return _read(path)


def _read(path: Path) -> sitk.Image:
    folder = path if path.is_dir() else path.parent
    reader = sitk.ImageSeriesReader()
    series = {uid: reader.GetGDCMSeriesFileNames(str(folder), uid) for uid in reader.GetGDCMSeriesIDs(str(folder))}
    if path.is_file():
        names = next((names for names in series.values() if path.resolve() in {Path(n).resolve() for n in names}), ())
        if not names:
            raise InputError(f"{path}: belongs to no DICOM series of its folder.")
        return names
    return _choose(series, folder)


def _choose(series: dict[str, tuple[str, ...]], folder: Path) -> tuple[str, ...]:
    if not series:
        raise InputError(f"{folder}: this folder holds no DICOM images. Give the folder of one CT series.")
    if len(series) == 1:
        return next(iter(series.values()))
    # Localisers, dose reports and single images often lie beside the CT.
    large = [names for names in series.values() if len(names) >= _MIN_SLICES]
    if len(large) == 1:
        return large[0]
    told = list(series.values())[:8]
    headers = [_file_reader(names[0]) for names in told]
    listed = "; ".join(_describe(header, names) for header, names in zip(headers, told, strict=True))
    error = InputError(
        f"{folder}: holds {len(series)} DICOM series: {listed}. Give one file of the series that is meant, or move it "
        "to a folder of its own."
    )
    error.private = tuple(_text(header, _DESCRIPTION) for header in headers)
    raise error


def _describe(header: sitk.ImageFileReader, names: tuple[str, ...]) -> str:
    words = [_text(header, _MODALITY), f"'{_text(header, _DESCRIPTION)}'", f"{len(names)} images"]
    return f"{' '.join(words)} (such as {Path(names[0]).name})"


def _file_reader(name: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    reader.SetImageIO("GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{name}: is not a DICOM image that can be read, or it is damaged.") from error
    return reader


def _execute(reader: sitk.ImageFileReader | sitk.ImageSeriesReader, path: Path) -> sitk.Image:
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path}: its DICOM slices cannot be read as one volume ({_last_line(error)}).") from error


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].strip()[:160]


def _text(reader: sitk.ImageFileReader, key: str) -> str:
    return reader.GetMetaData(key).strip("\0 ") if reader.HasMetaDataKey(key) else ""


def _numbers(reader: sitk.ImageFileReader, key: str, count: int, path: Path) -> np.ndarray:
    try:
        values = np.array([float(word) for word in _text(reader, key).split("\\")])
    except ValueError:
        values = np.empty(0)
    if len(values) != count or not np.isfinite(values).all():
        raise InputError(
            f"{path}: the DICOM file {Path(reader.GetFileName()).name} does not say where its slice lies "
            f"(tag {key.replace('|', ',')})."
        )
    return values


def _check_positions(headers: list[sitk.ImageFileReader], path: Path) -> None:
    """Refuse slices that are not evenly spaced along their normal; headers come sorted by position."""
    sizes = {header.GetSize()[:2] for header in headers}
    if len(sizes) > 1:
        raise InputError(f"{path}: its slices have different sizes: {sorted(sizes)}.")
    positions = np.array([_numbers(header, _POSITION, 3, path) for header in headers])
    axes = np.array([_numbers(header, _ORIENTATION, 6, path) for header in headers]).reshape(-1, 2, 3)
    if np.abs(axes - axes[0]).max() > 1e-3:
        raise InputError(f"{path}: its slices are not parallel to each other, so they are no CT volume.")
    normal = np.cross(*axes[0])
    gaps = np.diff(positions @ normal)
    usual = float(np.median(np.abs(gaps)))
    doubled = int((np.abs(gaps) < max(0.02 * usual, 1e-3)).sum())
    if doubled:
        raise InputError(
            f"{path}: {doubled} of its {len(gaps) + 1} slices lie where another one does: several volumes in one "
            "series (phases of a 4D scan, or the same scan twice). Give one of them."
        )
    uneven = np.abs(np.abs(gaps) - usual)
    worst = int(uneven.argmax())
    if uneven[worst] > max(0.02 * usual, 0.02):
        raise InputError(
            f"{path}: the gaps between its slices are not uniform: {usual:g} mm usually, but "
            f"{abs(gaps[worst]):g} mm between {Path(headers[worst].GetFileName()).name} and "
            f"{Path(headers[worst + 1].GetFileName()).name}. Slices are missing, or resample the CT."
        )
    across = np.diff(positions, axis=0) - gaps[:, None] * normal
    tilt = float(np.linalg.norm(across, axis=1).max())
    if tilt > 0.02 * usual + 0.02:
        raise InputError(
            f"{path}: its slices are shifted by {tilt:.2f} mm against each other (a tilted gantry). Resample the CT "
            "to a straight grid."
        )
