"""The engine as the worker's server drives it: one CT, its X-rays, live DRRs and registrations."""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..engine.atomic import write_json
from ..engine.automatic_start import automatic_start
from ..engine.beam import pose_from_angles
from ..engine.device import resolve_device
from ..engine.errors import InputError
from ..engine.initial_pose import default_pose
from ..engine.iteration import kept
from ..engine.methods import Method, forget_methods, get_method
from ..engine.presets import get_preset
from ..engine.registration import Iteration, register
from ..engine.report import RunFacts, Seconds, build_report
from ..engine.result_checks import ResultChecks, check_result
from ..engine.setup import RegistrationSetup
from ..engine.structure import Structure, isolated, structure_setup
from ..engine.structure_registration import near_preset, register_structure
from ..engine.volume import Volume
from ..engine.volume_io import load_volume, save_volume
from ..engine.weights import adapted_weights
from ..engine.xray import XRay
from .arrays import ArrayFolder
from .bone_surface import surface_nets, vertex_normals
from .landmark_pose import landmark_pose
from .live_drr import LiveDrr, bone_alone
from .messages import Request
from .region import structure_of
from .session_files import FILE_REQUESTS, camera_to_json, read_view

Progress = Callable[[str, float | None], None]
_SLAB_VOXELS = 4_000_000
_BONE_HU = 250.0
_MOST_TRIANGLES = 200_000  # more than this a 3D view with software OpenGL can't turn smoothly


class EngineSession:
    """Implements ``server.Engine`` with the torch engine."""

    def __init__(self, folder: ArrayFolder) -> None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self._folder = folder
        self._device = resolve_device("auto")
        self._volume: Volume | None = None
        self._views: dict[str, XRay] = {}
        self._live: dict[str, LiveDrr] = {}  # by what it draws: the whole CT or its bone
        self._setup: tuple[str, Any] | None = None
        self._structure: Structure | None = None
        self._structure_setup: tuple[str, Any] | None = None
        self._records: list[Iteration] = []
        self._ended: list[Iteration] = []  # the most trusted end of an attempt, with its pictures
        self._run: dict[str, Any] | None = None
        self._method: Method | None = None  # of the run
        self._checks = ResultChecks()  # of its result
        self._warnings: list[str] = []
        self._load_seconds = self._setup_seconds = 0.0

    # --- what there is ---------------------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Devices and versions, and what is loaded."""
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return {
            "device": self._device.type,
            "device_name": gpus[0] if self._device.type == "cuda" and gpus else "CPU",
            "gpus": gpus,
            "threads": torch.get_num_threads(),
            "versions": {"deepreg2d3d": __version__, "torch": torch.__version__, "python": platform.python_version()},
            "ct": self._volume.name if self._volume is not None else None,
            "views": list(self._views),
        }

    def fall_back_to_cpu(self) -> bool:
        """Drop everything on the GPU and go on with the CPU; False where the CPU was in use already."""
        running = self._run is not None and self._run["device"] != "cpu"
        if self._device.type == "cpu" and not running:
            return False
        self._device = torch.device("cpu")
        self._setup = self._structure_setup = None
        forget_methods()
        self._warnings = [*self._warnings, "The GPU ran out of memory; the CPU went on."]
        if self._volume is not None:
            self._live = self._live_of(self._volume)
        torch.cuda.empty_cache()
        return True

    def handle(self, request: Request, progress: Progress) -> Mapping[str, Any]:
        """Answer a request that isn't about a run."""
        if request.type in FILE_REQUESTS:
            return FILE_REQUESTS[request.type](request.fields, self._folder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            answer = dict(getattr(self, "_" + request.type)(request.fields, progress))
        said = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
        if request.type == "set_views":
            self._warnings = said
        return answer | ({"warnings": said} if said else {})

    # --- the CT and the X-rays -------------------------------------------------------------------------------------

    def _load_ct(self, fields: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        start = time.perf_counter()
        progress("Reading the CT...", None)
        volume = self._volume_from_file(fields) if "path" in fields else self._volume_from_array(fields, progress)
        self._volume, self._live, self._setup = None, {}, None
        self._structure = self._structure_setup = None
        progress("Preparing the CT...", None)
        live = self._live_of(volume)
        for each in live.values():
            each.prepare()
        self._volume, self._live = volume, live
        self._load_seconds = time.perf_counter() - start
        return {
            "name": volume.name,
            "centre": volume.centre.tolist(),
            "shape": list(volume.shape),
            "spacing_mm": list(volume.spacing),
            "seconds": self._load_seconds,
        }

    def _live_of(self, volume: Volume) -> dict[str, LiveDrr]:
        body = volume.cropped_to_body()
        bone = bone_alone(body) if self._structure is None else isolated(volume, self._structure)[0]
        return {"drr": LiveDrr(body, self._device), "bone": LiveDrr(bone, self._device)}

    def _volume_from_file(self, fields: Mapping[str, Any]) -> Volume:
        volume = load_volume(fields["path"])
        same_shape = "shape" not in fields or list(volume.shape) == fields["shape"]
        expected = fields.get("file_ijk_to_ct")
        same_place = expected is None or _same_grid(volume, torch.tensor(expected, dtype=torch.float64))
        if not (same_shape and same_place):
            raise InputError(f"{fields['path']}: this file is not the CT that is shown in the scene any more.")
        if "ijk_to_ct" not in fields:
            return Volume(volume.hu, volume.ijk_to_ct, fields["name"])
        # The node stands elsewhere than its file (a transform below the pose). Left-handed grids were turned round
        # when the file was read.
        matrix = torch.tensor(fields["ijk_to_ct"], dtype=torch.float64)
        if torch.det(matrix[:3, :3]) < 0:
            matrix = matrix @ _reversed_slices(volume.shape[0])
        return Volume(volume.hu, matrix, fields["name"])

    def _volume_from_array(self, fields: Mapping[str, Any], progress: Progress) -> Volume:
        if "array" not in fields or "ijk_to_ct" not in fields:
            raise InputError("A CT needs a file, or an array with its ijk_to_ct.")
        source = self._folder.open(fields["array"])
        if source.ndim != 3:
            raise InputError(f"CT '{fields['name']}': expected 3 dimensions, found {source.ndim}.")
        dtype = np.float32 if source.dtype.kind == "f" or source.dtype.itemsize > 2 else np.int16
        values = np.empty(source.shape, dtype)
        step = max(1, _SLAB_VOXELS // max(1, source[0].size))
        for first in range(0, len(source), step):
            slab = source[first : first + step]
            if dtype == np.int16 and source.dtype == np.uint16:
                slab = np.minimum(slab, 32767)
            elif dtype == np.float32 and not np.isfinite(slab).all():
                raise InputError(f"CT '{fields['name']}': it has values that are not finite numbers.")
            values[first : first + step] = slab
            progress("Reading the CT...", (first + len(slab)) / len(source))
        matrix = torch.tensor(fields["ijk_to_ct"], dtype=torch.float64)
        hu = torch.from_numpy(values)
        if torch.det(matrix[:3, :3]) < 0:
            # Left-handed grids are kept the other way round, as when they are read from a file.
            hu, matrix = hu.flip(0), matrix @ _reversed_slices(hu.shape[0])
        return Volume(hu, matrix, fields["name"])

    def _set_views(self, fields: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        views: dict[str, XRay] = {}
        for view in fields["views"]:
            if view["name"] in views:
                raise InputError(f"Two X-rays are named '{view['name']}'; names must differ.")
            progress(f"Reading the X-ray {view['name']}...", None)
            views[view["name"]] = read_view(view, self._folder)
        self._views = views
        return {
            "views": [
                {"name": name, "columns": view.camera.columns, "rows": view.camera.rows} for name, view in views.items()
            ]
        }

    def _set_region(self, fields: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        volume = self._need_ct()
        structure = structure_of(fields, self._folder)
        if structure is self._structure:
            return {"name": None}
        before, self._structure, self._structure_setup = self._structure, structure, None
        try:
            progress("Preparing the region...", None)
            self._live = self._live_of(volume)
        except InputError:
            self._structure = before
            raise
        return {"name": structure.name if structure is not None else None}

    def _chosen(self, fields: Mapping[str, Any]) -> list[XRay]:
        names = fields.get("views") or list(self._views)
        missing = [name for name in names if name not in self._views]
        if missing:
            raise InputError(f"There is no X-ray named '{missing[0]}'.")
        if not names:
            raise InputError("There is no X-ray yet: add one first.")
        return [self._views[name] for name in names]

    def _need_ct(self) -> Volume:
        if self._volume is None:
            raise InputError("There is no CT yet: choose one first.")
        return self._volume

    # --- pictures and meshes ---------------------------------------------------------------------------------------

    def _render(self, fields: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        self._need_ct()
        start = time.perf_counter()
        pose = torch.tensor(fields["ct_to_world"], dtype=torch.float64)
        views = []
        for view in self._chosen(fields):
            images = {
                name: self._live[name].render(view.camera, pose, fields.get("max_side", 256)).numpy()
                for name in fields.get("pictures", ["drr"])
            }
            rows, columns = next(iter(images.values())).shape
            camera = camera_to_json(view.camera.resized(columns, rows))
            views.append({"name": view.name, "camera": camera, **images})
        return {"pose": fields["ct_to_world"], "views": views, "seconds": time.perf_counter() - start}

    def _bone_surface(self, fields: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        volume = self._need_ct()
        spacing = max(fields.get("spacing_mm", 3.0), *(0.5 * s for s in volume.spacing))
        body = volume.cropped_to_body()
        while True:
            coarse = body.resampled(spacing)
            points, triangles = surface_nets(coarse.hu.numpy(), fields.get("hu", _BONE_HU))
            if len(triangles) <= _MOST_TRIANGLES:
                break
            spacing *= 1.25
        matrix = coarse.ijk_to_ct.numpy()
        points = (points @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
        return {"points": points, "triangles": triangles, "normals": vertex_normals(points, triangles)}

    def _initial_pose(self, fields: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        kind = fields.get("kind", "centre")
        if kind not in ("centre", "auto"):
            raise InputError(f"There is no first pose of the kind '{kind}'; known are 'centre' and 'auto'.")
        xrays = self._chosen(fields)
        cameras, centre = [view.camera for view in xrays], self._need_ct().centre
        pose = default_pose(cameras, centre)
        if kind == "centre" and "angles_deg" in fields:
            pose = pose_from_angles(cameras, *fields["angles_deg"], centre)
        if kind == "auto":
            around = fields.get("ct_to_world")
            pose = pose if around is None else torch.tensor(around, dtype=torch.float64)
            pose = automatic_start(self._prepared(self._run_device("auto")), xrays, pose)
        return {"ct_to_world": pose.tolist()}

    def _landmark_pose(self, fields: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        return landmark_pose(fields["landmarks"], self._views)

    def _make_sample(self, fields: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        from .sample import make_sample

        return make_sample(fields.get("seed", 0), progress)

    # --- runs ------------------------------------------------------------------------------------------------------

    def register(self, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The iterations of a registration; raises InputError at once where something is missing.

        With ``continued`` among the fields it goes on counting from the last run, whose end is the start here.
        """
        volume, xrays = self._need_ct(), self._chosen(fields)
        return self._iterations(volume, xrays, fields)

    def _prepared(self, device: torch.device) -> RegistrationSetup:
        """What registrations on a device need of the CT, made when it is first asked for."""
        if self._setup is None or self._setup[0] != str(device):
            start = time.perf_counter()
            self._setup = None
            self._setup = str(device), RegistrationSetup.prepare(self._need_ct(), device)
            self._setup_seconds = time.perf_counter() - start
        return self._setup[1]

    def _structure_prepared(self, device: torch.device) -> RegistrationSetup:
        if self._structure_setup is None or self._structure_setup[0] != str(device):
            self._structure_setup = str(device), structure_setup(self._prepared(device), self._structure)
        return self._structure_setup[1]

    def _iterations(self, volume: Volume, xrays: list[XRay], fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        device = self._run_device(fields.get("device", "auto"))
        if not fields.get("continued"):
            self._records, self._ended = [], []
        self._run = {
            **fields,
            "device": device.type,
            "region": self._structure.name if self._structure is not None else None,
        }
        self._checks = ResultChecks()
        setup = self._prepared(device)
        pose = torch.tensor(fields["ct_to_world"], dtype=torch.float64)
        weights = Path(fields["weights"]) if "weights" in fields else None
        self._method = get_method(fields["method"], device, weights)
        how = {"method": self._method, "preset": fields["preset"]}
        if self._structure is not None:
            run = register_structure(setup, self._structure_prepared(device), xrays, pose, **how)
        else:
            run = register(volume, xrays, pose, device=str(device), setup=setup, **how)
        past = max(0, len(self._records) - 1)
        for iteration in run:
            if iteration.index == 0 and self._records:
                continue  # the start of a continued run was the end of an iteration already
            yield self._recorded(replace(iteration, index=iteration.index + past))

    def _recorded(self, iteration: Iteration) -> dict[str, Any]:
        """Remember an iteration for the report, and the end of an attempt for ``kept``; its record for the client."""
        record = iteration_record(iteration)
        for view, shown in zip(iteration.views, record["views"], strict=True):
            shown["bone"] = self._live["bone"].quick(view.camera, iteration.ct_to_world).numpy()
        # The report needs the numbers, not the pictures.
        self._records.append(replace(iteration, views=()))
        if iteration.confidence is not None and not iteration.final:
            self._ended = [kept([*self._ended, iteration])]
        return record

    def kept(self) -> dict[str, Any] | None:
        """See ``server.Engine``."""
        if not self._ended or not self._records:
            return None
        last = self._records[-1]
        best = kept([*self._ended, last])
        if torch.equal(best.ct_to_world, last.ct_to_world):
            return None
        return self._recorded(replace(best, index=last.index + 1, motion_mm=0.0))

    def check(self) -> None:
        """See ``server.Engine``."""
        last, preset = self._records[-1], get_preset(self._run["preset"])
        setup = self._prepared(self._run_device(self._run["device"]))
        if self._structure is not None:
            setup, preset = self._structure_prepared(setup.device), near_preset(preset)
        start, xrays = self._records[0].ct_to_world, self._chosen(self._run)
        self._checks = check_result(setup, xrays, start, last.ct_to_world, self._method, preset)
        self._records[-1] = replace(last, confidence=self._checks.applied_to(last.confidence))

    def _run_device(self, wanted: str) -> torch.device:
        """The device of a run; after the GPU ran out of memory 'auto' stays with the CPU."""
        return self._device if wanted == "auto" else resolve_device(wanted)

    def report(self) -> dict[str, Any]:
        """The content of report.json for the last run; empty before the first iteration."""
        if not self._records or self._run is None:
            return {}
        seconds = Seconds(self._load_seconds, self._setup_seconds, sum(record.seconds for record in self._records))
        # A run that was cancelled has no status of its own.
        status = self._records[-1].status or "stopped"
        run, weights = self._run, self._run.get("weights")
        adapted = adapted_weights(Path(weights)) if weights else {}
        how = (run["method"], run["preset"], run["device"])
        warnings, agreements = [*self._warnings, *self._checks.warnings], self._checks.agreements
        facts = RunFacts(status, *how, seconds, warnings, run["region"], adapted, agreements)
        return build_report(self._records, facts)

    def _save_ct(self, fields: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        progress("Writing the CT...", None)
        save_volume(self._need_ct(), fields["path"])
        return {"path": fields["path"]}

    def _save_report(self, fields: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        if not self._records:
            raise InputError("There is no report yet: register first.")
        write_json(fields["path"], self.report())
        return {"path": fields["path"]}


def iteration_record(iteration: Any) -> dict[str, Any]:
    """An engine's ``Iteration`` as the fields of an ``iteration`` message."""
    return {
        "index": iteration.index,
        "pose": iteration.ct_to_world.tolist(),
        "motion_mm": float(iteration.motion_mm),
        "points": int(iteration.points),
        "similarity": float(iteration.similarity),
        "seconds": float(iteration.seconds),
        "final": bool(iteration.final),
        "status": iteration.status,
        "views": [
            {
                "name": view.name,
                "camera": camera_to_json(view.camera),
                **{name: _array(getattr(view, name, None)) for name in ("drr", "contour_pixels", "weights", "flow")},
            }
            for view in iteration.views
        ],
    }


def _array(tensor: Any) -> np.ndarray | None:
    return None if tensor is None else tensor.detach().to("cpu", torch.float32).numpy()


def _reversed_slices(count: int) -> torch.Tensor:
    """(4, 4), index in a stack of slices -> index in the same stack the other way round."""
    flip = torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=torch.float64))
    flip[2, 3] = count - 1
    return flip


def _same_grid(volume: Volume, expected: torch.Tensor) -> bool:
    """Whether the volume's voxels lie where ``expected`` (4, 4) puts them, in either order of the slices."""
    turned = expected @ _reversed_slices(volume.shape[0])
    return any(torch.allclose(volume.ijk_to_ct, matrix, atol=1e-2) for matrix in (expected, turned))
