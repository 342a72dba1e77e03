"""A fluoroscopy run that is followed in a process of its own, and becomes sequences that play in the scene."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ..mrml.input_files import PATH_ATTRIBUTE, declared_kind
from ..mrml.track_sequence import POSES, TrackSequence, read_images, read_track
from .scene_program import WITH_RESULT, SceneRun

TRACKED = "tracked"
"""The sub-folder that the command writes into."""


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
        self._pose = self._xray = None  # the nodes that the run plays on

    def suggestion(self) -> str:
        """The file of the first X-ray view, which may be a run's first frame; empty without one."""
        xrays = self._logic.session.xrays
        return (xrays[0].GetAttribute(PATH_ATTRIBUTE) or "") if xrays else ""

    def start(self, run: str, method: str, preset: str, device: str) -> None:
        """Follows the CT through a run, which was taken with the geometry of the first X-ray view."""
        if self.is_running or not self._logic.session.xrays:
            return
        session = self._logic.session
        self._pose, self._xray = session.pose.node, session.xrays[0]
        named = self._write_scene("track", [self._xray], pose_option="--init", kinds=[declared_kind(self._xray)])
        if named is None:
            return
        self.done, self.total, self.text = 0, 0, ""
        arguments = [*named, "--xray", run, "--method", method, "--preset", preset, "--device", device]
        arguments += self._weights_for(method)
        self._job.start("track", self._scene, [*arguments, "--keep-images", "--out", str(self._scene / TRACKED)])

    def show(self, index: int) -> None:
        """Goes to a frame."""
        if self.sequence is not None and self.sequence.is_there:
            self.sequence.select(index)

    def _on_progress(self, done: int, total: int, text: str) -> None:
        self.done, self.total, self.text = done, total, text
        self.changed.emit()

    def _on_finished(self, status: int, text: str) -> None:
        """Whatever ended it: frames that were followed by then are written, and are taken over."""
        words = _("No frame was tracked.") if status in WITH_RESULT else self._refusal(status, text)
        tracked = self._scene / TRACKED
        if (tracked / POSES).is_file():
            taken = self._take_over(tracked)
            early = _("It ended before the last frame: {reason}").format(reason=words)
            words = taken if status in WITH_RESULT else f"{early} {taken}"
        self._forget()
        self._logic.message.emit(words)
        self.changed.emit()

    def _take_over(self, folder: Path) -> str:
        """Makes sequences of what was tracked, or keeps its folder where that cannot be; returns what to say."""
        try:
            if any(node is None or node.GetScene() is None for node in (self._pose, self._xray)):
                raise ValueError(_("the pose or the X-ray view is not in the scene any more"))
            frames, images = read_track(folder), read_images(folder)
            if self.sequence is not None and self.sequence.is_there:
                self.sequence.remove()
            self.sequence = TrackSequence(slicer.mrmlScene, _("Tracked run"), self._pose, self._xray, frames, images)
        except (OSError, ValueError, KeyError, TypeError, MemoryError) as problem:
            self._keep(folder)
            text = _("The tracked poses cannot be played in the scene ({reason}); they are kept in {folder}.")
            return text.format(reason=problem, folder=folder)
        self.frames = frames
        doubted = sum(frame["status"] == "unreliable" for frame in frames)
        text = _("{count} frames were followed, {doubted} of them in doubt. Play them with the sequence browser.")
        return text.format(count=len(frames), doubted=doubted)

    def _keep(self, folder: Path) -> None:
        """Leaves this folder in the temporary one, for the user, without what was only handed over."""
        for path in self._scene.iterdir():
            if path != folder:
                with suppress(OSError):
                    path.unlink()
        self._scene = None
