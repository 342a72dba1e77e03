"""The table of landmarks: a row each, a column for the CT and for every X-ray, and how well they fit."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

NAME, CT = 0, 1  # columns of the table; the X-rays follow
ROW_HEIGHT_PX = 24


class LandmarksForm:
    """Fills the landmark widgets of the pose section.

    Args:
        ui: the section's widgets.
        logic: the module's logic.
    """

    def __init__(self, ui, logic) -> None:
        self._ui, self._logic = ui, logic
        self._filling = False
        table = ui.landmarksTable
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT_PX)
        table.setTabKeyNavigation(False)
        table.setMinimumHeight(6 * ROW_HEIGHT_PX)
        table.cellClicked.connect(self._on_cell)
        table.cellActivated.connect(self._on_cell)  # Enter
        table.cellChanged.connect(self._on_changed)
        table.itemSelectionChanged.connect(self._enable)
        ui.landmarkAddButton.clicked.connect(self._on_add)
        ui.landmarkRemoveButton.clicked.connect(self._on_remove)
        ui.landmarkStartButton.clicked.connect(lambda *_args: logic.startFromLandmarks(wait=False))

    @property
    def _lists(self):
        return self._logic.session.landmarks

    def update(self) -> None:
        """Shows the landmarks of the scene."""
        ui, lists = self._ui, self._lists
        names, xrays = lists.names, lists.xrays
        table = ui.landmarksTable
        self._filling = True
        if table.columnCount != 2 + len(xrays):
            table.setColumnCount(2 + len(xrays))
        table.setHorizontalHeaderLabels([_("Landmark"), _("CT"), *(node.GetName() for node in xrays)])
        if table.rowCount != len(names):
            table.setRowCount(len(names))
        fit = self._logic.landmarkFit or {}
        doubtful = {(click["landmark"], click["view"]) for click in fit.get("clicks", ()) if click["doubtful"]}
        residuals = self._logic.session.projections.residuals
        views = {node.GetID(): view for node, view in self._logic.session.inputs.named_xrays()}
        for row, name in enumerate(names):
            self._put(row, NAME, name, _("Double-click to change the name."))
            for column in range(CT, 2 + len(xrays)):
                identity = xrays[column - 2].GetID() if column > CT else None
                off, doubt = residuals.get((name, identity)), (name, views.get(identity)) in doubtful
                self._put(row, column, *self._cell(row, column, off, doubt))
        self._filling = False
        self._enable()
        ui.landmarksLabel.setText(self._words(fit, names, xrays))

    def _cell(self, row: int, column: int, off, doubtful: bool) -> tuple[str, str]:
        """Text and tooltip of a cell; off: pixels and mm from the click to the landmark at the present pose, if any."""
        lists = self._lists
        if lists.placing == (row, column - 1):
            return _("click..."), _("Click the place in a view now; Escape leaves it open.")
        if not lists.is_set(row, column - 1):
            return _("set"), _("Press to place the landmark here.")
        if off is None:
            return "\N{CHECK MARK}", _("Placed. Press to place it anew.")
        text = f"{off[1]:.1f} mm"
        tip = _("At the present pose off by {pixels:.1f} px in the image, {mm:.2f} mm at its depth.")
        tip = tip.format(pixels=off[0], mm=off[1])
        if doubtful:
            return "\N{WARNING SIGN} " + text, tip + " " + _("Much more than the others: is this the right place?")
        return text, tip

    def _words(self, fit, names, xrays) -> str:
        lists = self._lists
        if lists.placing is not None and lists.placing[0] < len(names):
            row, column = lists.placing
            if column == 0:
                text = _("Click '{name}' in the CT: in its slices, or on the bone in 3D.")
                return text.format(name=names[row])
            text = _("Click '{name}' in the X-ray view {view}. Escape leaves it open.")
            return text.format(name=names[row], view=xrays[column - 1].GetName())
        if "error" in fit:
            return fit["error"]
        if "rms_mm" in fit:
            return _(
                "The landmarks fit within {rms:.1f} mm. Expected error: {across:.1f} mm across the view, "
                "{depth:.1f} mm in depth, {angle:.1f}\N{DEGREE SIGN}."
            ).format(
                rms=fit["rms_mm"], across=fit["in_plane_mm"], depth=fit["depth_mm"], angle=fit["rotation_deg"]
            )  # fmt: skip
        if not xrays:
            return _("Add an X-ray view first.")
        return ""

    def _put(self, row: int, column: int, text: str, tip: str) -> None:
        table = self._ui.landmarksTable
        item = table.item(row, column)
        if item is None:
            item = qt.QTableWidgetItem(text)
            if column > NAME:
                item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
            table.setItem(row, column, item)
        elif item.text() != text:
            item.setText(text)
        item.setToolTip(tip)

    def _enable(self) -> None:
        ui, logic = self._ui, self._logic
        session = logic.session
        free = session.pose.node is not None and not session.run.is_running and not logic.searching
        chosen = 0 <= ui.landmarksTable.currentRow() < len(self._lists.names)
        ui.landmarkAddButton.setEnabled(free and session.ct is not None and bool(session.xrays))
        ui.landmarkRemoveButton.setEnabled(free and chosen)
        ui.landmarkStartButton.setEnabled(free and session.inputs.ready and len(self._lists.pairs()) > 0)

    def _on_add(self, _checked=False) -> None:
        self._place(self._lists.add(), CT)

    def _on_remove(self, _checked=False) -> None:
        row = self._ui.landmarksTable.currentRow()
        if 0 <= row < len(self._lists.names):
            self._lists.remove(row)

    def _on_cell(self, row: int, column: int) -> None:
        if not self._filling and column >= CT and self._ui.landmarkAddButton.isEnabled():
            self._place(row, column)

    def _place(self, row: int, column: int) -> None:
        logic = self._logic
        if column == CT and logic.session.layout.is_shown and not logic.parameters.showCtSlices:
            logic.parameters.showCtSlices = True  # where else should it be clicked?
        self._lists.place(row, column - 1)

    def _on_changed(self, row: int, column: int) -> None:
        if self._filling or column != NAME or row >= len(self._lists.names):
            return
        text = self._ui.landmarksTable.item(row, NAME).text().strip()
        if text != self._lists.names[row] and not self._lists.rename(row, text):
            self.update()
