"""Study: how well this CT registers to these X-rays, from many starts; and cases for colleagues."""

from __future__ import annotations

import math

import qt
from slicer.i18n import tr as _

from . import files
from .section import Section

COLUMNS = ("initial_mtre_mm", "final_mrpd_mm", "final_mtre_mm", "status")


class StudySection(Section):
    """Starts, follows and stops a study; shows its registrations and where each ended."""

    ui_name = "Study"

    def setup(self) -> None:
        ui, study = self.ui, self.logic.study
        self._shown = 0
        table = ui.studyTable
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels([_("Start mm"), _("End mRPD"), _("End mTRE"), _("Ended as")])
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.cellDoubleClicked.connect(lambda row, *_args: study.show(row))
        ui.chooseStudyFolderButton.clicked.connect(self._on_choose)
        ui.startStudyButton.clicked.connect(self._on_start)
        ui.stopStudyButton.clicked.connect(lambda *_args: study.stop())
        ui.openStudyReportButton.clicked.connect(self._on_report)
        ui.restoreReferenceButton.clicked.connect(lambda *_args: study.show_reference())
        ui.saveCaseButton.clicked.connect(self._on_save_case)
        ui.loadCaseButton.clicked.connect(self._on_load_case)
        self.keep_text(ui.studyFolderEdit, "studyFolder")
        ui.studyFolderEdit.textChanged.connect(lambda *_args: self.update())
        self.listen(study.changed, self.update)
        self.listen(self.session.inputs.changed, self.update)
        self.listen(self.logic.inputsChanged, self.update)

    def update(self) -> None:
        ui, study = self.ui, self.logic.study
        self.show_texts()
        hint = self._hint()
        idle = not study.is_running
        ui.studyHint.setText(hint)
        ui.studyHint.setVisible(bool(hint))
        ui.chooseStudyFolderButton.setEnabled(idle)
        ui.startStudyButton.setEnabled(idle and not hint and bool(self.text_of("studyFolder")))
        ui.stopStudyButton.setEnabled(study.state == "running")
        ui.saveCaseButton.setEnabled(idle and not hint)
        ui.loadCaseButton.setEnabled(idle and not self.logic.missingRequirements())
        ui.openStudyReportButton.setEnabled(study.report is not None)
        ui.restoreReferenceButton.setEnabled(study.reference is not None and self.session.ct is not None)
        ui.studyProgressBar.setRange(0, max(1, study.total) if study.state != "preparing" else 0)
        ui.studyProgressBar.setValue(study.done)
        ui.studySummaryLabel.setText(self._words())
        self._fill()

    def _hint(self) -> str:
        if self.logic.missingRequirements():
            return _("Install the engine first.")
        if self.session.ct is None or not self.session.xrays:
            return _("Choose a CT and at least one X-ray view.")
        if not self.session.inputs.ready:
            return _("The engine is being prepared...")
        return ""

    def _words(self) -> str:
        study = self.logic.study
        if study.state == "preparing":
            return _("Writing the CT...")
        if study.state == "stopping":
            return _("Stopping, and writing the report...")
        finished = study.summary()
        if finished:
            return "<br>".join(_finished_words(row) for row in finished)
        if not study.rows:
            return _("The present pose counts as the truth: accept it by eye first.")
        good = sum(int(row["success"]) for row in study.rows)
        text = _("{good} of {count} end at mRPD of 2 mm or less.")
        return text.format(good=good, count=len(study.rows))

    def _fill(self) -> None:
        table, rows = self.ui.studyTable, self.logic.study.rows
        if len(rows) < self._shown:
            self._shown = 0
            table.setRowCount(0)
        table.setRowCount(len(rows))
        for index in range(self._shown, len(rows)):
            row = rows[index]
            for column, name in enumerate(COLUMNS):
                value = row[name]
                text = value if isinstance(value, str) else f"{value:.2f}" if math.isfinite(value) else "\N{EN DASH}"
                if name == "status" and not row["success"]:
                    text = _("failed ({status})").format(status=value)
                table.setItem(index, column, qt.QTableWidgetItem(text))
        self._shown = len(rows)

    def _on_choose(self, _checked=False) -> None:
        folder = files.choose_folder(_("A folder for the study"), self.text_of("studyFolder"))
        if folder:
            self.ui.studyFolderEdit.setText(folder)

    def _on_start(self, _checked=False) -> None:
        parameters = self.logic.parameters
        choices = (parameters.method.value, parameters.preset.value, parameters.device.value)
        self.logic.study.start(self.text_of("studyFolder"), parameters.studyStarts, parameters.studyLimit, *choices)

    def _on_report(self, _checked=False) -> None:
        report = self.logic.study.report
        if report is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(report)))

    def _on_save_case(self, _checked=False) -> None:
        folder = files.choose_folder(_("A folder for the case"))
        if folder:
            self.logic.study.save_case(folder)

    def _on_load_case(self, _checked=False) -> None:
        folder = files.choose_folder(_("A case folder (it holds case.json)"))
        if folder:
            self.logic.loadCase(folder, wait=False)


def _finished_words(row: dict) -> str:
    low, high = (100 * x for x in row["success_interval"])
    reach = row.get("capture_range_mm")
    captured = _("not known") if reach is None else f"{reach:.0f} mm"
    text = _("{method}: {rate:.1f} % of {runs} succeed ({low:.0f} to {high:.0f} %); capture range {captured}.")
    return text.format(
        method=row["method"], rate=100 * row["success_rate"], runs=row["runs"], low=low, high=high, captured=captured
    )
