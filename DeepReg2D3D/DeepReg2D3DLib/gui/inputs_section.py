"""Inputs: the CT, the table of X-ray views, and what loads them."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from ..mrml.carm import numbers_from_camera, summary
from ..mrml.input_files import ASSUMED, PATH_ATTRIBUTE, declared_kind
from ..mrml.region import segments_of
from ..mrml.xray_node import camera_of, provenance_of
from . import files
from .dicom_menu import DicomMenu
from .geometry_form import GeometryForm, source_words
from .section import Section

VOLUME_FILTERS = "NRRD, NIfTI, MetaImage (*.nrrd *.nhdr *.nii *.nii.gz *.mha *.mhd);;(*)"
XRAY_FILTERS = "Images (*.nrrd *.nhdr *.nii *.nii.gz *.mha *.mhd *.png *.tif *.tiff *.dcm);;(*)"
GEOMETRY_FILTERS = "Geometry (*.json *.xml *.txt *.csv *.npy *.yaml *.yml);;(*)"
COLUMNS = 3
ROW_HEIGHT_PX = 24


class InputsSection(Section):
    """CT selector, table of views, geometry of the selected view."""

    ui_name = "Inputs"

    def setup(self) -> None:
        ui = self.ui
        self._rows: list = []
        self._segments: list = []
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
        self._dicom = DicomMenu(ui.dicomButton, self._on_dicom)
        self._make_geometry_menu()
        ui.saveGeometryButton.clicked.connect(self._on_save_geometry)
        ui.regionSelector.currentNodeChanged.connect(lambda *_args: self._on_region())
        ui.regionSegmentComboBox.currentIndexChanged.connect(lambda *_args: self._on_segment())
        ui.regionNewButton.clicked.connect(lambda *_args: self.logic.addRegionBox())
        ui.loadSampleButton.clicked.connect(self._on_load_sample)
        ui.addViewButton.clicked.connect(self._on_add)
        ui.removeViewButton.clicked.connect(self._on_remove)
        ui.editViewButton.toggled.connect(self._on_edit)
        ui.xraySelector.currentNodeChanged.connect(lambda *_args: self._enable())
        self.listen(self.session.run.changed, self._enable)
        self.listen(self.logic.inputsChanged, self.update)

    def _make_geometry_menu(self) -> None:
        # Kept: a Qt object without a wrapper would be gone.
        self._geometry_menu = qt.QMenu(self.ui.loadGeometryButton)
        self._geometry_actions = []
        for text, coordinates in (
            (_("geometry.json..."), None),
            (_("Other format, world in LPS (ITK, DICOM)..."), "LPS"),
            (_("Other format, world in RAS (Slicer)..."), "RAS"),
        ):
            action = self._geometry_menu.addAction(text)
            action.triggered.connect(self._geometry_loader(coordinates))
            self._geometry_actions.append(action)
        self.ui.loadGeometryButton.setMenu(self._geometry_menu)

    def update(self) -> None:
        """Fills the table anew when the views are others, and keeps the selection."""
        rows = self.session.xrays
        selected = self.selected()
        if self.logic.parameters is not None and self.logic.parameters.selectedXray in rows:
            selected = self.logic.parameters.selectedXray
        self._filling = True
        table = self.ui.viewsTable
        if table.rowCount != len(rows):
            table.setRowCount(len(rows))
        self._rows = rows
        for row, node in enumerate(rows):
            for column, (text, tip) in enumerate(_cells(node)):
                self._put(row, column, text, tip)
        self._show_region()
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
        for button in (ui.loadXrayButton, ui.dicomButton, ui.loadGeometryButton, ui.loadSampleButton):
            button.setEnabled(can_load)
        ui.ctSelector.setEnabled(not running)
        ui.loadCtButton.setEnabled(not running)
        ui.addViewButton.setEnabled(ui.xraySelector.currentNode() is not None and not running)
        ui.removeViewButton.setEnabled(chosen and not running)
        ui.editViewButton.setEnabled(chosen)
        ui.saveGeometryButton.setEnabled(can_load and bool(self._rows))
        for widget in (ui.regionSelector, ui.regionSegmentComboBox):
            widget.setEnabled(not running)
        ui.regionNewButton.setEnabled(not running and self.session.ct is not None)
        self.form.set_enabled(not running)

    def _on_selection(self) -> None:
        if not self._filling:
            parameters, chosen = self.logic.parameters, self.selected()
            if parameters is not None and chosen is not None and parameters.selectedXray is not chosen:
                parameters.selectedXray = chosen
            self._enable()
            self._show_geometry()

    def _on_cell(self, row: int, column: int) -> None:
        if self._filling or column != 0 or row >= len(self._rows):
            return
        text = self.ui.viewsTable.item(row, 0).text().strip()
        if text and text != self._rows[row].GetName() and self.session.run.is_running:
            self.update()  # the engine knows its X-rays by their names: another one would end the run
            self.logic.message.emit(_("A view can be renamed once the registration has ended."))
        elif text and text != self._rows[row].GetName():
            self._rows[row].SetName(text)
            self.logic.geometryChanged()

    def _on_edit(self, shown: bool) -> None:
        self._show_geometry()

    def _show_geometry(self) -> None:
        node = self.selected()
        shown = bool(self.ui.editViewButton.isChecked()) and node is not None
        self.ui.geometryGroup.setVisible(shown)
        self.form.show(node if shown else None)

    def _apply_geometry(self, node, kind, frame) -> None:
        if kind is not None or frame is not None:
            self.session.files.reread(node, self.logic.geometryChanged, kind or declared_kind(node), frame)
        self.logic.geometryChanged()
        self.update()

    def _on_load_ct(self, _checked=False) -> None:
        path = files.open_file(_("Load a CT"), VOLUME_FILTERS)
        if path:
            self.logic.loadCT(path)

    def _on_load_xray(self, _checked=False) -> None:
        for path in files.open_files(_("Load X-ray images"), XRAY_FILTERS):
            self.logic.loadXray(path, wait=False)

    def _geometry_loader(self, coordinates):
        def load(*_args):
            filters = GEOMETRY_FILTERS if coordinates else "geometry.json (*.json);;(*)"
            path = files.open_file(_("Load the geometry of the views"), filters)
            if path:
                self.logic.loadGeometry(path, wait=False, coordinates=coordinates)

        return load

    def _on_save_geometry(self, _checked=False) -> None:
        path = files.save_file(_("Save the geometry of the views"), "geometry.json", GEOMETRY_FILTERS)
        if path:
            self.logic.saveGeometry(path, wait=False)

    def _on_dicom(self, path: str, name: str) -> None:
        self.logic.loadXray(path, wait=False, name=name)

    def _show_region(self) -> None:
        ui, region = self.ui, self.logic.region() if self.logic.parameters is not None else None
        if ui.regionSelector.currentNode() is not region:
            ui.regionSelector.setCurrentNode(region)
        segments = segments_of(region)
        if segments != self._segments:
            self._segments = segments
            ui.regionSegmentComboBox.clear()
            for _identity, name in segments:
                ui.regionSegmentComboBox.addItem(name)
        ui.regionSegmentComboBox.setVisible(bool(segments))
        chosen = [identity for identity, _name in segments]
        if segments and self.logic.parameters.regionSegment in chosen:
            ui.regionSegmentComboBox.setCurrentIndex(chosen.index(self.logic.parameters.regionSegment))

    def _on_region(self) -> None:
        node = self.ui.regionSelector.currentNode()
        if not self._filling and self.logic.parameters is not None and node is not self.logic.region():
            self.logic.setRegion(node)

    def _on_segment(self) -> None:
        index = self.ui.regionSegmentComboBox.currentIndex
        if not self._filling and 0 <= index < len(self._segments):
            self.logic.setRegion(self.logic.region(), self._segments[index][0])

    def _on_load_sample(self, _checked=False) -> None:
        self.logic.loadSample(wait=False)

    def _on_add(self, _checked=False) -> None:
        node = self.ui.xraySelector.currentNode()
        if node is not None:
            self.logic.addXray(node, wait=False)
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
