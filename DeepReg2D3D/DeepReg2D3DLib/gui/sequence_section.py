"""Sequence: the CT followed through a fluoroscopy run, frame by frame."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from . import files
from .section import Section

_FILTERS = "Runs (*.dcm *.nrrd *.nii *.nii.gz *.mha *.tif *.tiff);;All files (*)"


class SequenceSection(Section):
    """Starts, follows and stops the tracking of a run; shows its frames."""

    ui_name = "Sequence"

    def setup(self) -> None:
        ui, run = self.ui, self.logic.sequence
        self._shown = None
        table = ui.framesTable
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Frame"), _("Ended as"), _("Edges"), _("Moved mm")])
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.cellClicked.connect(lambda row, *_args: run.show(row))
        ui.chooseRunButton.clicked.connect(self._on_choose)
        ui.trackButton.clicked.connect(self._on_track)
        ui.stopTrackButton.clicked.connect(lambda *_args: run.stop())
        self.keep_text(ui.runFileEdit, "runFile")
        ui.runFileEdit.textChanged.connect(lambda *_args: self.update())
        self.listen(run.changed, self.update)
        self.listen(self.session.inputs.changed, self.update)
        self.listen(self.logic.inputsChanged, self._on_inputs)

    def update(self) -> None:
        ui, run = self.ui, self.logic.sequence
        self.show_texts()
        hint = self._hint()
        idle = not run.is_running
        ui.sequenceHint.setText(hint)
        ui.sequenceHint.setVisible(bool(hint))
        ui.chooseRunButton.setEnabled(idle)
        ui.trackButton.setEnabled(idle and not hint and bool(self.text_of("runFile")))
        ui.stopTrackButton.setEnabled(run.state == "running")
        ui.trackProgressBar.setRange(0, max(1, run.total) if run.state != "preparing" else 0)
        ui.trackProgressBar.setValue(run.done)
        ui.trackSummaryLabel.setText(self._words())
        self._fill()

    def _on_inputs(self) -> None:
        self.show_texts()
        if not self.text_of("runFile"):
            suggested = self.logic.sequence.suggestion()
            if suggested.lower().endswith((".dcm", ".dicom")):
                self.ui.runFileEdit.setText(suggested)
        self.update()

    def _hint(self) -> str:
        if self.logic.missingRequirements():
            return _("Install the engine first.")
        if self.session.ct is None or not self.session.xrays:
            return _("Choose a CT and an X-ray view with the run's geometry.")
        if not self.session.inputs.ready:
            return _("The engine is being prepared...")
        return ""

    def _words(self) -> str:
        run = self.logic.sequence
        if run.state == "preparing":
            return _("Writing the CT...")
        if run.is_running:
            return run.text
        if not run.frames:
            return _("The first frame begins at the present pose.")
        doubted = sum(frame["status"] == "unreliable" for frame in run.frames)
        return _("{count} frames, {doubted} in doubt.").format(count=len(run.frames), doubted=doubted)

    def _fill(self) -> None:
        table, frames = self.ui.framesTable, self.logic.sequence.frames
        if frames is self._shown:
            return
        self._shown = frames
        table.setRowCount(len(frames))
        for row, frame in enumerate(frames):
            status = frame["status"]
            if frame.get("confidence") is not None:
                status = f"{status} ({100 * frame['confidence']:.0f} %)"
            texts = (str(frame["frame"]), status, f"{frame['agreement']:.2f}", f"{frame['moved_mm']:.2f}")
            for column, text in enumerate(texts):
                table.setItem(row, column, qt.QTableWidgetItem(text))

    def _on_choose(self, _checked=False) -> None:
        path = files.open_file(_("A fluoroscopy run"), _FILTERS)
        if path:
            self.ui.runFileEdit.setText(path)

    def _on_track(self, _checked=False) -> None:
        parameters = self.logic.parameters
        self.logic.sequence.start(
            self.text_of("runFile"), parameters.method.value, parameters.preset.value, parameters.device.value
        )
