"""Adaptation to the chosen CT, in a process of its own: started, followed, stopped, kept or discarded.

The engine goes on serving the panel meanwhile. Everything lies in a temporary folder until the user keeps it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from slicer.i18n import tr as _

from ..mrml.xray_node import camera_of
from ..worker.launch import library_command
from ..worker.signals import Signal

ADAPTED_METHOD = "deep-iterative"
STOP = b"stop\n"


class Adaptation:
    """One adaptation at a time.

    Attributes:
        state: "idle", "preparing", "training", "stopping", "kept" (it helps; to be saved or discarded), "refused" (it
            does not help) or "failed".
        text: what is going on or went wrong, for people.
        done: share of the time that is over.
        before, after: errors on held-out poses of the installed and the adapted network (dictionaries), or None.
        changed: plain signal (), on every news.

    Args:
        logic: the module's logic.
        make_transport: gives a transport for the process.
    """

    def __init__(self, logic, make_transport) -> None:
        self._logic, self._make_transport = logic, make_transport
        self.changed = Signal()
        self._transport = None
        self._folder: Path | None = None
        self._forget()

    def _forget(self) -> None:
        self.state, self.text, self.done = "idle", "", 0.0
        self.before = self.after = None
        self.gain = 0.0
        self._rest, self._log = b"", b""

    @property
    def is_running(self) -> bool:
        return self.state in ("preparing", "training", "stopping")

    @property
    def curves(self) -> Path | None:
        """The picture of the held-out error, where it is drawn already."""
        path = None if self._folder is None else self._folder / "adapted" / "curves.png"
        return path if path is not None and path.is_file() else None

    def start(self, minutes: float, device: str = "auto") -> None:
        """Hands the CT and the views to a process that adapts the network for so many minutes."""
        if self.is_running:
            return
        self.discard()
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="deepreg2d3d-adapt-"))
            arguments = ["adapt", "--messages", "--minutes", f"{minutes:g}", "--device", device]
            arguments += ["--ct", str(self._folder / "ct.nrrd"), "--out", str(self._folder / "adapted")]
            arguments += self._views()
        except OSError as problem:
            self._end("failed", _("The scene cannot be handed over: {reason}").format(reason=problem))
            return
        self.state, self.text = "preparing", _("Writing the CT...")
        folder = self._folder

        def written(_reply) -> None:
            if self.state == "stopping" or self._folder is not folder:
                self._end("idle", "")
            else:
                self._run(arguments)

        self._logic.client.save_ct(folder / "ct.nrrd", written, lambda text: self._end("failed", text))
        self.changed.emit()

    def _views(self) -> list[str]:
        """geometry.json and pose.json of the views in the scene, as arguments; none without views."""
        views = []
        for node, name in self._logic.session.inputs.named_xrays():
            camera = camera_of(node)
            views.append(
                {
                    "name": name,
                    "columns": int(camera.columns),
                    "rows": int(camera.rows),
                    "source_to_detector_mm": camera.source_to_detector,
                    "pixel_spacing_mm": [float(s) for s in camera.pixel_spacing],
                    "principal_point_px": list(camera.principal_point),
                    "world_to_camera": camera.world_to_camera.tolist(),
                    "mirrored": camera.mirrored,
                    "image_kind": "auto",
                }
            )
        pose = self._logic.pose()
        if not views or pose is None:
            return []
        head = {"version": 1, "coordinate_system": "LPS"}
        geometry = {"format": "deepreg2d3d-geometry", **head, "views": views}
        start = {"format": "deepreg2d3d-pose", **head, "ct_to_world": pose.tolist()}
        arguments = []
        for option, name, content in (("--geometry", "geometry.json", geometry), ("--init", "pose.json", start)):
            path = self._folder / name
            path.write_text(json.dumps(content), encoding="utf-8")
            arguments += [option, str(path)]
        return arguments

    def _run(self, arguments: list[str]) -> None:
        transport = self._transport = self._make_transport()
        transport.received = self._on_output
        transport.logged = self._on_log
        transport.exited = lambda code, crashed: self._on_exit(transport, code, crashed)
        transport.failed = lambda text: self._end("failed", text)
        program, *rest = library_command(arguments)
        self.text = _("Preparing X-rays of this CT...")
        transport.start(program, rest)
        self.changed.emit()

    def stop(self) -> None:
        """Ends the training; what was best by then is judged."""
        if self.is_running and self.state != "stopping":
            self.state, self.text = "stopping", _("Stopping...")
            if self._transport is not None:
                self._transport.write(STOP)
            self.changed.emit()

    def keep(self, folder: str) -> None:
        """Puts the adapted weights into a folder and uses them from now on. Raises OSError."""
        if self.state != "kept":
            return
        target = Path(folder)
        if target.exists() and any(target.iterdir()):
            target = target / "adapted-weights"
        shutil.copytree(self._folder / "adapted", target)
        self._logic.parameters.weights = str(target)
        self.discard()

    def discard(self) -> None:
        """Forgets the last adaptation; a running one is ended without a result."""
        self._leave_process()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._forget()
        self.changed.emit()

    def close(self) -> None:
        """The module ends."""
        self._leave_process()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _leave_process(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            for name in ("received", "logged", "exited", "failed"):
                setattr(transport, name, lambda *_args: None)
            transport.kill()

    def _on_output(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                self._on_record(record)
        self.changed.emit()

    def _on_record(self, record: dict) -> None:
        stage = record.get("stage")
        if stage == "before":
            self.before = record
        elif stage == "training":
            if self.state == "preparing":
                self.state = "training"
            self.done = float(record.get("done", self.done))
            if "flow_px" in record:
                self.after = record
            if self.state == "training":
                self.text = _("Training: step {step}").format(step=record.get("step", 0))
        elif stage == "after":
            self.after, self.gain = record, float(record.get("gain", 0.0))
        elif stage == "end":
            self._end({"kept": "kept", "refused": "refused"}.get(record.get("status"), "idle"), "")

    def _on_log(self, data: bytes) -> None:
        self._log = (self._log + data)[-4000:]

    def _on_exit(self, transport, code: int, crashed: bool) -> None:
        if transport is not self._transport:
            return
        self._transport = None
        if self.is_running:
            lines = self._log.decode("utf-8", "replace").strip().splitlines()
            said = lines[-1] if lines else _("it ended with status {code}").format(code=code)
            self._end("failed", said.removeprefix("deepreg2d3d: "))

    def _end(self, state: str, text: str) -> None:
        self.state, self.text, self.done = state, text, 1.0
        if state in ("failed", "idle") and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self.changed.emit()
