"""Which sections of the panel are folded, kept in the parameter node so that a saved scene opens as it was."""

from __future__ import annotations

import vtk


class Folding:
    """Follows everything in the panel that folds: the sections and the groups in them.

    The parameter ``toggled`` names those that are not as a new panel has them.

    Args:
        sections: the panel's sections.
    """

    def __init__(self, sections) -> None:
        self._widgets = {
            name: widget
            for section in sections
            for name, widget in vars(section.ui).items()
            if name and hasattr(widget, "collapsed")
        }
        self._at_first = {name: bool(widget.collapsed) for name, widget in self._widgets.items()}
        self._parameters = self._tag = None
        self._showing = False
        for widget in self._widgets.values():
            # A section says so; a group is a box with a check mark.
            signal = widget.contentsCollapsed if hasattr(widget, "contentsCollapsed") else widget.toggled
            signal.connect(lambda *_args: self._store())

    def bind(self, parameters) -> None:
        """Shows what the parameter node says and writes there from now on; None lets go."""
        if self._parameters is not None:
            self._parameters.RemoveObserver(self._tag)
        self._parameters = parameters
        if parameters is not None:
            self._tag = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_args: self._show())
            self._show()

    def _show(self) -> None:
        if self._showing:
            return
        toggled = self._parameters.toggled.split()
        self._showing = True
        try:
            for name, widget in self._widgets.items():
                folded = self._at_first[name] != (name in toggled)
                if bool(widget.collapsed) != folded:
                    widget.collapsed = folded
        finally:
            self._showing = False

    def _store(self) -> None:
        if self._parameters is None or self._showing:
            return
        toggled = [name for name, widget in self._widgets.items() if bool(widget.collapsed) != self._at_first[name]]
        text = " ".join(sorted(toggled))
        if text != self._parameters.toggled:
            self._parameters.toggled = text
