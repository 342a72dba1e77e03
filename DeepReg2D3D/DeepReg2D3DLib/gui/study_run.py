"""A study of the scene's CT and X-rays in a process of its own, and case folders of the scene."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..exit_status import INTERRUPTED
from ..mrml.scene_files import write_scene_files
from ..mrml.study import StudyRecord, final_pose, read_rows, read_summary
from .scene_program import WITH_RESULT, SceneRun

INPUTS = "scene"
"""The sub-folder of a study that holds what the scene handed over."""


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
        self._case: Path | None = None  # of scene files, while a case is written

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
        self.rows = []
        self._hand_over("study", target / INPUTS, arguments)

    def save_case(self, folder: str) -> None:
        """Writes a case folder of the scene, with the present pose as its truth."""
        if self.is_running:
            return
        target = Path(folder)
        if target.exists() and any(target.iterdir()):
            target = target / "case"
        self._case = Path(tempfile.mkdtemp(prefix="deepreg2d3d-case-"))
        self._target = target
        self._hand_over("case", self._case, ["--out", str(target)])

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

    def _hand_over(self, command: str, folder: Path, arguments: list[str]) -> None:
        session = self._logic.session
        self._logic.message.emit("")
        try:
            named = write_scene_files(folder, session.inputs.xrays, self._logic.pose(), session.landmarks.pairs())
        except OSError as problem:
            self._fail(_("Nothing can be written there: {reason}").format(reason=problem))
            return
        self._job.start(command, folder, [*named, *arguments])

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
        case = self._case
        if status in WITH_RESULT:
            words = _("The study is written to {folder}.").format(folder=self.folder)
            if status == INTERRUPTED:
                words = _("Stopped. Start goes on where it stopped: {folder}.").format(folder=self.folder)
            if case is not None:
                words = _("The case is written to {folder}.").format(folder=self._target)
        else:
            words = self._refusal(status, text)
        self._forget()
        if case is None and self.folder is not None:
            # The study keeps its own, anonymised copy; the next start writes this one anew.
            shutil.rmtree(self.folder / INPUTS, ignore_errors=True)
        self._logic.message.emit(words)
        self.changed.emit()

    def _forget(self) -> None:
        if self._case is not None:
            shutil.rmtree(self._case, ignore_errors=True)
            self._case = None
