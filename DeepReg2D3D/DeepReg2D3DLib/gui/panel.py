"""The panel: the message line and the sections, top to bottom."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from .adapt_section import AdaptSection
from .engine_section import EngineSection
from .folding import Folding
from .inputs_section import InputsSection
from .overlay_section import OverlaySection
from .pose_section import PoseSection
from .register_section import RegisterSection
from .result_section import ResultSection
from .sequence_section import SequenceSection
from .study_section import StudySection

SECTIONS = (
    EngineSection,
    InputsSection,
    PoseSection,
    RegisterSection,
    OverlaySection,
    ResultSection,
    AdaptSection,
    StudySection,
    SequenceSection,
)


class Panel:
    """Builds the sections into a layout and keeps them up to date.

    Args:
        logic: the module's logic.
        layout: where the sections go.
        resource_path: f(name) -> path of a file in Resources.
    """

    def __init__(self, logic, layout, resource_path) -> None:
        self.logic = logic
        self._message = qt.QLabel()
        self._message.setObjectName("messageLabel")
        self._message.setWordWrap(True)
        self._message.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
        self._message.setToolTip(_("The last message. It goes away with the next action."))
        self._message.setVisible(False)
        layout.addWidget(self._message)
        self.sections = []
        for kind in SECTIONS:
            section = kind(logic, resource_path)
            layout.addWidget(section.widget)
            self.sections.append(section)
        layout.addStretch(1)
        self._folding = Folding(self.sections)
        self._parameters = self._tag = None
        logic.message.connect(self.show_message)

    def bind(self, parameters) -> None:
        """Binds all sections to the parameter node (None unbinds).

        All at once: each binding of its own would show everything anew at each change. `connectGui` isn't used: before
        Slicer 5.10 it doesn't return the tag that unbinding needs.
        """
        if self._parameters is not None:
            self._parameters.disconnectGui(self._tag)
        self._parameters = parameters
        if parameters is not None:
            bound = {name: widget for section in self.sections for name, widget in section.bound().items()}
            self._tag = parameters.connectParametersToGui(bound)
        for section in self.sections:
            section.bind(parameters)
        self._folding.bind(parameters)
        self.update()

    def update(self) -> None:
        for section in self.sections:
            section.update()

    def show_message(self, text: str) -> None:
        """One line for people, above the sections; no dialog. Empty text takes it away."""
        self._message.setText(text)
        self._message.setVisible(bool(text))
        if text:
            slicer.util.showStatusMessage(text, 10000)

    def close(self) -> None:
        self.logic.message.disconnect(self.show_message)
        self._folding.bind(None)
        if self._parameters is not None:
            self._parameters.disconnectGui(self._tag)
            self._parameters = None
        for section in self.sections:
            section.close()
