"""CTs from and to files: NRRD, NIfTI, MHA/MHD and folders of DICOM slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from .dicom_series import read_series
from .errors import InputError
from .image_files import CT_FORMATS, opened_image, quiet_itk, write_image
from .poses import FARTHEST_MM
from .volume import Volume

MIN_SLICES = 16
_SPACING_RANGE_MM = (0.01, 20.0)
_EXTENT_RANGE_MM = (2.0, 5000.0)
_MOST_VOXELS = 4e9
# Below -1024 HU lies only padding (-2000, -3024, -32768 of various scanners), which is air here.
_LOWEST_HU = -1024
_LARGEST_HU = 66_000
_LARGEST_LOWEST_HU = -100
_SMALLEST_LARGEST_HU = 100


def load_volume(path: str | Path) -> Volume:
    """Read a CT in Hounsfield units: an NRRD, NIfTI or MHA/MHD file, or a folder of DICOM slices.

    One DICOM file stands for the series it belongs to. Slope and intercept are applied, left-handed grids are stored
    the other way round, padding below -1024 HU becomes -1024. Whole numbers stay int16. Raises InputError for a file
    that is missing or damaged, is not one 3D scalar image of at least 16 slices, has gaps between its slices, or holds
    values that cannot be HU.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: this file or folder does not exist.")
    image = read_series(path) if path.is_dir() else _read_file(path)
    _check_shape(image, path)
    matrix = _ijk_to_ct(image, path)
    hu = _hounsfield(image, path)
    del image
    if torch.det(matrix[:3, :3]) < 0:
        hu, matrix = _other_way_round(hu, matrix)
    return Volume(hu, matrix, volume_name(path))


def save_volume(volume: Volume, path: str | Path) -> None:
    """Write a CT, compressed where the format can: the suffix chooses NRRD, NIfTI (.nii, .nii.gz), MHA or MHD."""
    path = Path(path)
    if not path.name.lower().endswith((".nrrd", ".nii", ".nii.gz", ".mha")):
        raise InputError(f"{path}: a CT is written as .nrrd, .nii, .nii.gz or .mha.")
    image = sitk.GetImageFromArray(volume.hu.numpy())
    spacing = torch.tensor(volume.spacing, dtype=torch.float64)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(volume.ijk_to_ct[:3, 3].tolist())
    image.SetDirection((volume.ijk_to_ct[:3, :3] / spacing).flatten().tolist())
    write_image(image, path)


def volume_name(path: Path) -> str:
    """What the CT of a file or folder is called."""
    return path.name.split(".")[0] or path.name if path.is_file() else path.resolve().name


def _read_file(path: Path) -> sitk.Image:
    reader = opened_image(path, CT_FORMATS)
    size = reader.GetSize()
    if float(np.prod([float(n) for n in size[:3]])) > _MOST_VOXELS:
        raise InputError(f"{path}: has {_times(size)} voxels, more than can be worked with; resample the CT.")
    if reader.HasMetaDataKey("0020|000e") and reader.GetSize()[-1] == 1:  # one slice of a DICOM series
        return read_series(path)
    if reader.GetDimension() > 3:
        sizes = reader.GetSize()
        if any(n > 1 for n in sizes[3:]):
            count = int(np.prod(sizes[3:]))
            raise InputError(f"{path}: is 4D: it holds {count} volumes. Save the one that is meant as a 3D file.")
        reader.SetExtractSize([*sizes[:3], *([0] * (len(sizes) - 3))])
    try:
        with quiet_itk():
            return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path}: the file is damaged or cut short; its voxels cannot be read.") from error


def _check_shape(image: sitk.Image, path: Path) -> None:
    channels = image.GetNumberOfComponentsPerPixel()
    if channels != 1:
        raise InputError(f"{path}: has {channels} values a voxel (colour or vectors); a CT has one, in HU.")
    size = image.GetSize()
    if image.GetDimension() != 3:
        raise InputError(f"{path}: is a {image.GetDimension()}D image of {_times(size)}; a CT has 3 dimensions.")
    if min(size) < MIN_SLICES:
        raise InputError(
            f"{path}: has {_times(size)} voxels; at least {MIN_SLICES} along each axis are needed "
            f"({size[2]} slices found)."
        )


def _ijk_to_ct(image: sitk.Image, path: Path) -> Tensor:
    spacing = torch.tensor(image.GetSpacing(), dtype=torch.float64)
    low, high = _SPACING_RANGE_MM
    if not bool(((spacing >= low) & (spacing <= high)).all()):
        raise InputError(f"{path}: its voxel spacing {_rounded(spacing)} is not one of a CT in mm ({low} to {high}).")
    direction = torch.tensor(image.GetDirection(), dtype=torch.float64).reshape(3, 3)
    if not (direction.T @ direction - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-3:
        raise InputError(f"{path}: its direction {_rounded(direction)} is degenerate or sheared; resample the CT.")
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = direction * spacing
    matrix[:3, 3] = torch.tensor(image.GetOrigin(), dtype=torch.float64)
    if not bool((matrix[:3, 3].abs() <= FARTHEST_MM).all()):
        raise InputError(f"{path}: its origin {_rounded(matrix[:3, 3])} is not a place in mm.")
    extent = spacing * torch.tensor(image.GetSize(), dtype=torch.float64)
    low, high = _EXTENT_RANGE_MM
    if not bool(((extent >= low) & (extent <= high)).all()):
        raise InputError(f"{path}: is {_rounded(extent)} mm large, which no CT is; its voxel spacing must be in mm.")
    return matrix


def _hounsfield(image: sitk.Image, path: Path) -> Tensor:
    """The voxels as int16, or float32 where they are not whole numbers; refused where they cannot be HU."""
    values = sitk.GetArrayViewFromImage(image)
    low, high, whole = np.inf, -np.inf, True
    for part in values:
        if part.dtype.kind == "f":
            if not np.isfinite(part).all():
                raise InputError(f"{path}: holds values that are NaN or infinite; replace them by -1000 (air).")
            whole = whole and bool((part == np.rint(part)).all())
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    _check_range(low, high, path)
    kind = np.int16 if whole and high <= 32767 else np.float32
    result = np.empty(values.shape, kind)
    for own, part in zip(result, values, strict=True):
        np.maximum(part, _LOWEST_HU, out=own, casting="unsafe")
    return torch.from_numpy(result)


def _check_range(low: float, high: float, path: Path) -> None:
    found = f"{path}: its values go from {low:g} to {high:g}, which cannot be Hounsfield units"
    if low == high:
        raise InputError(f"{found}: the image is constant.")
    if high > _LARGEST_HU:
        raise InputError(f"{found} (metal ends at about 30000).")
    if high < _SMALLEST_LARGEST_HU:
        raise InputError(f"{found}: bone is above 200. Convert the image to HU first.")
    if low > _LARGEST_LOWEST_HU:
        raise InputError(f"{found}: air is -1000. If 1000 or 1024 was added to them, take it off first.")


def _other_way_round(hu: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The same CT with its slices in reverse order, which makes a left-handed grid right-handed."""
    flip = torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=torch.float64))
    flip[2, 3] = hu.shape[0] - 1
    return torch.flip(hu, (0,)), matrix @ flip


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.flatten().tolist()]
