"""What every section of the panel is made of: a .ui file, its widgets, and the binding to the parameter node."""

from __future__ import annotations

import slicer


class Section:
    """One collapsible section.

    Attributes:
        widget: the section's top-level widget, to be put into the panel.
        ui: its named widgets as attributes.

    Args:
        logic: the module's logic.
        resource_path: f(name) -> path of a file in Resources.
    """

    ui_name = ""

    def __init__(self, logic, resource_path) -> None:
        self.logic = logic
        self.widget = slicer.util.loadUI(resource_path(f"UI/{self.ui_name}.ui"))
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._parameters = None
        self._tag = None
        self._connections: list[tuple] = []
        self.setup()

    @property
    def session(self):
        return self.logic.session

    def setup(self) -> None:
        """Connects the widgets; called once."""

    def update(self) -> None:
        """Shows the present state; called after anything changed."""

    def listen(self, signal, slot) -> None:
        """Connects a plain-Python signal until the section is closed."""
        signal.connect(slot)
        self._connections.append((signal, slot))

    def bind(self, parameters) -> None:
        """Binds the widgets that name a parameter (dynamic property SlicerParameterName) to the parameter node.

        `connectGui` isn't used: before Slicer 5.10 it doesn't return the tag that unbinding needs.
        """
        self.unbind()
        if parameters is None:
            return
        mapping = {}
        for widget in vars(self.ui).values():
            name = widget.property("SlicerParameterName")
            if name:
                mapping[name] = widget
        self._parameters = parameters
        self._tag = parameters.connectParametersToGui(mapping)

    def unbind(self) -> None:
        if self._parameters is not None:
            self._parameters.disconnectGui(self._tag)
            self._parameters = self._tag = None

    def close(self) -> None:
        """Forgets the parameter node and every signal."""
        self.unbind()
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self._connections = []
