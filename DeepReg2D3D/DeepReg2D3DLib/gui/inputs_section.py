"""Inputs: the CT, the table of X-ray views, and what loads them."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from ..mrml.carm import numbers_from_camera, summary
from ..mrml.input_files import ASSUMED, PATH_ATTRIBUTE
from ..mrml.xray_node import camera_of, provenance_of
from . import files
from .geometry_form import GeometryForm, source_words
from .section import Section

VOLUME_FILTERS = "NRRD, NIfTI, MetaImage (*.nrrd *.nhdr *.nii *.nii.gz *.mha *.mhd);;(*)"
XRAY_FILTERS = "Images (*.nrrd *.nhdr *.nii *.nii.gz *.mha *.mhd *.png *.tif *.tiff *.dcm);;(*)"
COLUMNS = 3
ROW_HEIGHT_PX = 24


class InputsSection(Section):
    """CT selector, table of views, geometry of the selected view."""

    ui_name = "Inputs"

    def setup(self) -> None:
        ui = self.ui
        self._rows: list = []
        self._filling = False
        table = ui.viewsTable
        table.setColumnCount(COLUMNS)
        table.setHorizontalHeaderLabels([_("View"), _("Image"), _("Geometry")])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT_PX)
        header = table.horizontalHeader()
        header.setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        header.setStretchLastSection(True)
        table.itemSelectionChanged.connect(self._on_selection)
        table.cellChanged.connect(self._on_cell)
        self.form = GeometryForm(ui, self._apply_geometry, self.session.threed.preview)
        ui.loadCtButton.clicked.connect(self._on_load_ct)
        ui.loadXrayButton.clicked.connect(self._on_load_xray)
        ui.loadGeometryButton.clicked.connect(self._on_load_geometry)
        ui.loadSampleButton.clicked.connect(self._on_load_sample)
        ui.addViewButton.clicked.connect(self._on_add)
        ui.removeViewButton.clicked.connect(self._on_remove)
        ui.editViewButton.toggled.connect(self._on_edit)
        ui.xraySelector.currentNodeChanged.connect(lambda *_args: self._enable())
        self.listen(self.session.run.changed, self._enable)
        self.listen(self.logic.inputsChanged, self.update)

    def update(self) -> None:
        """Fills the table anew when the views are others, and keeps the selection."""
        rows = self.session.xrays
        selected = self.selected()
        self._filling = True
        table = self.ui.viewsTable
        if table.rowCount != len(rows):
            table.setRowCount(len(rows))
        self._rows = rows
        for row, node in enumerate(rows):
            for column, (text, tip) in enumerate(_cells(node)):
                self._put(row, column, text, tip)
        self._filling = False
        if selected in rows:
            self._select(rows.index(selected))
        elif rows:
            self._select(0)
        self._enable()
        self._show_geometry()

    def _put(self, row: int, column: int, text: str, tip: str) -> None:
        item = self.ui.viewsTable.item(row, column)
        if item is None:
            item = qt.QTableWidgetItem(text)
            if column > 0:
                item.setFlags(item.flags() ^ qt.Qt.ItemIsEditable)
            self.ui.viewsTable.setItem(row, column, item)
        else:
            item.setText(text)
        item.setToolTip(tip)

    def selected(self):
        """The node of the selected row, None without one."""
        row = self.ui.viewsTable.currentRow()
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def _select(self, row: int) -> None:
        if self.ui.viewsTable.currentRow() != row:
            self.ui.viewsTable.selectRow(row)

    def _enable(self) -> None:
        ui, running = self.ui, self.session.run.is_running
        chosen = self.selected() is not None
        can_load = not self.logic.missingRequirements() and not running
        for button in (ui.loadXrayButton, ui.loadGeometryButton, ui.loadSampleButton):
            button.setEnabled(can_load)
        ui.ctSelector.setEnabled(not running)
        ui.loadCtButton.setEnabled(not running)
        ui.addViewButton.setEnabled(ui.xraySelector.currentNode() is not None and not running)
        ui.removeViewButton.setEnabled(chosen and not running)
        ui.editViewButton.setEnabled(chosen)
        self.form.set_enabled(not running)

    def _on_selection(self) -> None:
        if not self._filling:
            self._enable()
            self._show_geometry()

    def _on_cell(self, row: int, column: int) -> None:
        if self._filling or column != 0 or row >= len(self._rows):
            return
        text = self.ui.viewsTable.item(row, 0).text().strip()
        if text and text != self._rows[row].GetName():
            self._rows[row].SetName(text)
            self.logic.geometryChanged()

    def _on_edit(self, shown: bool) -> None:
        self._show_geometry()

    def _show_geometry(self) -> None:
        node = self.selected()
        shown = bool(self.ui.editViewButton.isChecked()) and node is not None
        self.ui.geometryGroup.setVisible(shown)
        self.form.show(node if shown else None)

    def _apply_geometry(self, node, kind) -> None:
        if kind is not None:
            self.session.files.set_kind(node, kind, self.logic.geometryChanged)
        self.logic.geometryChanged()
        self.update()

    def _on_load_ct(self, _checked=False) -> None:
        path = files.open_file(_("Load a CT"), VOLUME_FILTERS)
        if path:
            self.logic.loadCT(path)

    def _on_load_xray(self, _checked=False) -> None:
        for path in files.open_files(_("Load X-ray images"), XRAY_FILTERS):
            self.logic.loadXray(path, wait=False)

    def _on_load_geometry(self, _checked=False) -> None:
        path = files.open_file(_("Load the geometry of the views"), "geometry.json (*.json);;(*)")
        if path:
            self.logic.loadGeometry(path, wait=False)

    def _on_load_sample(self, _checked=False) -> None:
        self.logic.loadSample(wait=False)

    def _on_add(self, _checked=False) -> None:
        node = self.ui.xraySelector.currentNode()
        if node is not None:
            self.logic.addXray(node)
            self.ui.xraySelector.setCurrentNode(None)

    def _on_remove(self, _checked=False) -> None:
        node = self.selected()
        if node is not None:
            self.logic.removeXray(node)


def _cells(node) -> list[tuple[str, str]]:
    """Text and tooltip of a row's cells."""
    camera = camera_of(node)
    dimensions = node.GetImageData().GetDimensions() if node.GetImageData() else (0, 0, 0)
    size = f"{dimensions[0]} \N{MULTIPLICATION SIGN} {dimensions[1]}"
    if camera is None:
        return [(node.GetName(), node.GetName()), (size, size), (_("none"), _("This view has no geometry."))]
    numbers, origin = numbers_from_camera(camera), provenance_of(node) or {}
    text = summary(numbers)
    if ASSUMED in origin.values():
        text = _("assumed: {numbers}").format(numbers=text)
    tip = "\n".join(
        [
            _("Source to detector {value:.1f} mm ({source})").format(
                value=numbers.source_to_detector, source=source_words(origin.get("source_to_detector_mm"))
            ),
            _("Source to isocenter {value:.1f} mm ({source})").format(
                value=numbers.source_to_isocenter, source=source_words(origin.get("source_to_isocenter_mm"))
            ),
            _("Pixel {u:.4g} x {v:.4g} mm ({source})").format(
                u=numbers.pixel_spacing[0],
                v=numbers.pixel_spacing[1],
                source=source_words(origin.get("pixel_spacing_mm")),
            ),
            _("Angles {a:.1f} and {b:.1f} degrees ({source})").format(
                a=numbers.primary_deg, b=numbers.secondary_deg, source=source_words(origin.get("angles_deg"))
            ),
        ]
    )
    return [(node.GetName(), _("Double-click to change the name.")), (size, image_origin(node)), (text, tip)]


def image_origin(node) -> str:
    """Where the image of a view comes from."""
    storage = node.GetStorageNode()
    return node.GetAttribute(PATH_ATTRIBUTE) or (storage and storage.GetFileName()) or node.GetName()
