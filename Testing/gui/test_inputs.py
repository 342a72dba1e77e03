"""Inputs without an engine: the geometry as it is edited, the DICOM database's menu, the region."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def views(widget, host, monkeypatch):
    """A CT and an X-ray in the module; no engine is started."""
    import slicer
    from DeepReg2D3DLib.mrml.carm import assumed_camera
    from DeepReg2D3DLib.mrml.xray_node import create_xray_node

    logic = widget.logic
    monkeypatch.setattr(logic, "_missing", ["torch>=2.8"])
    ct = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(ct, np.zeros((20, 20, 20), np.int16))
    ct.SetSpacing(6, 6, 6)
    xray = create_xray_node(slicer.mrmlScene, np.zeros((300, 400), np.float32), assumed_camera(400, 300, "AP"))
    logic.parameters.ct, logic.parameters.xrays = ct, [xray]
    assert host.wait_for(lambda: len(logic.session.live.overlays) == 1, 30)
    return SimpleNamespace(logic=logic, ct=ct, xray=xray, session=logic.session)


def dicom_menu(widget):
    return next(s for s in widget.panel.sections if type(s).__name__ == "InputsSection")._dicom


def shown_source(views) -> np.ndarray:
    """Where the 3D view shows the X-ray source, LPS."""
    from DeepReg2D3DLib.mrml.frames import lps_from_ras

    beam = views.session.threed._beams[views.xray.GetID()]._beam.GetPolyData()
    return lps_from_ras(np.array(beam.GetPoint(0)))


def test_the_3d_view_follows_the_edited_numbers(views, ui, click, host):
    from DeepReg2D3DLib.mrml.xray_node import camera_of, provenance_of

    own = camera_of(views.xray).source
    click(ui.editViewButton)
    assert shown_source(views) == pytest.approx(own, abs=1e-3)
    ui.primaryAngleSpinBox.setValue(90.0)
    # At 90 degrees the detector is at the patient's left, the source 700 mm to the right of the isocentre.
    assert shown_source(views) == pytest.approx([-700, 0, 0], abs=1e-2)
    assert camera_of(views.xray).source == pytest.approx(own)  # not applied yet
    views.logic.inputsChanged.emit()  # what else happens must not take the edited numbers back
    assert ui.primaryAngleSpinBox.value == 90.0
    click(ui.geometryCancelButton)
    assert shown_source(views) == pytest.approx(own, abs=1e-3)
    ui.carmViewComboBox.setCurrentIndex(3)
    ui.carmViewComboBox.activated.emit(3)  # lateral, detector at the left
    click(ui.geometryApplyButton)
    assert camera_of(views.xray).source == pytest.approx([-700, 0, 0], abs=1e-6)
    assert provenance_of(views.xray)["angles_deg"] == "user"
    assert ui.primaryAngleSourceLabel.text == "entered"


def test_hiding_the_form_takes_the_preview_back(views, ui, click):
    own = shown_source(views)
    click(ui.editViewButton)
    ui.sodSpinBox.setValue(900.0)
    assert np.linalg.norm(shown_source(views)) == pytest.approx(900, abs=1e-2)
    click(ui.editViewButton)
    assert shown_source(views) == pytest.approx(own, abs=1e-3)


def test_the_tag_of_a_number_is_its_tooltip(views, ui, click):
    from DeepReg2D3DLib.mrml.xray_node import camera_of, set_camera, set_details

    set_details(views.xray, {"source_to_detector_mm": "(0018,1110) Distance Source to Detector"})
    set_camera(views.xray, camera_of(views.xray), {"source_to_detector_mm": "DICOM"})
    click(ui.editViewButton)
    assert ui.sddSourceLabel.text == "from DICOM"
    assert "(0018,1110)" in ui.sddSourceLabel.toolTip


class Database:
    """What the menu asks of a ctkDICOMDatabase."""

    isOpen = True
    series = {"1.2.1": ("XA", "Coronary run"), "1.2.2": ("CT", "Abdomen"), "1.2.3": ("DX", "Pelvis AP")}  # noqa: RUF012

    def patients(self):
        return ("7",)

    def nameForPatient(self, _patient):
        return "Doe^Jane"

    def studiesForPatient(self, _patient):
        return ("1.2",)

    def fieldForStudy(self, field, _study):
        return {"StudyDate": "20250102"}[field]

    def seriesForStudy(self, _study):
        return tuple(self.series)

    def fieldForSeries(self, field, series):
        return {"Modality": self.series[series][0], "SeriesNumber": "3"}[field]

    def descriptionForSeries(self, series):
        return self.series[series][1]

    def filesForSeries(self, series, hits=-1):
        return (f"/db/{series}.dcm",)

    def fileForInstance(self, uid):
        return f"/db/{uid}.dcm" if uid in self.series else ""

    def fileValue(self, _path, tag):
        return {"0028,0008": "12"}[tag]


@pytest.fixture
def database(host, monkeypatch):
    import slicer

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)


def test_the_menu_lists_x_rays_alone_and_names_no_patient_in_them(views, ui, database, widget, monkeypatch):
    menu = dicom_menu(widget)
    loaded = []
    monkeypatch.setattr(views.logic, "loadXray", lambda path, **options: loaded.append((path, options["name"])))
    menu.fill()
    patient = menu._menu.actions()[0]
    assert patient.text == "Doe^Jane"
    patient.menu().aboutToShow.emit()
    actions = patient.menu().actions()
    assert [action.text for action in actions] == ["XA 3 Coronary run 20250102", "DX 3 Pelvis AP 20250102"]
    actions[1].trigger()
    assert loaded == [("/db/1.2.3.dcm", "DX 3 Pelvis AP 20250102")]


def test_an_empty_database_is_said(views, widget):
    menu = dicom_menu(widget)
    menu.fill()
    (only,) = menu._menu.actions()
    assert "DICOM module" in only.text and not only.isEnabled()


def test_an_image_from_the_database_is_read_from_its_file(views, database, monkeypatch):
    import slicer
    from DeepReg2D3DLib.gui.application import dicomFileOf

    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "run")
    slicer.util.updateVolumeFromArray(volume, np.zeros((1, 30, 40), np.float32))
    assert dicomFileOf(volume) == ("", None)
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.1")
    assert dicomFileOf(volume) == ("/db/1.2.1.dcm", None)
    loaded = []
    monkeypatch.setattr(views.logic, "_missing", [])
    monkeypatch.setattr(views.logic, "loadXray", lambda path, wait, frame, name: loaded.append((path, frame, name)))
    views.logic.addXray(volume)
    assert loaded == [("/db/1.2.1.dcm", None, "run")]


def test_the_frame_that_slicer_shows_is_taken(views, database):
    import slicer
    from DeepReg2D3DLib.gui.application import dicomFileOf

    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode")
    for index in range(12):
        frame = slicer.vtkMRMLScalarVolumeNode()
        frame.SetAttribute("DICOM.instanceUIDs", "1.2.1")
        sequence.SetDataNodeAtValue(frame, str(index))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())
    browser.SetSelectedItemNumber(4)
    assert dicomFileOf(browser.GetProxyNode(sequence)) == ("/db/1.2.1.dcm", 5)


def test_a_region_box_by_a_click(views, ui, click, host):
    click(ui.regionNewButton)
    roi = views.logic.region()
    assert roi is not None and ui.regionSelector.currentNode() is roi
    assert roi.GetParentTransformNode() is views.session.pose.node
    assert views.session.inputs.region is roi
    middle = views.session.point_of_interest
    assert middle == pytest.approx(views.session.pose.centre, abs=1e-3)
    roi.SetCenter(0, 0, 0)
    host.process_events(0.05)
    assert views.session.point_of_interest == pytest.approx([0, 0, 0], abs=1e-3)
    views.logic.setRegion(None)
    assert views.session.inputs.region is None and ui.regionSelector.currentNode() is None


def test_a_deleted_region_is_the_whole_ct_again(views, ui, click, host):
    import slicer

    click(ui.regionNewButton)
    slicer.mrmlScene.RemoveNode(views.logic.region())
    assert host.wait_for(lambda: views.session.inputs.region is None, 30)
    assert views.logic.region() is None
