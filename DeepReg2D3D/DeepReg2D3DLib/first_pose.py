"""The first pose of a registration, from what the command line was given."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from .engine.beam import parse_angles, pose_from_angles
from .engine.camera import Camera
from .engine.errors import InputError
from .engine.initial_pose import default_pose
from .engine.landmark_file import load_landmarks
from .engine.landmarks import describe_pose, solve_landmarks
from .engine.pose_file import load_pose

AUTOMATIC, CENTRED = "auto", "centre"


@dataclass(frozen=True)
class StartRequest:
    """How the first pose is asked for. Raises InputError for what excludes each other and for angles that are none.

    init: a pose file, "auto", "centre" or None; angles: how the first view sees the patient, for the last three.
    """

    init: str | None = None
    landmarks: Path | None = None
    angles: str | None = None

    def __post_init__(self) -> None:
        if self.init is not None and self.landmarks is not None:
            raise InputError("--init and --landmarks both give a first pose; leave one of them out.")
        if self.angles is not None:
            if self.pose_file is not None or self.landmarks is not None:
                given = "--landmarks" if self.landmarks is not None else "the pose of --init"
                raise InputError(f"--angles and {given} both turn the CT; leave one of them out.")
            parse_angles(self.angles)

    @property
    def pose_file(self) -> Path | None:
        """The file with the pose, where there is one."""
        return None if self.init in (None, AUTOMATIC, CENTRED) else Path(self.init)

    @property
    def automatic(self) -> bool:
        """Whether only the pose's orientation is meant."""
        return self.init == AUTOMATIC

    def from_files(self, cameras: Sequence[Camera], tell: Callable[[str], None]) -> Tensor | None:
        """The pose of a file or of landmarks, which are told line by line; None where the CT is needed for it."""
        if self.landmarks is not None:
            names = [camera.name for camera in cameras]
            solved = solve_landmarks(load_landmarks(self.landmarks, names), cameras)
            for line in describe_pose(solved, names):
                tell(line)
            return solved.ct_to_world
        return None if self.pose_file is None else load_pose(self.pose_file)

    def in_beam(self, cameras: Sequence[Camera], ct_point: Tensor) -> Tensor:
        """The pose with a point of the CT (3,) in the middle of the beams, turned as the angles say.

        Warns where nobody asked for it.
        """
        if self.angles is not None:
            return pose_from_angles(cameras, *parse_angles(self.angles), ct_point)
        if self.init is None:
            where = "where the principal rays meet" if len(cameras) > 1 else "on the principal ray"
            warnings.warn(
                f"no first pose was given (--init): the CT's centre starts {where}, unrotated. If the result is wrong, "
                "give a pose within about 50 mm and 15 degrees, or --init auto.",
                stacklevel=2,
            )
        return default_pose(cameras, ct_point)
