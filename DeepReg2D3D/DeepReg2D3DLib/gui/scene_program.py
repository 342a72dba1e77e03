"""A command of the program on the scene's CT, in a process of its own: handed over, followed, stopped."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import qt
from slicer.i18n import tr as _

from ..exit_status import DONE, INTERRUPTED, UNRELIABLE
from ..mrml.scene_files import write_scene_files
from ..worker.program import ProgramRun
from ..worker.signals import Signal
from ..worker.transports import QProcessTransport
from .adaptation import ADAPTED_METHOD

WITH_RESULT = (DONE, UNRELIABLE, INTERRUPTED)
"""Exit statuses of a command that has written what it found."""


class SceneProgram:
    """One command at a time.

    Attributes:
        state: "idle", "preparing" (the engine writes the CT), "running" or "stopping".
        program: the process (`worker.program.ProgramRun`) with its signals.
        changed: plain signal (), when the state changed.

    Args:
        logic: the module's logic.
        on_failed: f(text), where the CT could not be written.
    """

    def __init__(self, logic, on_failed: Callable[[str], None]) -> None:
        self._logic, self._on_failed = logic, on_failed
        self.changed = Signal()
        self.state = "idle"
        self.program = ProgramRun(lambda: QProcessTransport(qt))
        self.program.finished.connect(self._on_finished)

    @property
    def is_running(self) -> bool:
        return self.state != "idle"

    def start(self, command: str, folder: Path, arguments: list[str]) -> None:
        """Has the engine write the CT into a folder, then starts the command with it."""
        self._set("preparing")
        ct = folder / "ct.nrrd"

        def written(_reply) -> None:
            if self.state == "preparing":
                self.state = "running"
                self.program.start([command, "--ct", str(ct), *arguments])
                self.changed.emit()

        def refused(text: str) -> None:
            self._set("idle")
            self._on_failed(text)

        self._logic.client.save_ct(ct, written, refused)

    def stop(self) -> None:
        """Asks it to end; it writes what it has."""
        if self.state == "running":
            self.program.stop()
            self._set("stopping")

    def close(self) -> None:
        """Ends it at once."""
        self.program.close()
        self.state = "idle"

    def _on_finished(self, *_args) -> None:
        self._set("idle")

    def _set(self, state: str) -> None:
        self.state = state
        self.changed.emit()


class SceneRun:
    """What one kind of command makes of the scene; subclasses say what its news and its end mean.

    Attributes:
        state: of the process, see `SceneProgram`.
        program: the process itself.
        done, total: steps.
        changed: plain signal (), on every news.

    Args:
        logic: the module's logic.
    """

    def __init__(self, logic) -> None:
        self._logic = logic
        self.changed = Signal()
        self._job = SceneProgram(logic, self._fail)
        self._job.changed.connect(self.changed.emit)
        self.program = self._job.program
        self.program.progress.connect(self._on_progress)
        self.program.finished.connect(self._on_finished)
        self.done = self.total = 0
        self._scene: Path | None = None  # the temporary folder with what is handed over

    @property
    def state(self) -> str:
        return self._job.state

    @property
    def is_running(self) -> bool:
        return self._job.is_running

    def stop(self) -> None:
        """Stops after the present step; what is there by then is kept."""
        self._job.stop()

    def close(self) -> None:
        """The module ends."""
        self._job.close()
        self._forget()

    def _fail(self, text: str) -> None:
        self._forget()
        self._logic.message.emit(text)
        self.changed.emit()

    def _write_scene(self, command: str, xrays: Sequence, **how) -> list[str] | None:
        """Writes X-rays and pose into a temporary folder (see `write_scene_files`); returns the options that name them,
        None where that cannot be, which is told."""
        self._logic.message.emit("")
        try:
            self._scene = Path(tempfile.mkdtemp(prefix=f"deepreg2d3d-{command}-"))
            return write_scene_files(self._scene, xrays, self._logic.pose(), **how)
        except OSError as problem:
            self._fail(_("The scene cannot be handed over: {reason}").format(reason=problem))
            return None

    def _forget(self) -> None:
        """Removes the files that were only handed over."""
        if self._scene is not None:
            shutil.rmtree(self._scene, ignore_errors=True)
            self._scene = None

    def _on_progress(self, done: int, total: int, text: str) -> None:
        raise NotImplementedError

    def _on_finished(self, status: int, text: str) -> None:
        raise NotImplementedError

    def _weights_for(self, method: str) -> list[str]:
        """The option that names the networks adapted to this CT, where they are in use and the method takes them."""
        weights = self._logic.parameters.weights
        return ["--weights", weights] if weights and method == ADAPTED_METHOD else []

    @staticmethod
    def _refusal(status: int, text: str) -> str:
        """The words of a command that ended without a result."""
        return text.removeprefix("deepreg2d3d: ") or _("It ended with status {code}.").format(code=status)
