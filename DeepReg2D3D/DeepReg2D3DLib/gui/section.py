"""What every section of the panel is made of: a .ui file, its widgets, and the binding to the parameter node."""

from __future__ import annotations

import slicer

# Frame and scroll bar of a dropped list.
LIST_MARGIN_PX = 28


def widen_list(box, texts) -> None:
    """Makes the list that a combo box drops as wide as its texts; the box itself may be narrower."""
    measure = box.fontMetrics()
    # With a rectangle: of one text alone PythonQt may take the first letter.
    widths = [measure.boundingRect(0, 0, 10000, 100, 0, text).width() for text in texts]
    box.view().setMinimumWidth(max(widths) + LIST_MARGIN_PX)


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
        self._connections: list[tuple] = []
        self._texts: dict[str, list] = {}  # parameter: line edit and what it shows
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

    def keep_text(self, edit, name: str) -> None:
        """Keeps a line edit's text in a parameter; Slicer's own binding sends the cursor to the end at each key."""
        self._texts[name] = [edit, ""]

        def changed(text):
            self._texts[name][1] = text
            if self._parameters is not None and getattr(self._parameters, name) != text:
                setattr(self._parameters, name, text)

        edit.textChanged.connect(changed)

    def show_texts(self) -> None:
        """Shows the texts of the parameter node, where they are others."""
        for name, (edit, shown) in self._texts.items():
            if self._parameters is not None and getattr(self._parameters, name) != shown:
                edit.setText(getattr(self._parameters, name))

    def text_of(self, name: str) -> str:
        """The text that a parameter keeps, without blanks around it."""
        return self._texts[name][1].strip()

    def bound(self) -> dict:
        """The widgets that name a parameter (dynamic property SlicerParameterName), by its name."""
        named = ((widget.property("SlicerParameterName"), widget) for widget in vars(self.ui).values())
        return {name: widget for name, widget in named if name}

    def bind(self, parameters) -> None:
        """Follows this parameter node; None: none. The panel binds the widgets."""
        self._parameters = parameters
        self.show_texts()

    def close(self) -> None:
        """Forgets the parameter node and every signal."""
        self._parameters = None
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self._connections = []
