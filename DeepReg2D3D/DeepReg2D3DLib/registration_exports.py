"""What a registration writes on request beside its pose: the registered CT, and a DICOM registration object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from .engine.dicom_registration import DicomSource, read_dicom_source, registration_object, save_registration_object
from .engine.geometry_file import View
from .engine.registered_ct import moved_ct, resampled_ct
from .engine.volume import Volume
from .engine.volume_io import save_volume

RESAMPLED, MOVED, DICOM = "ct_resampled.nrrd", "ct_moved.nrrd", "registration.dcm"


@dataclass(frozen=True)
class Exports:
    """What is asked for. dicom: the DICOM files that the object is to name, or None for no object."""

    resampled: bool = False
    moved: bool = False
    dicom: DicomSource | None = None


def dicom_source(ct: Path, views: Sequence[View]) -> DicomSource:
    """The files of a registration object; raises InputError where CT or X-rays are not DICOM of one patient."""
    return read_dicom_source(ct, [view.image for view in views if view.image], [view.frame for view in views])


def write_exports(
    folder: Path, exports: Exports, volume: Volume, views: Sequence[View], ct_to_world: Tensor, status: str, how: str
) -> tuple[list[Path], list[str]]:
    """Write what is asked for; returns the paths, and sentences about what was left out.

    status: how the run ended; no registration object is made of a result that is in doubt, since it would be stored
    among the patient's images. how: the method, for the object's comment.
    """
    written, notes = [], []
    for wanted, name, make in ((exports.resampled, RESAMPLED, resampled_ct), (exports.moved, MOVED, moved_ct)):
        if wanted:
            save_volume(make(volume, ct_to_world), folder / name)
            written.append(folder / name)
    if exports.dicom is not None:
        (folder / DICOM).unlink(missing_ok=True)  # of an earlier run into the same folder
        if status in ("converged", "stopped"):
            comment = f"{how}; research software, unverified"
            made = registration_object(exports.dicom, [view.camera for view in views], ct_to_world, comment)
            save_registration_object(made, folder / DICOM)
            written.append(folder / DICOM)
        else:
            notes.append(f"no {DICOM} was written, because the result is {status}.")
    return written, notes
