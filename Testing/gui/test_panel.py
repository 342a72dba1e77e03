"""The panel as it opens: every section and widget there, every tooltip, everything bound and reachable."""

from __future__ import annotations

import sys
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from DeepReg2D3DLib.mrml.layout import LAYOUT_ID
from DeepReg2D3DLib.mrml.xray_node import camera_of

UI = sorted((Path(__file__).resolve().parents[2] / "Resources" / "UI").glob("*.ui"))
WITHOUT_TEXT = (
    "QComboBox QDoubleSpinBox QLineEdit QTableWidget QPlainTextEdit QProgressBar ctkSliderWidget ctkRangeWidget "
    "qMRMLNodeComboBox"
).split()
EXPLAINED = [*WITHOUT_TEXT, *"QPushButton QCheckBox QLabel ctkCollapsibleButton ctkCollapsibleGroupBox".split()]


def test_sections_in_order(widget):
    names = [type(s).__name__ for s in widget.panel.sections]
    assert names == [
        "EngineSection",
        "InputsSection",
        "PoseSection",
        "RegisterSection",
        "OverlaySection",
        "ResultSection",
        "AdaptSection",
        "StudySection",
        "SequenceSection",
    ]
    tops = [s.widget.y for s in widget.panel.sections]
    assert tops == sorted(tops) and len(set(tops)) == 9


@pytest.mark.parametrize("path", UI, ids=lambda p: p.stem)
def test_everything_has_a_tooltip(path):
    missing = []
    for element in ElementTree.parse(path).iter("widget"):
        properties = {p.get("name") for p in element.findall("property")}
        if element.get("class") in EXPLAINED and "toolTip" not in properties:
            missing.append(element.get("name"))
    assert not missing


@pytest.mark.parametrize("path", UI, ids=lambda p: p.stem)
def test_a_screen_reader_has_a_name_for_everything(path):
    tree = ElementTree.parse(path)
    labelled = {p.findtext("cstring") for p in tree.iter("property") if p.get("name") == "buddy"}
    nameless = []
    for element in tree.iter("widget"):
        properties = {p.get("name") for p in element.findall("property")}
        if element.get("class") in WITHOUT_TEXT and element.get("name") not in labelled:
            if "accessibleName" not in properties:
                nameless.append(element.get("name"))
    assert not nameless


@pytest.mark.parametrize("path", UI, ids=lambda p: p.stem)
def test_no_custom_styling(path):
    assert "styleSheet" not in path.read_text(encoding="utf8")


def test_choices_are_saved_in_the_parameter_node(widget, ui, host):
    parameters = widget.logic.parameters
    ui.opacitySlider.value = 0.25
    ui.pointsCheckBox.checked = True
    ui.presetComboBox.setCurrentIndex(1)
    host.process_events(0.01)
    assert parameters.overlayOpacity == pytest.approx(0.25)
    assert parameters.showPoints is True
    assert parameters.preset.value == "fast"
    # and the other way round
    parameters.overlayOpacity = 0.75
    assert ui.opacitySlider.value == pytest.approx(0.75)


def test_nothing_can_be_started_on_an_empty_scene(ui):
    names = (
        "registerButton stepButton stopButton acceptButton revertButton savePoseButton saveReportButton hardenButton "
        "addViewButton removeViewButton editViewButton adaptStartButton adaptStopButton adaptInstalledButton"
    )
    for name in names.split():
        assert not getattr(ui, name).isEnabled(), name
    assert ui.loadSampleButton.isEnabled()
    assert ui.registerHint.text == "Choose a CT."


def test_opening_the_panel_starts_no_engine(widget):
    assert widget.logic.client.state == "stopped"
    assert not widget.logic.client.is_started


def test_tab_reaches_every_enabled_button(widget, host):
    from PySide6 import QtWidgets

    wanted = {
        b.objectName
        for s in widget.panel.sections
        for b in s.widget.findChildren(QtWidgets.QPushButton)
        if b.isEnabled() and b.isVisible()
    }
    seen, current = set(), widget.panel.sections[0].widget
    for _ in range(400):
        current = current.nextInFocusChain()
        seen.add(current.objectName)
    assert wanted <= seen


def test_scene_close_makes_a_new_parameter_node(widget, host):
    import slicer

    before = widget.logic.parameters.parameterNode
    slicer.mrmlScene.Clear()
    host.process_events(0.02)
    assert widget.logic.parameters is not None
    assert widget.logic.parameters.parameterNode.GetScene() is slicer.mrmlScene
    assert widget.logic.parameters.overlayOpacity == 0.5
    assert before is not None


def test_the_panel_is_narrow_enough_to_stand_beside_the_views(widget, ui, host):
    widget.parent.resize(100, 900)
    host.process_events(0.05)
    assert widget.parent.minimumSizeHint().width() <= 430
    # What a box is too narrow for its list shows whole.
    box = ui.posePresetComboBox
    longest = max(box.fontMetrics().horizontalAdvance(box.itemText(index)) for index in range(box.count))
    assert box.view().minimumWidth >= longest


def add_xray(widget, name="AP"):
    """A view of an image in the scene; needs no engine."""
    import numpy as np
    import slicer

    image = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(image, np.ones((1, 30, 40), np.float32))
    return widget.logic.addXray(image)


def test_a_saved_scene_brings_the_panel_back(widget, ui, click, host, save_scene):
    """Folded and unfolded sections, the selected view, the geometry editor and what was typed."""
    import slicer

    add_xray(widget), add_xray(widget, "Lateral")
    host.process_events(0.05)
    folds = ("engineSection", "studySection", "landmarksGroup", "engineLogGroup", "registerSection")
    first = {name: getattr(ui, name).collapsed for name in folds}
    assert first == dict(zip(folds, (False, True, True, True, False), strict=True))
    ui.engineSection.collapsed = True
    for name in ("studySection", "landmarksGroup", "engineLogGroup"):
        getattr(ui, name).collapsed = False
    ui.viewsTable.selectRow(1)
    click(ui.editViewButton)
    ui.studyFolderEdit.setText("/data/study")
    ui.studyStartsSpinBox.setValue(12)
    ui.runFileEdit.setText("run.dcm")
    host.process_events(0.05)
    save_scene()
    slicer.mrmlScene.Clear()
    host.process_events(0.1)
    assert {name: getattr(ui, name).collapsed for name in folds} == first
    assert (ui.studyFolderEdit.text, ui.studyStartsSpinBox.value, ui.runFileEdit.text) == ("", 60, "")
    assert not ui.editViewButton.checked
    slicer.mrmlScene.Connect()
    host.process_events(0.2)
    assert {name for name in folds if getattr(ui, name).collapsed} == {"engineSection"}
    assert ui.viewsTable.currentRow() == 1 and ui.editViewButton.checked and ui.geometryGroup.isVisible()
    assert ui.viewNameEdit.text == "Lateral"
    assert (ui.studyFolderEdit.text, ui.studyStartsSpinBox.value, ui.runFileEdit.text) == ("/data/study", 12, "run.dcm")


def test_a_view_keeps_its_name_during_a_run(widget, ui, host, monkeypatch):
    xray, said = add_xray(widget), []
    widget.logic.message.connect(said.append)
    host.process_events(0.05)
    monkeypatch.setattr(widget.logic.session.run, "state", "running")
    ui.viewsTable.item(0, 0).setText("Frontal")
    assert xray.GetName() == ui.viewsTable.item(0, 0).text() == "AP" and said
    monkeypatch.setattr(widget.logic.session.run, "state", "idle")
    ui.viewsTable.item(0, 0).setText("Frontal")
    assert xray.GetName() == "Frontal"


def test_typing_in_the_middle_of_a_path_keeps_the_cursor(widget, ui, host):
    from PySide6 import QtTest

    edit = ui.studyFolderEdit
    edit.setText("/data/x")
    edit.setCursorPosition(6)
    QtTest.QTest.keyClicks(edit, "ab")
    assert edit.text == widget.logic.parameters.studyFolder == "/data/abx"
    assert edit.cursorPosition == 8


def test_a_layout_chosen_in_the_toolbar_stays_until_the_button_is_pressed(widget, ui, click, host):
    import slicer

    manager = slicer.app.layoutManager()
    xray = add_xray(widget)
    host.process_events(0.05)
    assert ui.layoutButton.checked and manager.layout == LAYOUT_ID
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView)
    assert not ui.layoutButton.checked
    widget.logic.setGeometry(xray, camera_of(xray))  # does not take the user's views away
    host.process_events(0.05)
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView
    click(ui.layoutButton)
    host.process_events(0.05)
    assert ui.layoutButton.checked and manager.layout == LAYOUT_ID
    click(ui.layoutButton)
    assert not ui.layoutButton.checked and not widget.logic.parameters.showLayout
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView


def test_a_reloaded_panel_is_open_as_before(widget, host, own_modules):
    import slicer
    from DeepReg2D3DLib.gui import panel

    second = host.reload_module(widget)
    host.process_events(0.02)
    assert widget.logic is None and second is not widget
    assert sys.modules["DeepReg2D3DLib.gui.panel"] is not panel
    assert second.logic.parameters.parameterNode.GetScene() is slicer.mrmlScene
    assert second.logic.session._in_views  # Slicer does not enter it again
    host.unload_module(second)


def test_the_phantom_is_among_the_sample_data(widget, monkeypatch):
    """Slicer's SampleData wants every list of files in one length, and calls the downloader with the source."""
    sources = []

    def register(category, sampleName, uris, fileNames, nodeNames, customDownloader, thumbnailFileName):
        given = [uris, fileNames, nodeNames]
        assert all(isinstance(each, (list, str)) for each in given)
        assert len({1 if isinstance(each, str) else len(each) for each in given}) == 1
        assert Path(thumbnailFileName).is_file()
        sources.append(customDownloader)

    logic = types.SimpleNamespace(registerCustomSampleDataSource=register)
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    module = sys.modules["DeepReg2D3D"]
    module.registerSampleData()
    assert sources == [module.downloadSample]


def test_missing_requirements_are_said_and_block(widget, ui, host, monkeypatch):
    monkeypatch.setattr(widget.logic, "_missing", ["torch>=2.8"])
    widget.panel.update()
    assert "torch" in ui.engineStateLabel.text
    assert ui.engineInstallButton.isVisible()
    assert not ui.loadSampleButton.isEnabled()
    assert ui.registerHint.text == "Install the engine first."
    # Installed in another module: known as soon as this one is opened again.
    host.exit(widget)
    host.enter(widget)
    assert not ui.engineInstallButton.isVisible() and ui.loadSampleButton.isEnabled()
