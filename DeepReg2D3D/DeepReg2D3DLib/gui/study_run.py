"""A study of the scene's CT and X-rays in a process of its own, and case folders of the scene."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..exit_status import DONE, INTERRUPTED
from ..mrml.study import StudyRecord, final_pose, read_rows, read_summary
from .scene_program import WITH_RESULT, SceneRun


class StudyRun(SceneRun):
    """One study or one case that is written, at a time; its steps are registrations. A study that ends with the module
    goes on when it is started again in its folder.

    Attributes:
        rows: registrations that are done (see `mrml.study.read_rows`).
        folder: of the last study, None before.
        reference: the pose (4, 4) LPS that it counts as the truth.
    """

    def __init__(self, logic) -> None:
        super().__init__(logic)
        self.rows: list[dict] = []
        self.folder: Path | None = None
        self.reference: np.ndarray | None = None
        self._record: StudyRecord | None = None
        self._case: Path | None = None  # where a case is written to, while it is

    @property
    def report(self) -> Path | None:
        """study.html of the last study, where it is there."""
        path = None if self.folder is None else self.folder / "study.html"
        return path if path is not None and path.is_file() else None

    def start(self, folder: str, starts: int, limit: float, method: str, preset: str, device: str) -> None:
        """Starts a study against the present pose, or goes on with the one in the folder."""
        if self.is_running:
            return
        target = Path(folder)
        arguments = ["--starts", str(int(starts)), "--limit", f"{limit:g}", "--method", method, "--preset", preset]
        arguments += self._weights_for(method)
        arguments += ["--device", device, "--jobs", str(max(1, (os.cpu_count() or 2) - 1)), "--out", str(target)]
        self.folder, self.reference = target, np.asarray(self._logic.pose(), float)
        self.done = self.total = 0
        self.rows, self._case = [], None
        self._hand_over("study", arguments)

    def save_case(self, folder: str) -> None:
        """Writes a case folder of the scene, with the present pose as its truth."""
        if self.is_running:
            return
        target = Path(folder)
        if target.exists() and any(target.iterdir()):
            target = target / "case"
        self._case = target
        self._hand_over("case", ["--out", str(target)])

    def show(self, index: int) -> None:
        """Puts the CT where a registration (by its row) ended."""
        if self.folder is None or not 0 <= index < len(self.rows):
            return
        pose = final_pose(self.folder, self.rows[index])
        if pose is None:
            self._logic.message.emit(_("This registration ended without a pose."))
        else:
            self._logic.setPose(pose)

    def show_reference(self) -> None:
        """Puts the CT back to the reference."""
        if self.reference is not None:
            self._logic.setPose(self.reference)

    def summary(self) -> list[dict]:
        """Of the finished study: see `mrml.study.read_summary`."""
        return [] if self.folder is None or self.is_running else read_summary(self.folder)

    # --- on the way ---

    def _hand_over(self, command: str, arguments: list[str]) -> None:
        session = self._logic.session
        named = self._write_scene(command, session.inputs.xrays, landmarks=session.landmarks.pairs())
        if named is not None:
            self._job.start(command, self._scene, [*named, *arguments])

    def _on_progress(self, done: int, total: int, _text: str) -> None:
        self.done, self.total = done, total
        self._read()
        self.changed.emit()

    def _read(self) -> None:
        if self.folder is None or self._case is not None:
            return
        self.rows = read_rows(self.folder / "starts.csv")
        if not self.rows:
            return
        if self._record is None or self._record.table.GetScene() is None or self._record.count > len(self.rows):
            self._record = StudyRecord(slicer.mrmlScene, _("Study"))
        self._record.show_rows(self.rows)
        layout = self._logic.session.layout
        if layout.is_shown:
            self._record.show(layout.plot_view_node)

    def _on_finished(self, status: int, text: str) -> None:
        self._read()
        words = self._refusal(status, text)
        if self._case is not None:
            if status == DONE:
                words = _("The case is written to {folder}.").format(folder=self._case)
        elif status == INTERRUPTED:
            words = _("Stopped. Start goes on where it stopped: {folder}.").format(folder=self.folder)
        elif status in WITH_RESULT:
            words = _("The study is written to {folder}.").format(folder=self.folder)
        self._forget()  # the study keeps its own, anonymised copy
        self._logic.message.emit(words)
        self.changed.emit()
