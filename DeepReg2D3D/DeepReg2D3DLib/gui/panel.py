"""The panel: the message line and the sections, top to bottom."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from . import install
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

    Only the first section is there at once. Each of the others is built in an event of its own, and the last event
    binds them all, so that opening the module does not hold up the application. Whoever asks for ``sections`` earlier
    gets them all.

    Args:
        logic: the module's logic.
        layout: where the sections go.
        resource_path: f(name) -> path of a file in Resources.
    """

    def __init__(self, logic, layout, resource_path) -> None:
        self.logic = logic
        self._layout, self._resource_path = layout, resource_path
        self._message = qt.QLabel()
        self._message.setObjectName("messageLabel")
        self._message.setWordWrap(True)
        self._message.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
        self._message.setToolTip(_("The last message. It goes away with the next action."))
        self._message.setVisible(False)
        layout.addWidget(self._message)
        layout.addStretch(1)
        self._sections: list = []
        self._folding = None
        self._parameters = None  # to be bound once there is everything to bind
        self._bound = self._tag = None
        first, *others = SECTIONS
        self._steps = [
            *(lambda kind=kind: self._build(kind) for kind in others),
            *(lambda name=name: install.prepare(name) for name in install.PARTS),
            logic.missingRequirements,
            self._finish,
        ]
        self._build(first)
        self._next = logic.callLater(0.0, self._go_on)
        logic.message.connect(self.show_message)

    @property
    def sections(self) -> list:
        """All sections, top to bottom."""
        self.complete()
        return self._sections

    @property
    def is_complete(self) -> bool:
        """Whether every section is built and bound."""
        return not self._steps

    def complete(self) -> None:
        """Builds what is left at once."""
        while self._steps:
            self._steps.pop(0)()

    def _go_on(self) -> None:
        """The next step, in an event of its own."""
        self._next = None
        step = self._steps.pop(0) if self._steps else None
        if self._steps:
            self._next = self.logic.callLater(0.0, self._go_on)
        if step is not None:
            step()

    def _build(self, kind) -> None:
        section = kind(self.logic, self._resource_path)
        section.widget.setEnabled(False)  # nothing of it answers before everything is there
        self._layout.insertWidget(self._layout.count() - 1, section.widget)  # above the stretch
        self._sections.append(section)

    def _finish(self) -> None:
        self._folding = Folding(self._sections)
        self._bind_all()
        for section in self._sections:
            section.widget.setEnabled(True)

    def bind(self, parameters) -> None:
        """Binds all sections to the parameter node (None unbinds)."""
        self._parameters = parameters
        if self.is_complete:
            self._bind_all()

    def _bind_all(self) -> None:
        """All at once: each binding of its own would show everything anew at each change.

        `connectGui` isn't used: before Slicer 5.10 it doesn't return the tag that unbinding needs.
        """
        if self._bound is not None:
            self._bound.disconnectGui(self._tag)
        self._bound = self._parameters
        if self._bound is not None:
            bound = {name: widget for section in self._sections for name, widget in section.bound().items()}
            self._tag = self._bound.connectParametersToGui(bound)
        for section in self._sections:
            section.bind(self._bound)
        self._folding.bind(self._bound)
        self.update()

    def update(self) -> None:
        """Shows the present state in every section; the last step of building does so by itself."""
        if self.is_complete:
            for section in self._sections:
                section.update()

    def show_message(self, text: str) -> None:
        """One line for people, above the sections; no dialog. Empty text takes it away."""
        self._message.setText(text)
        self._message.setVisible(bool(text))
        if text:
            slicer.util.showStatusMessage(text, 10000)

    def close(self) -> None:
        """Leaves the parameter node, the logic and what is not built yet alone."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._steps = []
        self.logic.message.disconnect(self.show_message)
        if self._folding is not None:
            self._folding.bind(None)
        if self._bound is not None:
            self._bound.disconnectGui(self._tag)
        self._bound = self._parameters = None
        for section in self._sections:
            section.close()
