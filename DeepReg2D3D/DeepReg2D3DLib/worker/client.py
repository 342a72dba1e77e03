"""The engine seen from Slicer: requests that return at once, and signals for what comes back. Only stdlib and numpy.

client = EngineClient(lambda: QProcessTransport(qt))
client.iteration.connect(show)
client.load_ct_file("ct.nrrd", "CT")       # starts the process
client.set_views(views)
client.register(ct_to_world, method="dppc", preset="fast")
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..i18n import tr as _
from .link import CANCEL_SECONDS, Done, Refused, WorkerLink
from .results import IterationResult, RenderResult, RunResult, pose_array
from .signals import Signal
from .transports import Transport


class EngineClient(WorkerLink):
    """A worker with one CT, its X-rays and at most one run. Poses are ct_to_world, (4, 4), LPS mm.

    Signals: ct_loaded(info), views_loaded(info), rendered(RenderResult), iteration(IterationResult), paused(run, pose),
    finished(RunResult), checked(run, report), and those of ``WorkerLink``: state_changed(state, text), ready(info),
    progress(text, fraction or None), error(text, detail), log(text). After a crash the worker is started again with its
    CT and X-rays; their ``info`` then says ``reloaded``. ``checked`` comes some time after a run ended by itself, with
    its report as it is once the result was looked at again; not where the next run begins, or the inputs change, first.
    """

    def __init__(
        self, make_transport: Callable[[], Transport], command: Callable[[], Sequence[str]] | None = None
    ) -> None:
        super().__init__(make_transport, command)
        self._names = itertools.count(1)
        self._ct: dict[str, Any] | None = None
        self._views: list[dict[str, Any]] | None = None
        self._render_id: int | None = None
        self._render_waiting: tuple[dict[str, Any], Refused | None] | None = None
        self._reloading: set[int] = set()
        self._run_count = 0
        self._last_pose = np.eye(4)
        self.ct_info: dict[str, Any] | None = None
        self.run_id: str | None = None
        self.run_paused = False
        self.ct_loaded, self.views_loaded, self.rendered = Signal(), Signal(), Signal()
        self.iteration, self.paused, self.finished, self.checked = Signal(), Signal(), Signal(), Signal()

    @property
    def is_running_registration(self) -> bool:
        """True from ``register`` to ``finished``, paused runs included."""
        return self.run_id is not None

    @property
    def view_names(self) -> list[str]:
        """The X-rays that the engine has."""
        return [view["name"] for view in self._views or []]

    # --- the CT and the X-rays -------------------------------------------------------------------------------------

    def load_ct_file(
        self,
        path: str | Path,
        name: str,
        ijk_to_ct: Any = None,
        shape: Sequence[int] | None = None,
        file_ijk_to_ct: Any = None,
        on_done: Done | None = None,
        on_error: Refused | None = None,
    ) -> None:
        """Let the worker read the CT itself; ``ct_loaded`` follows.

        ijk_to_ct: (4, 4) where the voxels are to lie (LPS), if not where the file puts them. file_ijk_to_ct and shape
        (slices, rows, columns): what the file must hold, or the request is refused.
        """
        fields: dict[str, Any] = {"name": name, "path": str(path)}
        for key, matrix in (("ijk_to_ct", ijk_to_ct), ("file_ijk_to_ct", file_ijk_to_ct)):
            if matrix is not None:
                fields[key] = np.asarray(matrix, dtype=np.float64).tolist()
        if shape is not None:
            fields["shape"] = [int(n) for n in shape]
        self._load_ct(fields, on_done, on_error)

    def load_ct_array(
        self,
        array: Mapping[str, Any],
        ijk_to_ct: Any,
        name: str,
        on_done: Done | None = None,
        on_error: Refused | None = None,
    ) -> None:
        """Load a CT from a mapped array (slices, rows, columns) in ``folder``; the client removes its file later."""
        matrix = np.asarray(ijk_to_ct, dtype=np.float64).tolist()
        self._load_ct({"name": name, "array": dict(array), "ijk_to_ct": matrix}, on_done, on_error)

    def _load_ct(self, fields: dict[str, Any], on_done: Done | None, on_error: Refused | None) -> None:
        def done(answer: dict[str, Any]) -> None:
            if self._ct is not None and self._ct.get("array") != fields.get("array"):
                self._drop_files(self._ct)
            self._ct = fields
            if on_done is not None:
                on_done(answer)

        self.request("load_ct", done, on_error, **fields)

    def set_views(
        self,
        views: Sequence[Mapping[str, Any]],
        on_done: Done | None = None,
        on_error: Refused | None = None,
    ) -> None:
        """Give the engine its X-rays, in place of the ones it has; ``views_loaded`` follows.

        Each: ``name``, ``camera`` (see ``messages.is_camera``), ``image_kind``, and ``path`` or ``image`` (rows,
        columns) as a numpy array.
        """
        self.start()  # before anything is written: a process that is still ending takes its folder with it
        stored = []
        for view in views:
            fields = {key: view[key] for key in ("name", "camera", "image_kind", "path") if view.get(key) is not None}
            if view.get("image") is not None:
                pixels = np.asarray(view["image"], dtype=np.float32)
                fields["image"] = self.folder.write(f"view{next(self._names)}.bin", pixels)
            stored.append(fields)

        def done(answer: dict[str, Any]) -> None:
            for view in self._views or []:
                self._drop_files(view)
            self._views = stored
            if on_done is not None:
                on_done(answer)

        def refused(text: str) -> None:
            for view in stored:
                self._drop_files(view)
            if on_error is not None:
                on_error(text)
            else:
                self.error.emit(text, "")

        self.request("set_views", done, refused, views=stored)

    def set_region(
        self, region: Mapping[str, Any] | None, on_done: Done | None = None, on_error: Refused | None = None
    ) -> None:
        """Register a part of the CT alone from now on; None: the whole CT. Has to be said again after a restart.

        region: {"name", "box": {"centre", "axes", "size_mm"}} or {"name", "labels": (K, J, I) numpy array, "label",
        "ijk_to_ct"}, in the CT's LPS mm.
        """
        self.start()  # as in ``set_views``
        fields = dict(region or {})
        if "labels" in fields:
            fields["labels"] = self.folder.write(f"region{next(self._names)}.bin", fields["labels"])

        def read(answer: Any, then: Callable | None) -> None:
            if "labels" in fields and self._arrays is not None:
                self._arrays.delete(fields["labels"]["file"])
            if then is not None:
                then(answer)

        self.request("set_region", lambda reply: read(reply, on_done), lambda text: read(text, on_error), **fields)

    def forget(self) -> None:
        """Forget the CT and the X-rays (the scene was closed): they aren't loaded again after a restart."""
        for fields in (self._ct, *(self._views or [])):
            self._drop_files(fields)
        self._ct = self._views = self.ct_info = None

    def _drop_files(self, fields: Mapping[str, Any] | None) -> None:
        for key in ("array", "image"):
            if fields and key in fields and self._arrays is not None:
                self._arrays.delete(fields[key]["file"])

    # --- pictures and runs -----------------------------------------------------------------------------------------

    def render(
        self,
        ct_to_world: Any,
        max_side: int = 256,
        views: Sequence[str] | None = None,
        on_error: Refused | None = None,
        pictures: Sequence[str] | None = None,
    ) -> None:
        """Ask for DRRs at a pose; ``rendered`` follows. Of several requests only the newest is answered.

        pictures: "drr" (the whole CT, the default), "bone" (its bone alone) or both.
        """
        fields: dict[str, Any] = {"ct_to_world": pose_array(ct_to_world).tolist(), "max_side": int(max_side)}
        if views is not None:
            fields["views"] = list(views)
        if pictures is not None:
            fields["pictures"] = list(pictures)
        if self._render_id is None:
            self._render_id = self.request("render", None, on_error, **fields)
        else:
            self._render_waiting = fields, on_error

    def register(
        self,
        ct_to_world: Any,
        method: str,
        preset: str = "accurate",
        device: str = "auto",
        steps: int | None = None,
        views: Sequence[str] | None = None,
        weights: str | Path = "",
    ) -> str:
        """Start a run and return its name; ``iteration`` and ``finished`` follow.

        With ``steps`` it pauses after so many iterations (the start, index 0, doesn't count) and waits for ``resume``.
        weights: a folder of networks in place of the installed ones.
        """
        self._run_count += 1
        run = f"run{self._run_count}"
        fields: dict[str, Any] = {
            "run": run,
            "ct_to_world": pose_array(ct_to_world).tolist(),
            "method": method,
            "preset": preset,
            "device": device,
        }
        if steps is not None:
            fields["steps"] = int(steps)
        if views is not None:
            fields["views"] = list(views)
        if weights:
            fields["weights"] = str(weights)
        if self.run_id is not None:
            self._end_run("cancelled", _("Stopped: another registration was started."))
        self.run_id, self.run_paused, self._last_pose = run, False, pose_array(ct_to_world)

        def refused(text: str) -> None:
            if self.run_id == run:
                self._end_run("failed", text)

        self.request("register", None, refused, **fields)
        return run

    def resume(self, steps: int | None = None) -> None:
        """Go on with a paused run, for so many steps or to its end."""
        if self.run_id is None:
            return
        self.run_paused = False
        self.request("resume", **({"steps": int(steps)} if steps is not None else {}))

    def cancel(self) -> None:
        """End the run after its current iteration; a worker that doesn't obey in 3 s is ended and started again."""
        if self.run_id is None or self._transport is None:
            return
        self.request("cancel")
        self._cancel_ladder()
        self._ladder = self._transport.call_later(CANCEL_SECONDS, self._terminate)

    # --- the rest: answered through ``on_done(answer)``; arrays in the answer are numpy arrays.

    def read_geometry(
        self,
        path: str | Path,
        on_done: Done,
        on_error: Refused | None = None,
        coordinates: str | None = None,
        sizes: Sequence[Sequence[int]] = (),
    ) -> None:
        """Views of a geometry file: {"views": [{"name", "camera", "image_kind", "path" and "frame" where it names an
        image and a frame of it}]}.

        coordinates: LPS or RAS, the world of a file in another format than geometry.json; sizes: (columns, rows) of
        its images.
        """
        more = {} if coordinates is None else {"coordinates": coordinates, "sizes": [list(size) for size in sizes]}
        self.request("read_geometry", on_done, on_error, path=str(path), **more)

    def save_geometry(
        self, path: str | Path, views: Sequence[Mapping[str, Any]], on_done: Done, on_error: Refused | None = None
    ) -> None:
        """Write views {"camera", "path", "image_kind"}; the suffix decides on the format. World is LPS."""
        self.request("save_geometry", on_done, on_error, path=str(path), views=[dict(view) for view in views])

    def read_xray(
        self,
        path: str | Path,
        on_done: Done,
        camera: Mapping[str, Any] | None = None,
        image_kind: str = "auto",
        on_error: Refused | None = None,
        frame: int | str | None = None,
    ) -> None:
        """An X-ray file: {"image": (rows, columns) float32 line integrals, "mask", "columns", "rows", "camera"}.

        frame: of DICOM files with several: a number from 1, 'mean' or 'maximum'; the answer has "frame" and "frames".
        """
        fields: dict[str, Any] = {"path": str(path), "image_kind": image_kind}
        if frame is not None:
            fields["frame"] = frame
        self.request("read_xray", on_done, on_error, **(fields | ({"camera": dict(camera)} if camera else {})))

    def make_sample(self, on_done: Done, seed: int = 0, on_error: Refused | None = None) -> None:
        """A phantom CT and its X-rays.

        {"ct": {"array" (slices, rows, columns), "ijk_to_ct", "name"}, "views": [{"name", "camera", "image"}],
        "truth": 4x4, "start": 4x4}.
        """
        self.request("make_sample", on_done, on_error, seed=int(seed))

    def ping(self, on_done: Done) -> None:
        """Answered at once, even while the engine computes."""
        self.request("ping", on_done)

    def initial_pose(
        self,
        on_done: Done,
        kind: str = "centre",
        on_error: Refused | None = None,
        pose: Any = None,
        angles_deg: Sequence[float] | None = None,
    ) -> None:
        """A first pose from the cameras and the CT: {"ct_to_world": 4x4}.

        kind: "centre", or "auto", which looks for it in the X-rays, around ``pose`` (4x4) where one is given.
        angles_deg: "centre" then turns the CT so that the first view sees it as a C-arm at these angles does.
        """
        around = {} if pose is None else {"ct_to_world": np.asarray(pose, float).tolist()}
        if angles_deg is not None:
            around["angles_deg"] = [float(angle) for angle in angles_deg]
        self.request("initial_pose", on_done, on_error, kind=kind, **around)

    def landmark_pose(
        self, landmarks: Sequence[Mapping[str, Any]], on_done: Done, on_error: Refused | None = None
    ) -> None:
        """The pose of landmarks, each {"name", "point": CT LPS mm, "clicks": {view: [u, v]}}.

        {"ct_to_world": 4x4, "clicks": [{"landmark", "view", "pixels", "mm", "doubtful"}], "rms_mm", "in_plane_mm",
        "depth_mm", "rotation_deg"}.
        """
        self.request("landmark_pose", on_done, on_error, landmarks=[dict(mark) for mark in landmarks])

    def bone_surface(
        self, on_done: Done, hu: float = 250.0, spacing_mm: float = 3.0, on_error: Refused | None = None
    ) -> None:
        """The CT's bone as a mesh: {"points", "normals": (N, 3) CT LPS mm, "triangles": (M, 3)}."""
        self.request("bone_surface", on_done, on_error, hu=float(hu), spacing_mm=float(spacing_mm))

    def read_pose(self, path: str | Path, on_done: Done, on_error: Refused | None = None) -> None:
        """A pose file (.json, .tfm): {"ct_to_world": 4x4}."""
        self.request("read_pose", on_done, on_error, path=str(path))

    def read_case(self, path: str | Path, on_done: Done, on_error: Refused | None = None) -> None:
        """A case folder: {"ct", "geometry": paths, "ct_to_world": 4x4 or None (the first start, else the truth)}."""
        self.request("read_case", on_done, on_error, path=str(path))

    def save_pose(
        self, path: str | Path, ct_to_world: Any, on_done: Done | None = None, on_error: Refused | None = None
    ) -> None:
        """Write a pose as .json or .tfm."""
        pose = pose_array(ct_to_world).tolist()
        self.request("save_pose", on_done, on_error, path=str(path), ct_to_world=pose)

    def save_ct(self, path: str | Path, on_done: Done | None = None, on_error: Refused | None = None) -> None:
        """Write the CT that the engine holds as an image file."""
        self.request("save_ct", on_done, on_error, path=str(path))

    def save_report(self, path: str | Path, on_done: Done | None = None, on_error: Refused | None = None) -> None:
        """Write report.json of the last run."""
        self.request("save_report", on_done, on_error, path=str(path))

    # --- what comes back -------------------------------------------------------------------------------------------

    def _on_start(self) -> None:
        # Asked for again after a crash; where the process starts for the first time there is nothing yet.
        for kind, fields in (("load_ct", self._ct), ("set_views", self._views and {"views": self._views})):
            if fields:
                self._reloading.add(self._send(kind, None, None, fields))

    def _on_message(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "rendered":
            self._render_done()
            self.rendered.emit(RenderResult.from_message(message))
        elif kind == "superseded":
            self._render_done()
        elif kind == "done" and message["request"] in ("load_ct", "set_views"):
            reloaded = message["id"] in self._reloading
            self._reloading.discard(message["id"])
            info = {key: value for key, value in message.items() if key not in ("v", "type", "id", "request")}
            info["reloaded"] = reloaded
            for text in info.get("warnings", ()):
                self.error.emit(text, "")
            if message["request"] == "load_ct":
                self.ct_info = info
                self.ct_loaded.emit(info)
            else:
                self.views_loaded.emit(info)
        elif kind == "checked":
            self.checked.emit(message["run"], message["report"] or {})
        elif message.get("run") is not None and message["run"] == self.run_id:
            self._on_run_message(kind, message)

    def _on_run_message(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "iteration":
            result = IterationResult.from_message(message)
            self._last_pose = result.pose
            self.iteration.emit(result)
        elif kind == "paused":
            self.run_paused = True
            self.paused.emit(message["run"], pose_array(message["pose"]))
        elif kind == "finished":
            self._cancel_ladder()
            self.run_id, self.run_paused = None, False
            self.finished.emit(RunResult.from_message(message))

    def _render_done(self) -> None:
        self._render_id = None
        waiting, self._render_waiting = self._render_waiting, None
        if waiting is not None:
            self._render_id = self.request("render", None, waiting[1], **waiting[0])

    def _on_refused(self, kind: str) -> None:
        if kind == "render":
            self._render_done()

    def _on_lost(self, text: str, status: str) -> None:
        self._render_id = self._render_waiting = None
        self._reloading.clear()
        if self.run_id is not None:
            self._end_run(status, text)

    def _on_end(self) -> None:
        self.forget()

    def _end_run(self, status: str, text: str) -> None:
        """Tell of the end of a run that the worker can't tell of; the pose is its last good one."""
        run, self.run_id, self.run_paused = self.run_id, None, False
        self.finished.emit(RunResult(run, status, self._last_pose, 0, 0.0, text))

    def _is_registering(self) -> bool:
        return self.run_id is not None and not self.run_paused
