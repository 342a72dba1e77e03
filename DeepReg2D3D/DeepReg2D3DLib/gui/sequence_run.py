"""A fluoroscopy run that is followed in a process of its own, and becomes sequences that play in the scene."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ..mrml.input_files import PATH_ATTRIBUTE, declared_kind
from ..mrml.scene_files import write_scene_files
from ..mrml.track_sequence import TrackSequence, read_images, read_track
from .scene_program import WITH_RESULT, SceneRun


class SequenceRun(SceneRun):
    """One run at a time; its steps are frames.

    Attributes:
        text: what the last frame brought.
        frames: of the last run that ended (see `mrml.track_sequence.read_track`).
        sequence: its sequences in the scene, None before.
    """

    def __init__(self, logic) -> None:
        super().__init__(logic)
        self.text = ""
        self.frames: list[dict] = []
        self.sequence: TrackSequence | None = None
        self._folder: Path | None = None
        self._xray = None

    def suggestion(self) -> str:
        """The file of the first X-ray view, which may be a run's first frame; empty without one."""
        xrays = self._logic.session.xrays
        return (xrays[0].GetAttribute(PATH_ATTRIBUTE) or "") if xrays else ""

    def start(self, run: str, method: str, preset: str, device: str) -> None:
        """Follows the CT through a run, which was taken with the geometry of the first X-ray view."""
        if self.is_running or not self._logic.session.xrays:
            return
        self._logic.message.emit("")
        self._xray = self._logic.session.xrays[0]
        self._folder = Path(tempfile.mkdtemp(prefix="deepreg2d3d-track-"))
        kinds = [declared_kind(self._xray)]
        named = write_scene_files(self._folder, [self._xray], self._logic.pose(), pose_option="--init", kinds=kinds)
        self.done, self.total, self.text = 0, 0, ""
        arguments = [*named, "--xray", run, "--method", method, "--preset", preset, "--device", device]
        arguments += self._weights_for(method)
        self._job.start("track", self._folder, [*arguments, "--keep-images", "--out", str(self._folder / "tracked")])

    def show(self, index: int) -> None:
        """Goes to a frame."""
        if self.sequence is not None and self.sequence.is_there:
            self.sequence.select(index)

    def _on_progress(self, done: int, total: int, text: str) -> None:
        self.done, self.total, self.text = done, total, text
        self.changed.emit()

    def _on_finished(self, status: int, text: str) -> None:
        if status in WITH_RESULT and self._folder is not None:
            words = self._take_over(self._folder / "tracked")
        else:
            words = self._refusal(status, text)
        self._forget()
        self._logic.message.emit(words)
        self.changed.emit()

    def _take_over(self, folder: Path) -> str:
        """Makes sequences of what was tracked; returns what to say."""
        pose_node = self._logic.session.pose.node
        try:
            frames = read_track(folder)
        except (OSError, ValueError, KeyError):
            frames = []
        if not frames or pose_node is None or self._xray.GetScene() is None:
            return _("No frame was tracked.")
        if self.sequence is not None and self.sequence.is_there:
            self.sequence.remove()
        self.frames = frames
        self.sequence = TrackSequence(
            slicer.mrmlScene, _("Tracked run"), pose_node, self._xray, frames, read_images(folder)
        )
        doubted = sum(frame["status"] == "unreliable" for frame in frames)
        text = _("{count} frames were followed, {doubted} of them in doubt. Play them with the sequence browser.")
        return text.format(count=len(frames), doubted=doubted)

    def _forget(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
