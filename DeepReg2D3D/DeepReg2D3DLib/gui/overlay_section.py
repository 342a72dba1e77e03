"""Overlay: how X-ray and rendered CT are shown, the replay of the run, and the views' layout."""

from __future__ import annotations

from slicer.i18n import tr as _

from .section import Section

PLAY_SECONDS = 0.25


class OverlaySection(Section):
    """Mode, opacity, points, flow, window, replay, layout."""

    ui_name = "Overlay"

    def setup(self) -> None:
        ui, session = self.ui, self.session
        self._filling = False
        self._playing = None
        self._count = 0
        ui.windowRange.valuesChanged.connect(self._on_window)
        ui.autoWindowCheckBox.clicked.connect(self._on_auto_window)
        ui.replaySlider.valueChanged.connect(self._on_replay)
        ui.replayButton.toggled.connect(self._on_play)
        ui.layoutButton.toggled.connect(self._on_layout)
        ui.fitViewsButton.clicked.connect(lambda *_args: session.fit_views())
        self.listen(session.run.shown, self._on_shown)
        self.listen(session.run.changed, self.update)
        self.listen(session.run.finished, lambda *_args: self.update())
        self.listen(session.layout_changed, self.update)
        self.listen(self.logic.inputsChanged, self.update)

    def update(self) -> None:
        ui, run, parameters = self.ui, self.session.run, self.logic.parameters
        if parameters is None:
            return
        self._filling = True
        last = max(0, len(run.iterations) - 1)
        can_replay = last > 0 and not run.is_running
        ui.replaySlider.setEnabled(can_replay)
        ui.replayButton.setEnabled(can_replay)
        ui.replaySlider.maximum = float(max(1, last))
        if len(run.iterations) != self._count:  # another record: its end is what the views show
            self._count = len(run.iterations)
            ui.replaySlider.setValue(float(last))
        ui.windowRange.setEnabled(not parameters.autoWindow)
        ui.windowRange.setValues(parameters.windowLow, parameters.windowHigh)
        ui.layoutButton.setChecked(self.session.layout.is_shown)
        ui.layoutButton.setEnabled(bool(self.session.xrays))
        ui.fitViewsButton.setEnabled(self.session.layout.is_shown)
        self._filling = False

    def close(self) -> None:
        self._stop_playing()
        super().close()

    def _on_window(self, low, high) -> None:
        if not self._filling and self.logic.parameters is not None:
            parameters = self.logic.parameters
            parameters.windowLow, parameters.windowHigh = float(low), float(high)

    def _on_auto_window(self, checked) -> None:
        """By hand from the window that is shown, so that nothing jumps."""
        window, parameters = self.session.live.window, self.logic.parameters
        if not checked and not self._filling and window is not None and parameters is not None:
            parameters.windowLow, parameters.windowHigh = (min(100.0, max(0.0, float(value))) for value in window)

    def _on_layout(self, checked) -> None:
        parameters = self.logic.parameters
        if self._filling or parameters is None:
            return
        if parameters.showLayout == bool(checked):  # back from a layout that was chosen elsewhere
            self.session.show_views()
        else:
            parameters.showLayout = bool(checked)

    def _on_replay(self, value) -> None:
        if not self._filling:
            self.session.run.show(round(value))

    def _on_shown(self, index: int) -> None:
        """An iteration was chosen elsewhere, such as in Slicer's sequence toolbar."""
        was_filling, self._filling = self._filling, True
        self.ui.replaySlider.setValue(float(index))
        self._filling = was_filling

    def _on_play(self, checked) -> None:
        if checked:
            self._index = 0
            self._tick()
        else:
            self._stop_playing()
        self.ui.replayButton.setText(_("Pause") if checked else _("Play"))

    def _tick(self) -> None:
        self._playing = None
        last = len(self.session.run.iterations) - 1
        if self.session.run.is_running or self._index > last:
            self.ui.replayButton.setChecked(False)
            return
        self.ui.replaySlider.setValue(float(self._index))
        if self._index == 0:  # the slider may stand there already
            self.session.run.show(0)
        self._index += 1
        self._playing = self.logic.callLater(PLAY_SECONDS, self._tick)

    def _stop_playing(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
            self._playing = None
