"""The geometry of one view: its numbers, where each came from, and their editing."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..mrml.carm import CArmNumbers, camera_with_numbers, numbers_from_camera
from ..mrml.input_files import declared_kind, frame_of, frames_of
from ..mrml.xray_node import camera_of, details_of, provenance_of, set_camera, set_details
from .choices import CArmView
from .section import widen_list

EDITED = "user"
KINDS = ("auto", "intensity", "line_integral")
# (attribute of CArmNumbers, index where it is a pair, spin box, label of the origin, name in the provenance)
_FIELDS = (
    ("source_to_detector", None, "sddSpinBox", "sddSourceLabel", "source_to_detector_mm"),
    ("source_to_isocenter", None, "sodSpinBox", "sodSourceLabel", "source_to_isocenter_mm"),
    ("pixel_spacing", 0, "spacingUSpinBox", "spacingUSourceLabel", "pixel_spacing_mm"),
    ("pixel_spacing", 1, "spacingVSpinBox", "spacingVSourceLabel", "pixel_spacing_mm"),
    ("principal_point", 0, "centerUSpinBox", "centerUSourceLabel", "principal_point_px"),
    ("principal_point", 1, "centerVSpinBox", "centerVSourceLabel", "principal_point_px"),
    ("primary_deg", None, "primaryAngleSpinBox", "primaryAngleSourceLabel", "angles_deg"),
    ("secondary_deg", None, "secondaryAngleSpinBox", "secondaryAngleSourceLabel", "angles_deg"),
)


def source_words(source: str | None) -> str:
    """Where a number came from, for people."""
    words = {
        "assumed": _("assumed"),
        "user": _("entered"),
        "image": _("from the image"),
        "sample": _("from the sample"),
        "DICOM": _("from DICOM"),
        None: _("unknown"),
    }
    return words.get(source) or _("from {file}").format(file=source)


class GeometryForm:
    """Fills the widgets of the geometry box from a node and writes them back.

    Args:
        ui: the section's widgets.
        applied: f(node, kind, frame), called after the node got a new geometry; kind, frame: None where they stay.
        previewed: f(node, camera), called while the numbers are edited; camera None: they are no longer.
    """

    def __init__(self, ui, applied, previewed) -> None:
        self._ui, self._applied, self._previewed = ui, applied, previewed
        self._node = None
        self._filling = False
        self._enabled = True
        self._changed = False
        # What was shown, to tell which numbers a person has changed; keyed by spin box.
        self._shown: dict[str, float] = {}
        self._values: dict[str, float] = {}
        for text in (_("Find out"), _("Photons (bone dark)"), _("Line integrals (bone bright)")):
            ui.imageKindComboBox.addItem(text)
        directions = [_("Usual directions..."), *(view.label() for view in CArmView)]
        for text in directions:
            ui.carmViewComboBox.addItem(text)
        widen_list(ui.carmViewComboBox, directions)
        ui.carmViewComboBox.activated.connect(self._on_direction)
        for _attribute, _index, box, _label, _name in _FIELDS:
            getattr(ui, box).valueChanged.connect(self._remember(box))
        ui.viewNameEdit.textChanged.connect(self._on_name)
        ui.mirroredCheckBox.toggled.connect(self._on_mirrored)
        ui.imageKindComboBox.currentIndexChanged.connect(self._on_kind)
        ui.frameComboBox.currentIndexChanged.connect(self._on_frame)
        ui.geometryApplyButton.clicked.connect(self._on_apply)
        ui.geometryCancelButton.clicked.connect(lambda *_args: self.show(self._node, anew=True))

    def set_enabled(self, enabled: bool) -> None:
        self._enabled = enabled
        self._mark(self._changed)

    def show(self, node, anew: bool = False) -> None:
        """Shows the node's geometry; what is being edited stays, but where it is to be shown anew."""
        if node is self._node and self._changed and not anew:
            return
        if self._node is not None and self._changed and self._node.GetScene() is not None:
            self._previewed(self._node, None)
        self._node = node
        if node is None:
            self._changed = False
            return
        camera, origin, details = camera_of(node), provenance_of(node), details_of(node)
        numbers = numbers_from_camera(camera)
        self._filling = True
        self._name = node.GetName()
        self._mirrored = numbers.mirrored
        kind = declared_kind(node)
        self._kind = KINDS.index(kind) if kind in KINDS else 0
        self._ui.viewNameEdit.setText(self._name)
        for attribute, index, box, label, name in _FIELDS:
            value = getattr(numbers, attribute)
            value = value if index is None else value[index]
            getattr(self._ui, box).setValue(value)
            # The spin box rounds; the exact number is kept for what nobody touches.
            self._shown[box] = self._values[box] = value
            getattr(self._ui, label).setText(source_words(origin.get(name)))
            getattr(self._ui, label).setToolTip(details.get(name) or _("Where this number came from."))
        self._ui.mirroredCheckBox.setChecked(numbers.mirrored)
        self._ui.mirroredSourceLabel.setText(source_words(origin.get("mirrored")))
        self._ui.mirroredSourceLabel.setToolTip(details.get("mirrored") or _("Where this number came from."))
        self._ui.imageKindComboBox.setCurrentIndex(self._kind)
        self._show_frames(node)
        self._filling = False
        self._mark(False)

    def _show_frames(self, node) -> None:
        box, count = self._ui.frameComboBox, frames_of(node)
        self._frames = [*range(1, count + 1), "mean", "maximum"]
        self._frame = self._frames.index(frame_of(node)) if frame_of(node) in self._frames else 0
        box.clear()
        words = {"mean": _("Mean of all frames"), "maximum": _("Maximum of all frames")}
        for frame in self._frames:
            box.addItem(words.get(frame) or _("Frame {number} of {count}").format(number=frame, count=count))
        box.setCurrentIndex(self._frame)
        for widget in (box, self._ui.frameLabel):
            widget.setVisible(count > 1)

    def _on_frame(self, _index) -> None:
        if not self._filling:
            self._frame = self._ui.frameComboBox.currentIndex
            self._mark(True)

    def _remember(self, box: str):
        def changed(value):
            if not self._filling:
                self._values[box] = float(value)
                self._mark(True)
                self._preview()

        return changed

    def _on_name(self, text) -> None:
        if not self._filling:
            self._name = text
            self._mark(True)

    def _on_mirrored(self, checked) -> None:
        if not self._filling:
            self._mirrored = bool(checked)
            self._mark(True)
            self._preview()

    def _on_kind(self, _index) -> None:
        if not self._filling:
            self._kind = self._ui.imageKindComboBox.currentIndex
            self._mark(True)

    def _mark(self, changed: bool) -> None:
        self._changed = changed
        self._ui.geometryApplyButton.setEnabled(changed and self._enabled)
        self._ui.geometryCancelButton.setEnabled(changed and self._enabled)

    def _on_direction(self, _index) -> None:
        # Not the argument: Qt 5 has the signal with a text as well.
        index = self._ui.carmViewComboBox.currentIndex
        self._ui.carmViewComboBox.setCurrentIndex(0)
        if index >= 1:
            primary, secondary = list(CArmView)[index - 1].value
            self._ui.primaryAngleSpinBox.setValue(primary)
            self._ui.secondaryAngleSpinBox.setValue(secondary)

    def _edited(self) -> CArmNumbers:
        value = self._values
        return CArmNumbers(
            source_to_detector=value["sddSpinBox"],
            source_to_isocenter=value["sodSpinBox"],
            pixel_spacing=(value["spacingUSpinBox"], value["spacingVSpinBox"]),
            principal_point=(value["centerUSpinBox"], value["centerVSpinBox"]),
            primary_deg=value["primaryAngleSpinBox"],
            secondary_deg=value["secondaryAngleSpinBox"],
            mirrored=self._mirrored,
        )

    def _preview(self) -> None:
        if self._node is not None and self._node.GetScene() is not None:
            self._previewed(self._node, camera_with_numbers(camera_of(self._node), self._edited()))

    def _on_apply(self, _checked=False) -> None:
        node = self._node
        if node is None:
            return
        camera = camera_of(node)
        before, numbers = numbers_from_camera(camera), self._edited()
        origin, details = provenance_of(node), details_of(node)
        for _attribute, _index, box, _label, name in _FIELDS:
            if self._values[box] != self._shown[box]:
                origin[name] = EDITED
                details.pop(name, None)
        if numbers.mirrored != before.mirrored:
            origin["mirrored"] = EDITED
            details.pop("mirrored", None)
        if self._name.strip() and self._name != node.GetName():
            node.SetName(self._name.strip())
        kind = KINDS[self._kind] if KINDS[self._kind] != declared_kind(node) else None
        frame = self._frames[self._frame] if frames_of(node) > 1 else None
        frame = frame if frame != frame_of(node) else None
        self._mark(False)
        set_details(node, details)
        set_camera(node, camera_with_numbers(camera, numbers), origin)
        self._applied(node, kind, frame)
