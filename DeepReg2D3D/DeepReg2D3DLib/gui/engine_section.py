"""Engine: its state, its installation and its log."""

from __future__ import annotations

from slicer.i18n import tr as _

from . import install
from .section import Section


class EngineSection(Section):
    """State, Install, Start, progress of preparations, and the log."""

    ui_name = "Engine"

    def setup(self) -> None:
        ui, client = self.ui, self.logic.client
        self._told = ""  # what the engine said last that it is at work on
        ui.engineInstallButton.clicked.connect(self._on_install)
        ui.engineStartButton.clicked.connect(self._on_start)
        ui.engineClearLogButton.clicked.connect(self._on_clear)
        self.listen(client.state_changed, self._on_state)
        self.listen(client.log, self._on_log)
        self.listen(client.progress, self._on_progress)
        for widget in (ui.engineInstallButton, ui.engineStartButton, ui.engineProgressBar):
            widget.setVisible(False)  # until it is known which of them there is a use for

    def update(self) -> None:
        ui, client = self.ui, self.logic.client
        missing = self.logic.missingRequirements()
        ui.engineInstallButton.setVisible(bool(missing) and install.python_is_new_enough())
        ui.engineStartButton.setVisible(not missing and client.state in ("stopped", "failed"))
        ui.engineStartButton.setText(_("Restart") if client.state == "failed" else _("Start"))
        ui.engineStateLabel.setText(self._told or self._words(missing))
        if client.state not in ("starting", "busy"):
            ui.engineProgressBar.setVisible(False)

    def _on_state(self, *_args) -> None:
        self._told = ""
        self.update()

    def _words(self, missing) -> str:
        client = self.logic.client
        if not install.python_is_new_enough():
            return _("The engine needs Python 3.10 or later: use Slicer 5.10 or later.")
        if missing:
            return _("Not installed: {packages} missing. Press Install.").format(packages=", ".join(missing))
        if client.state == "stopped":
            return _("Not started. It starts by itself when it is needed.")
        if client.state == "starting":
            return _("Starting engine...")
        if client.state == "failed":
            return _("Failed: {reason}").format(reason=client.state_text)
        # "ready on CPU", "Registering...": the engine's own words
        return client.state_text[:1].upper() + client.state_text[1:]

    def _on_install(self, _checked=False) -> None:
        self.logic.message.emit(install.install(self.logic.requirements()))
        self.logic.requirementsChanged()
        self.update()

    def _on_start(self, _checked=False) -> None:
        self.logic.startEngine()

    def _on_clear(self, _checked=False) -> None:
        self.ui.engineLogText.clear()

    def _on_log(self, text: str) -> None:
        self.ui.engineLogText.appendPlainText(text.rstrip())

    def _on_progress(self, text: str, fraction) -> None:
        bar, self._told = self.ui.engineProgressBar, text
        bar.setVisible(fraction is None or fraction < 1.0)
        if fraction is None:
            bar.setRange(0, 0)
        else:
            bar.setRange(0, 100)
            bar.setValue(int(100 * fraction))
        self.ui.engineStateLabel.setText(text or self._words(self.logic.missingRequirements()))
