"""The files of a study or a case: a CT, views with images, the pose that counts as the truth, landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from .engine.dicom_geometry import Frame
from .engine.errors import InputError
from .engine.geometry_file import View
from .engine.landmark_file import load_landmarks
from .engine.landmarks import Landmark
from .engine.pose_file import load_pose
from .engine.view_files import load_views
from .engine.volume import Volume
from .engine.volume_io import load_volume


@dataclass(frozen=True)
class StudyInputs:
    """reference: ct_to_world (4, 4), or None where none is given."""

    volume: Volume
    views: tuple[View, ...]
    reference: Tensor | None
    landmarks: tuple[Landmark, ...]


def load_study_inputs(
    ct: Path,
    geometry: Path | None,
    images: Sequence[Path] | None,
    frame: Frame = None,
    reference: Path | None = None,
    landmarks: Path | None = None,
) -> StudyInputs:
    """Read them, small files first. Raises InputError."""
    views = tuple(load_views(geometry, images, frame))
    for view in views:
        if view.image is None:
            raise InputError(f"{geometry}: view '{view.name}' names no image; name the X-rays with --xray.")
    pose = None if reference is None else load_pose(reference)
    marks = () if landmarks is None else tuple(load_landmarks(landmarks, [view.name for view in views]))
    return StudyInputs(load_volume(ct), views, pose, marks)
