"""Register: method, preset, device, the buttons, progress and numbers of the run."""

from __future__ import annotations

import math

from slicer.i18n import tr as _

from .section import Section

# Where a run stands can only be guessed from its iterations: presets end long before this.
EXPECTED_ITERATIONS = {"accurate": 20, "fast": 10, "paper": 10}


class RegisterSection(Section):
    """Starts, steps and stops runs, and follows them."""

    ui_name = "Register"

    def setup(self) -> None:
        ui, run = self.ui, self.session.run
        self._work = ""  # what the present iteration is at work on that takes long
        ui.registerButton.clicked.connect(lambda *_args: self.logic.startRegistration())
        ui.stepButton.clicked.connect(lambda *_args: self.logic.step())
        ui.stopButton.clicked.connect(lambda *_args: self.logic.stop())
        self.listen(run.changed, self.update)
        self.listen(run.iterated, self._on_iteration)
        self.listen(run.finished, lambda *_args: self.update())
        self.listen(self.session.inputs.changed, self.update)
        self.listen(self.logic.inputsChanged, self.update)
        self.listen(self.logic.client.state_changed, lambda *_args: self.update())
        self.listen(self.logic.client.progress, self._on_work)

    def update(self) -> None:
        ui, run = self.ui, self.session.run
        hint = self._hint()
        can_run = not hint and run.state in ("idle", "paused")
        ui.registerButton.setEnabled(can_run)
        ui.registerButton.setText(_("Continue") if run.state == "paused" else _("Register"))
        ui.stepButton.setEnabled(can_run)
        ui.stopButton.setEnabled(run.state in ("running", "paused"))
        for box in (ui.methodComboBox, ui.presetComboBox, ui.deviceComboBox):
            box.setEnabled(run.state == "idle")
        ui.registerHint.setText(hint)
        self._progress()
        if not run.iterations:
            for label in (ui.iterationValue, ui.motionValue, ui.similarityValue, ui.secondsValue):
                label.setText("\N{EN DASH}")

    def _hint(self) -> str:
        """What is missing before a run can start; empty when nothing is."""
        session = self.session
        if self.logic.missingRequirements():
            return _("Install the engine first.")
        if session.ct is None:
            return _("Choose a CT.")
        if not session.xrays:
            return _("Add an X-ray view.")
        if session.pose.node is None:
            return _("Choose a transform for the pose.")
        if self.logic.searching:
            return _("The automatic start is looking for the pose...")
        if not session.inputs.ready:
            return session.inputs.problem or _("The engine is being prepared...")
        return ""

    def _progress(self) -> None:
        bar, run = self.ui.runProgressBar, self.session.run
        if run.state != "running":
            self._work = ""
        if run.state == "running":
            count = max(0, len(run.iterations) - 1)
            expected = EXPECTED_ITERATIONS.get(self.logic.presetName(), 20)
            # Approaches the end without ever claiming it.
            bar.setValue(int(100 * (1.0 - math.exp(-2.0 * count / expected))))
            words = _("Iteration {count}").format(count=count) if count else _("Starting...")
            bar.setFormat(self._work or words)
        elif run.state == "stopping":
            bar.setFormat(_("Stopping..."))
        elif run.state == "paused":
            bar.setFormat(_("Paused"))
        elif run.result is not None:
            bar.setValue(0 if run.result.status == "failed" else 100)
            bar.setFormat(status_words(run.result.status))
        else:
            bar.setValue(0)
            bar.setFormat("")

    def _on_work(self, text: str, _fraction) -> None:
        if self.session.run.state == "running":
            self._work = text
            self._progress()

    def _on_iteration(self, iteration) -> None:
        ui, self._work = self.ui, ""
        ui.iterationValue.setText(str(iteration.index))
        ui.motionValue.setText(_number(iteration.motion_mm, "{:.3f} mm"))
        ui.similarityValue.setText(_number(iteration.similarity, "{:.4f}"))
        ui.secondsValue.setText(_number(sum(i.seconds for i in self.session.run.iterations), "{:.1f} s"))
        self._progress()


def _number(value: float, form: str) -> str:
    return form.format(value) if value is not None and math.isfinite(value) else "\N{EN DASH}"


def status_words(status: str) -> str:
    """How a run ended, for people."""
    return {
        "converged": _("Converged"),
        "stopped": _("Stopped at the last allowed iteration"),
        "unreliable": _("Finished, but unreliable"),
        "cancelled": _("Stopped by you"),
        "failed": _("Failed"),
    }.get(status, status)
