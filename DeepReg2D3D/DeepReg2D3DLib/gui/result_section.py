"""Result: how far to trust it and why, the numbers, and what becomes of the pose."""

from __future__ import annotations

import math

from slicer.i18n import tr as _

from . import files
from .register_section import status_words
from .section import Section


class ResultSection(Section):
    """Confidence in words, numbers, Accept, Revert, Save, Harden."""

    ui_name = "Result"

    def setup(self) -> None:
        ui = self.ui
        ui.acceptButton.clicked.connect(lambda *_args: self.logic.accept())
        ui.revertButton.clicked.connect(lambda *_args: self.logic.revert())
        ui.savePoseButton.clicked.connect(self._on_save_pose)
        ui.saveReportButton.clicked.connect(self._on_save_report)
        ui.hardenButton.clicked.connect(lambda *_args: self.logic.harden())
        self.listen(self.session.run.changed, self.update)
        self.listen(self.session.run.finished, lambda *_args: self.update())
        self.listen(self.session.pose.changed, self._on_pose)
        self.listen(self.logic.resultChanged, self.update)
        self.listen(self.logic.inputsChanged, self.update)

    def update(self) -> None:
        ui, result, run = self.ui, self.logic.result(), self.session.run
        free = self.session.pose.node is not None and self.session.ct is not None and not run.is_running
        ui.confidenceLabel.setText(confidence_words(result))
        ui.resultNumbersLabel.setText(self._numbers(result))
        has_start = result is not None and result.get("start") is not None
        ui.acceptButton.setEnabled(free and result is not None and not result.get("accepted"))
        ui.revertButton.setEnabled(free and has_start and not result.get("reverted"))
        ui.savePoseButton.setEnabled(free and not self.logic.missingRequirements())
        ui.saveReportButton.setEnabled(free and run.result is not None and run.result.status != "failed")
        ui.hardenButton.setEnabled(free)

    def _on_pose(self, _pose, source) -> None:
        if source != "registration":
            self.update()

    def _numbers(self, result) -> str:
        if result is None:
            return ""
        rows = [(_("How it ended"), status_words(result["status"]))]
        if result.get("numbers"):
            x, y, z = result["numbers"]["translation"]
            a, b, c = result["numbers"]["angles_deg"]
            rows.append((_("Translation (R, A, S)"), f"{x:.2f}, {y:.2f}, {z:.2f} mm"))
            rows.append((_("Rotation (x, y, z)"), f"{a:.2f}, {b:.2f}, {c:.2f}\N{DEGREE SIGN}"))
        if result.get("moved_mm") is not None:
            rows.append(
                (
                    _("Moved from the start"),
                    f"{result['moved_mm']:.2f} mm, {result['turned_deg']:.2f}\N{DEGREE SIGN}",
                )
            )
        if _is_number(result.get("similarity")):
            before = result.get("start_similarity")
            text = f"{result['similarity']:.4f}"
            rows.append((_("Similarity"), f"{before:.4f} \N{RIGHTWARDS ARROW} {text}" if _is_number(before) else text))
        rows.append((_("Iterations"), str(result["iterations"])))
        if _is_number(result.get("seconds")):
            rows.append((_("Time"), f"{result['seconds']:.1f} s"))
        cells = "".join(f"<tr><td>{name}:&nbsp;&nbsp;</td><td>{value}</td></tr>" for name, value in rows)
        return f"<table>{cells}</table>"

    def _on_save_pose(self, _checked=False) -> None:
        path = files.save_file(_("Save the pose"), "pose.tfm", "ITK transform (*.tfm);;DeepReg2D3D pose (*.json)")
        if path:
            self.logic.savePose(path, wait=False)

    def _on_save_report(self, _checked=False) -> None:
        path = files.save_file(_("Save the report"), "report.json", "Report (*.json)")
        if path:
            self.logic.saveReport(path, wait=False)


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def confidence_words(result: dict | None) -> str:
    """How far to trust a result, and why: rich text."""
    if result is None:
        return _("No result yet.")
    status, confidence = result["status"], result.get("confidence")
    if status == "failed":
        return "<b>" + _("Failed.") + "</b> " + (result.get("text") or "")
    if status == "unreliable":
        headline = _("Do not rely on this result.")
    elif status == "cancelled":
        headline = _("Stopped before the end: check the overlay.")
    elif _is_number(confidence):
        headline = _("Confidence {percent:.0f} %.").format(percent=100 * confidence)
    elif status == "converged":
        headline = _("Converged. Check the overlay before you use it.")
    else:
        headline = _("All iterations were used. Check the overlay before you use it, or register again.")
    reasons = [result.get("text") or "", *result.get("warnings", [])]
    if result.get("accepted"):
        reasons.append(_("Accepted."))
    if result.get("reverted"):
        reasons.append(_("Reverted: the pose is the initial one again."))
    return f"<b>{headline}</b> " + " ".join(reason for reason in reasons if reason)
