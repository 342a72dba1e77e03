"""Cameras as OpenCV has them: K, R and t of x = K (R X + t), in files of cv2.FileStorage (YAML or JSON)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .atomic import write_json, write_text
from .camera import Camera
from .errors import InputError
from .geometry_file import View
from .geometry_hints import GeometryHints, from_world
from .opencv_storage import first_of, json_content, read_storage, yaml_text
from .poses import check_rigid, exp_rotation, make_pose

SUFFIXES = (".yaml", ".yml", ".json")
_K = ("camera_matrix", "cameraMatrix", "K", "M", "intrinsics", "intrinsic_matrix", "mtx")
_R = ("R", "rotation", "rotation_matrix", "rvec", "rvecs")
_T = ("t", "tvec", "tvecs", "translation", "translation_vector")
_D = ("distortion_coefficients", "distCoeffs", "dist_coeffs", "D", "dist", "distortion")
_MAX_VIEWS = 1000


def read_opencv(path: str | Path, hints: GeometryHints) -> tuple[list[View], list[str]]:
    """Views of a FileStorage file, and notes.

    One camera (camera_matrix or K; R as matrix or rotation vector; t in mm), several with the number of the view behind
    each name (K1, R1, t1, K2, ...), a list of maps under ``views`` or ``cameras``, or a map of maps by name.
    Raises InputError for lens distortion, which X-ray detectors do not have: undistort the images first.
    """
    path = Path(path)
    content = read_storage(path)
    cameras = _cameras(content, path)
    change = from_world(hints.frame(path, "OpenCV's files"))
    views, notes = [], []
    for index, (name, values) in enumerate(cameras):
        place = f"{path}: view '{name}'"
        k, pose = _intrinsics(values, place), _pose(values, place)
        size = first_of(values, ("image_size", "imageSize", "size"))
        columns, rows = first_of(values, ("image_width", "width")), first_of(values, ("image_height", "height"))
        if size is not None and columns is None:
            columns, rows = _vector(size, 2, f"{place}: image_size")
        if hints.sizes or columns is None or rows is None:
            columns, rows = hints.size(index, len(cameras), path)
        else:
            columns, rows = GeometryHints(sizes=[_whole(columns, rows, place)]).size(0, 1, path)
        spacing = hints.spacing
        given = first_of(values, ("pixel_spacing", "pixel_spacing_mm"))
        if spacing is None and given is not None:
            su, sv = _vector(given, 2, f"{place}: pixel_spacing")
            spacing = (su, sv)
        if spacing is None:
            notes.append(f"view '{name}': the pixel spacing is unknown; 1 mm is written, which only serves for display")
        world_to_camera = check_rigid(pose @ change, place)
        try:
            camera = Camera(k, world_to_camera, columns, rows, spacing or (1.0, 1.0), name)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if float(world_to_camera[2, :3] @ hints.front_point() + world_to_camera[2, 3]) <= 0:
            notes.append(f"view '{name}': the CT (or the world's origin) lies behind the source; check --coordinates")
        views.append(View(camera))
    return views, notes


def write_opencv(views: Sequence[View], path: str | Path, hints: GeometryHints) -> list[str]:
    """Write K, R, t and the image's size of each view; gives notes."""
    path = Path(path)
    coordinates = hints.frame(path, "OpenCV's files")
    change = from_world(coordinates)
    entries = []
    for view in views:
        camera = view.camera
        pose = (camera.world_to_camera @ change).numpy()
        entries.append(
            {
                "name": view.name,
                "coordinate_system": coordinates,
                "image_width": camera.columns,
                "image_height": camera.rows,
                "pixel_spacing": np.array([camera.pixel_spacing]),
                "camera_matrix": camera.intrinsics.numpy(),
                "distortion_coefficients": np.zeros((1, 5)),
                "R": pose[:3, :3],
                "t": pose[:3, 3:],
            }
        )
    content = entries[0] if len(entries) == 1 else {"views": entries}
    if path.suffix.lower() == ".json":
        write_json(path, json_content(content))
    elif path.suffix.lower() in (".yaml", ".yml"):
        write_text(path, yaml_text(content))
    else:
        raise InputError(f"{path}: OpenCV's files are written as {', '.join(SUFFIXES)}.")
    return [
        f"view '{view.name}': K[0][0] is negative, because the image is mirrored"
        for view in views
        if view.camera.mirrored
    ]


def _cameras(content: Mapping[str, Any], path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, values) of each camera in the file."""
    listed = first_of(content, ("views", "cameras"))
    if isinstance(listed, list):
        maps = [item for item in listed if isinstance(item, Mapping)]
        found = [(str(item.get("name") or f"view{index + 1}"), item) for index, item in enumerate(maps)]
    elif first_of(content, _K) is not None:
        found = [(str(content.get("name") or "view1"), content)]
    else:
        by_name = listed if isinstance(listed, Mapping) else content
        maps = {name: item for name, item in by_name.items() if isinstance(item, Mapping)}
        found = [(str(name), item) for name, item in maps.items() if first_of(item, _K) is not None]
        found = found or _by_number(content)
    names = [name for name, _ in found]
    if not 1 <= len(found) <= _MAX_VIEWS or len(set(names)) != len(names):
        raise InputError(f"{path}: holds no camera matrix (K or camera_matrix), or two views of one name.")
    return found


def _by_number(content: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    groups: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        match = re.fullmatch(r"(.+?)_?(\d+)", str(key))
        if match:
            groups.setdefault(match[2], {})[match[1]] = value
    return [
        (f"view{number}", group | {key: content[key] for key in content if not re.search(r"\d$", str(key))})
        for number, group in sorted(groups.items(), key=lambda item: int(item[0]))
        if first_of(group, _K) is not None
    ]


def _intrinsics(values: Mapping[str, Any], place: str) -> torch.Tensor:
    distortion = first_of(values, _D)
    if distortion is not None and np.abs(_array(distortion, f"{place}: the distortion")).max(initial=0.0) > 0:
        raise InputError(f"{place}: has lens distortion, which is not modelled; undistort the images (cv2.undistort).")
    k = _array(first_of(values, _K), f"{place}: the camera matrix")
    if k.shape != (3, 3):
        raise InputError(f"{place}: the camera matrix must be 3 x 3, found {k.shape}.")
    k = k / k[2, 2] if k[2, 2] else k
    if np.abs([k[1, 0], k[2, 0], k[2, 1]]).max() > 1e-9 * np.abs(k).max() or k[2, 2] != 1:
        raise InputError(f"{place}: the camera matrix is not upper triangular with K[2][2] = 1.")
    return torch.from_numpy(k)


def _pose(values: Mapping[str, Any], place: str) -> torch.Tensor:
    rotation, translation = first_of(values, _R), first_of(values, _T)
    if rotation is None or translation is None:
        raise InputError(f"{place}: needs R (or rvec) and t (or tvec), from world to camera.")
    r = _array(rotation, f"{place}: the rotation")
    if r.shape == (3, 3):
        matrix = torch.from_numpy(r)
    elif r.size == 3:
        matrix = exp_rotation(torch.from_numpy(r.reshape(3)))
    else:
        raise InputError(f"{place}: the rotation must be 3 x 3 or a vector of 3, found {r.shape}.")
    t = _vector(translation, 3, f"{place}: the translation")
    return make_pose(matrix, torch.tensor(t, dtype=torch.float64))


def _array(value: Any, what: str) -> np.ndarray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.array(np.nan)
    if not np.isfinite(array).all():
        raise InputError(f"{what} is missing, or not of finite numbers.")
    return array


def _vector(value: Any, count: int, what: str) -> tuple[float, ...]:
    array = _array(value, what)
    if array.size != count:
        raise InputError(f"{what} must have {count} numbers, found {array.size}.")
    return tuple(array.ravel().tolist())


def _whole(columns: Any, rows: Any, place: str) -> tuple[int, int]:
    try:
        return int(columns), int(rows)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{place}: image_width and image_height must be whole numbers.") from None
