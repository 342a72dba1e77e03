"""Adapt to this CT: an option, never a need. Minutes, progress, errors before and after, keep or discard."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from .files import choose_folder
from .section import Section

_CURVE_WIDTH = 420


class AdaptSection(Section):
    """Starts, follows and ends an adaptation of the installed network to the chosen CT."""

    ui_name = "Adapt"

    def setup(self) -> None:
        ui, adaptation = self.ui, self.logic.adaptation
        self._drawn = None
        ui.adaptStartButton.clicked.connect(self._on_start)
        ui.adaptStopButton.clicked.connect(lambda *_args: adaptation.stop())
        ui.adaptKeepButton.clicked.connect(self._on_keep)
        ui.adaptDiscardButton.clicked.connect(lambda *_args: adaptation.discard())
        ui.adaptInstalledButton.clicked.connect(self._on_installed)
        self.listen(adaptation.changed, self.update)
        self.listen(self.session.inputs.changed, self.update)
        self.listen(self.logic.inputsChanged, self.update)

    def update(self) -> None:
        ui, adaptation = self.ui, self.logic.adaptation
        running = adaptation.is_running
        ready = not self.logic.missingRequirements() and self.session.inputs.ct_ready
        # What is neither kept nor discarded yet is not to be lost by a click.
        ui.adaptStartButton.setEnabled(ready and not running and adaptation.state != "kept")
        ui.adaptMinutesSpinBox.setEnabled(not running)
        ui.adaptStopButton.setEnabled(running and adaptation.state != "stopping")
        for button in (ui.adaptKeepButton, ui.adaptDiscardButton):
            button.setVisible(adaptation.state == "kept")
        ui.adaptProgressBar.setVisible(running)
        ui.adaptProgressBar.setRange(0, 0 if adaptation.state == "preparing" else 100)
        ui.adaptProgressBar.setValue(round(100 * adaptation.done))
        ui.adaptStateLabel.setText(self._words())
        ui.adaptBeforeValue.setText(_errors(adaptation.before))
        ui.adaptAfterValue.setText(_errors(adaptation.after))
        self._draw_curve()
        weights = self.logic.parameters.weights if self.logic.parameters is not None else ""
        ui.adaptInUseValue.setText(weights or _("The installed network"))
        ui.adaptInUseValue.setToolTip(weights)
        ui.adaptInstalledButton.setEnabled(bool(weights) and not self.session.run.is_running)

    def _words(self) -> str:
        adaptation = self.logic.adaptation
        gain = round(100 * adaptation.gain)
        if adaptation.state == "kept":
            text = _("It helps: on held-out poses of this CT the error after one step is {gain} % smaller. Keep it?")
            return text.format(gain=gain)
        if adaptation.state == "refused":
            return _("It does not help on held-out poses of this CT. The installed network stays in use.")
        if adaptation.state == "failed":
            return _("Failed: {reason}").format(reason=adaptation.text)
        if adaptation.is_running:
            return adaptation.text
        return _("Optional: no CT needs it. Trains the network further on simulated X-rays of this CT.")

    def _draw_curve(self) -> None:
        path = self.logic.adaptation.curves
        stamp = None if path is None else (str(path), path.stat().st_mtime_ns)
        if stamp == self._drawn:
            return
        self._drawn = stamp
        label = self.ui.adaptCurveLabel
        label.setVisible(path is not None)
        if path is not None:
            picture = qt.QPixmap(str(path))
            label.setPixmap(picture.scaledToWidth(_CURVE_WIDTH, qt.Qt.SmoothTransformation))

    def _on_start(self, _checked=False) -> None:
        parameters = self.logic.parameters
        self.logic.adaptation.start(parameters.adaptMinutes, parameters.device.value)

    def _on_keep(self, _checked=False) -> None:
        folder = choose_folder(_("A folder beside the case for the adapted weights"))
        if folder:
            try:
                self.logic.adaptation.keep(folder)
            except OSError as problem:
                self.logic.message.emit(_("The weights can't be saved there: {reason}").format(reason=problem))

    def _on_installed(self, _checked=False) -> None:
        self.logic.parameters.weights = ""
        self.update()


def _errors(record) -> str:
    if not record:
        return "\N{EN DASH}"
    text = _("{step:.2f} mm after one step (from {start:.2f} mm), {share:.0f} % below 2 mm")
    return text.format(step=record["step_mm"], start=record["start_mm"], share=100 * record["below_2mm"])
