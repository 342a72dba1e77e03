"""Result: how far to trust it and why, the numbers, and what becomes of the pose."""

from __future__ import annotations

import html
import math

import numpy as np
import qt
from slicer.i18n import tr as _

from . import files
from .register_section import status_words
from .section import Section

# Standard icons: a tick, a warning triangle, a cross.
_ICONS = {"green": "SP_DialogApplyButton", "yellow": "SP_MessageBoxWarning", "red": "SP_MessageBoxCritical"}


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
        ui.confidenceLabel.setText(confidence_words(result, self._is_stale(result)))
        self._show_light(result)
        ui.resultNumbersLabel.setText(self._numbers(result))
        has_start = result is not None and result.get("start") is not None
        ui.acceptButton.setEnabled(free and result is not None and not result.get("accepted"))
        ui.revertButton.setEnabled(free and has_start and not result.get("reverted"))
        ui.savePoseButton.setEnabled(free and not self.logic.missingRequirements())
        ui.saveReportButton.setEnabled(free and run.result is not None and run.result.status != "failed")
        ui.hardenButton.setEnabled(free)

    def _is_stale(self, result) -> bool:
        """The CT was moved since."""
        if result is None or not result.get("ct_to_world") or result.get("reverted"):
            return False
        return not np.allclose(result["ct_to_world"], self.logic.pose(), rtol=0, atol=1e-4)

    def _show_light(self, result) -> None:
        """A shape as well as a colour, from the application's own style."""
        label = self.ui.lightLabel
        light = result.get("light") if result is not None else None
        label.setVisible(light in _ICONS)
        if light in _ICONS:
            style = self.widget.style()
            size = style.pixelMetric(qt.QStyle.PM_LargeIconSize)
            label.setPixmap(style.standardIcon(getattr(qt.QStyle, _ICONS[light])).pixmap(size, size))
            label.setAccessibleName(light_words(light))

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


def light_words(light: str) -> str:
    """A traffic light in one word."""
    return {"green": _("Good"), "yellow": _("Uncertain"), "red": _("Not reliable")}[light]


def confidence_words(result: dict | None, stale: bool = False) -> str:
    """How far to trust a result, and why: rich text. stale: the CT was moved since."""
    if result is None:
        return _("No result yet.")
    status, confidence = result["status"], result.get("confidence")
    if status == "failed":
        return "<b>" + _("Failed.") + "</b> " + html.escape(result.get("text") or "")
    if status == "cancelled":
        headline = _("Stopped before the end: check the overlay.")
    elif status == "unreliable" or result.get("light") == "red":
        headline = _("Do not rely on this result.")
    elif _is_number(confidence):
        headline = light_words(result["light"]) + "." if result.get("light") else ""
    elif status == "converged":
        headline = _("Converged. Check the overlay before you use it.")
    else:
        headline = _("All iterations were used. Check the overlay before you use it, or register again.")
    if _is_number(confidence) and status != "cancelled":
        text = _("Confidence {percent:.0f} % that it is right within 2 mm.")
        headline = (headline + " " + text.format(percent=100 * confidence)).strip()
    lines = []
    sure = result.get("uncertainty") or {}
    if result.get("light") != "red" and "in_plane_mm" in sure and "depth_mm" in sure:
        text = _("Sure to {across:.1f} mm in the image plane and {depth:.1f} mm in depth (one standard deviation).")
        lines.append(text.format(across=sure["in_plane_mm"], depth=sure["depth_mm"]))
    if result.get("region"):
        lines.append(_("Only the region '{name}' was registered.").format(name=result["region"]))
    if result.get("accepted"):
        lines.append(_("Accepted."))
    if result.get("reverted"):
        lines.append(_("Reverted: the pose is the initial one again."))
    if stale:
        lines.append(_("The CT was moved since: this is not about the pose that is shown."))
    reasons = [_sentence(each) for each in [result.get("text") or "", *result.get("reasons", [])] if each]
    reasons += [_sentence(each) for each in result.get("warnings", []) if each]
    listed = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons)
    return f"<b>{headline}</b> " + html.escape(" ".join(lines)) + (f"<ul>{listed}</ul>" if listed else "")


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
