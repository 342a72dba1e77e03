"""Initial pose: transform, handles, sliders about the CT's centre, presets, undo and redo."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from ..mrml.frames import PoseNumbers
from . import files
from .choices import CArmView, PosePreset
from .landmarks_form import LandmarksForm
from .section import Section, widen_list

TRANSLATIONS = ("translationRSlider", "translationASlider", "translationSSlider")
ROTATIONS = ("rotationXSlider", "rotationYSlider", "rotationZSlider")
# Changes of the sliders that follow each other this quickly are one step for Undo.
GESTURE_SECONDS = 0.8
RESIDUALS_SECONDS = 0.1


class PoseSection(Section):
    """The pose by number, by preset and by file."""

    ui_name = "InitialPose"

    def setup(self) -> None:
        ui, session = self.ui, self.session
        self._filling = False
        self._values = dict.fromkeys(TRANSLATIONS + ROTATIONS, 0.0)
        self._gesture = None
        for name in TRANSLATIONS + ROTATIONS:
            getattr(ui, name).valueChanged.connect(self._on_value(name))
        box = ui.posePresetComboBox
        self._presets, self._directions = list(PosePreset), list(CArmView)
        texts = [_("How the patient lies..."), *(preset.label() for preset in self._presets)]
        texts += [_("First X-ray: {direction}").format(direction=each.label()) for each in self._directions]
        for text in texts:
            box.addItem(text)
        widen_list(box, texts)
        box.activated.connect(self._on_preset)
        ui.poseCenterButton.clicked.connect(lambda *_args: self.logic.centerPose(wait=False))
        ui.poseAutoButton.clicked.connect(self._on_auto)
        ui.poseUndoButton.clicked.connect(lambda *_args: session.pose.undo())
        ui.poseRedoButton.clicked.connect(lambda *_args: session.pose.redo())
        ui.poseResetButton.clicked.connect(lambda *_args: self.logic.resetPose())
        ui.poseLoadButton.clicked.connect(self._on_load)
        # Kept: a shortcut without a wrapper would be gone.
        self._shortcuts = []
        for keys, button in (("Ctrl+Z", ui.poseUndoButton), ("Ctrl+Y", ui.poseRedoButton)):
            shortcut = qt.QShortcut(qt.QKeySequence(keys), self.widget)
            shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
            shortcut.activated.connect(button.click)
            self._shortcuts.append(shortcut)
        self.landmarks = LandmarksForm(ui, self.logic)
        self._residuals = None
        self.listen(session.landmarks.changed, self.landmarks.update)
        self.listen(session.projections.changed, self._on_residuals)
        self.listen(session.inputs.changed, self.update)
        self.listen(session.pose.changed, lambda *_args: self._show_pose())
        self.listen(session.run.changed, self.update)
        self.listen(self.logic.inputsChanged, self.update)

    def update(self) -> None:
        """Shows the pose and what can be done with it."""
        ui = self.ui
        searching = self.logic.searching
        ui.poseAutoButton.setText(_("Stop looking") if searching else _("Automatic start"))
        ui.poseHint.setText(_("Looking for the pose. What is found replaces this one...") if searching else "")
        ui.poseHint.setVisible(searching)
        self._show_pose()
        self.landmarks.update()

    def _show_pose(self) -> None:
        ui, pose, logic = self.ui, self.session.pose, self.logic
        if not self._filling:
            self._filling = True
            numbers = pose.numbers
            for names, values in ((TRANSLATIONS, numbers.translation), (ROTATIONS, numbers.angles_deg)):
                for name, value in zip(names, values):  # noqa: B905 (strict= is not in the Python of Slicer 5.8)
                    self._values[name] = float(value)
                    _show(getattr(ui, name), float(value))
            self._filling = False
        free = pose.node is not None and not self.session.run.is_running
        still = free and not logic.searching
        ready = self.session.inputs.ready
        for name in TRANSLATIONS + ROTATIONS:
            getattr(ui, name).setEnabled(free)
        ui.poseSelector.setEnabled(not self.session.run.is_running and not logic.searching)
        ui.posePresetComboBox.setEnabled(still and ready)
        ui.poseCenterButton.setEnabled(still and ready)
        ui.poseAutoButton.setEnabled(free and (ready or logic.searching))
        ui.poseResetButton.setEnabled(free)
        ui.poseLoadButton.setEnabled(still and not logic.missingRequirements())
        ui.poseUndoButton.setEnabled(free and pose.can_undo)
        ui.poseRedoButton.setEnabled(free and pose.can_redo)

    def close(self) -> None:
        self._end_gesture()
        if self._residuals is not None:
            self._residuals.cancel()
        super().close()

    def _on_residuals(self) -> None:
        """While the pose moves the numbers in the table need not follow each step."""
        if self._residuals is None:
            self._residuals = self.logic.callLater(RESIDUALS_SECONDS, self._show_residuals)

    def _show_residuals(self) -> None:
        self._residuals = None
        self.landmarks.update()

    def _on_value(self, name: str):
        def changed(value):
            if self._filling:
                return
            self._values[name] = float(value)
            self._begin_gesture()
            self._filling = True  # the pose answers with the same numbers, rounded: they must not come back
            try:
                self.session.pose.set_numbers(
                    PoseNumbers(
                        tuple(self._values[n] for n in TRANSLATIONS), tuple(self._values[n] for n in ROTATIONS)
                    ),
                    source="user",
                )
            finally:
                self._filling = False

        return changed

    def _begin_gesture(self) -> None:
        if self._gesture is None:
            self.session.pose.checkpoint()
        else:
            self._gesture.cancel()
        self._gesture = self.logic.callLater(GESTURE_SECONDS, self._end_gesture)

    def _end_gesture(self) -> None:
        if self._gesture is not None:
            self._gesture.cancel()
            self._gesture = None

    def _on_preset(self, _index) -> None:
        # Not the argument: Qt 5 has the signal with a text as well.
        index = self.ui.posePresetComboBox.currentIndex
        self.ui.posePresetComboBox.setCurrentIndex(0)
        if 1 <= index <= len(self._presets):
            self.logic.applyPosePreset(self._presets[index - 1].value)
        elif index > len(self._presets):
            self.logic.poseFromAngles(*self._directions[index - 1 - len(self._presets)].value, wait=False)

    def _on_auto(self, _checked=False) -> None:
        if self.logic.searching:
            self.logic.stopAutomaticStart()
        else:
            self.logic.automaticStart(wait=False)

    def _on_load(self, _checked=False) -> None:
        path = files.open_file(_("Load a pose"), "Pose (*.json *.tfm *.txt);;(*)")
        if path:
            self.logic.loadPose(path, wait=False)


def _show(slider, value: float) -> None:
    """Sets a slider, and widens it where a pose lies beyond its ends: it must never show another number."""
    if abs(value) > slider.maximum:
        slider.maximum = 1.5 * abs(value)
        slider.minimum = -1.5 * abs(value)
    slider.setValue(value)
