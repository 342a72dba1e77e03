"""Landmarks: placed by clicks in the views with Slicer's own markups, solved by the engine's own solver."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

NAMES = ("AP", "Lateral")
# Corners of a box in the CT, mm about its centre, LPS.
POINTS = np.array([[30, 20, 40], [-35, 10, 30], [20, -25, -35], [-25, -15, 10.0]])


@pytest.fixture
def case(widget, host, monkeypatch):
    """A CT and two X-rays in the module, without an engine; the landmarks are solved in this process."""
    import slicer
    from DeepReg2D3DLib.mrml.carm import assumed_camera
    from DeepReg2D3DLib.mrml.xray_node import camera_of, create_xray_node
    from DeepReg2D3DLib.worker.landmark_pose import landmark_pose
    from DeepReg2D3DLib.worker.session_files import camera_from_json

    logic = widget.logic
    monkeypatch.setattr(logic, "_missing", ["torch>=2.8"])  # no engine process here
    ct = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(ct, np.zeros((20, 20, 20), np.int16))
    ct.SetSpacing(6, 6, 6)
    ct.SetOrigin(-57, -57, -57)  # its centre is the origin of its own frame
    ct.CreateDefaultDisplayNodes()
    xrays = [
        create_xray_node(
            slicer.mrmlScene, np.zeros((300, 400), np.float32), assumed_camera(400, 300, name, lateral=lateral)
        )
        for name, lateral in zip(NAMES, (False, True), strict=True)
    ]
    logic.parameters.ct, logic.parameters.xrays = ct, xrays
    assert host.wait_for(lambda: logic.session.layout.is_shown and len(logic.session.live.overlays) == 2, 30)

    def solve(marks, on_done, on_error):
        views = {
            name: SimpleNamespace(camera=camera_from_json(camera_of(node).to_json()))
            for node, name in logic.session.inputs.named_xrays()
        }
        try:
            on_done(landmark_pose(marks, views))
        except Exception as problem:
            on_error(str(problem))

    monkeypatch.setattr(logic.client, "landmark_pose", solve)
    return SimpleNamespace(widget=widget, logic=logic, ct=ct, xrays=xrays, lists=logic.session.landmarks)


def view_of(slice_node):
    import slicer

    return slicer.app.layoutManager().sliceWidget(slice_node.GetLayoutName()).sliceView()


def click_at(slice_node, world_ras, host) -> None:
    """Move the mouse to a world point in a slice view and click there."""
    from DeepReg2D3DLib.mrml.frames import matrix_from_vtk

    interactor = view_of(slice_node).interactor()  # the host makes a view, with its size, when it is asked for
    xy = np.linalg.inv(matrix_from_vtk(slice_node.GetXYToRAS())) @ np.append(world_ras, 1.0)
    x, y = (round(float(value)) for value in xy[:2])
    for step in ((x - 5, y), (x, y)):
        interactor.SetEventInformation(*step)
        interactor.MouseMoveEvent()
    interactor.LeftButtonPressEvent()
    interactor.LeftButtonReleaseEvent()
    host.process_events(0.05)


def place_by_hand(case, name, point, seen, columns=(1, 2)):
    """A landmark at a CT point (LPS) with exact clicks where it is seen at the pose `seen`."""
    from DeepReg2D3DLib.mrml.frames import ras_from_lps
    from DeepReg2D3DLib.mrml.xray_node import camera_of

    row = case.lists.add()
    case.lists.rename(row, name)
    points, index = case.lists._point(row, 0)
    points.SetNthControlPointPosition(index, *ras_from_lps(point))
    for column in columns:
        camera = camera_of(case.xrays[column - 1])
        pixel = camera.project((seen @ np.append(point, 1.0))[None, :3])[0]
        points = case.lists._list(column, make=True)
        index = case.lists._new_point(points, name)
        points.SetNthControlPointPositionWorld(index, *ras_from_lps(camera.detector_points(pixel)))


def test_a_landmark_is_clicked_through_all_views(case, ui, click, host):
    from DeepReg2D3DLib.mrml.frames import ras_from_lps
    from DeepReg2D3DLib.mrml.xray_node import camera_of

    click(ui.landmarkAddButton)
    session = case.logic.session
    assert host.wait_for(lambda: session._sliced is case.ct, 30)  # the CT's slices come up
    slices = session.layout.ct_slice_nodes
    assert len(slices) == 3 and case.lists.placing == (0, 0)
    # Not in an X-ray view: a point of the CT can't be there.
    click_at(session.layout.slice_node(0), ras_from_lps(camera_of(case.xrays[0]).corners().mean(0)), host)
    assert not case.lists.is_set(0, 0)
    middle = np.zeros(3)
    click_at(slices[0], middle, host)
    assert case.lists.is_set(0, 0) and case.lists.placing == (0, 1)
    for index, xray in enumerate(case.xrays):
        camera = camera_of(xray)
        pixel = np.array([150.0 + 40 * index, 120.0])
        click_at(session.layout.slice_node(index), ras_from_lps(camera.detector_points(pixel)), host)
        assert case.lists.is_set(0, index + 1)
        (pair,) = case.lists.pairs()
        # As exact as a pixel of the screen.
        assert pair["clicks"][xray.GetID()] == pytest.approx(pixel, abs=1.5)
    assert case.lists.placing is None
    assert pair["point"] == pytest.approx([0, 0, 0], abs=1.0)
    assert ui.landmarksTable.item(0, 1).text() == "\N{CHECK MARK}"
    assert host.wait_for(lambda: ui.landmarksTable.item(0, 3).text().endswith(" mm"), 30)  # how far off, by now
    import slicer

    mode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLInteractionNode")
    assert mode.GetCurrentInteractionMode() == mode.ViewTransform


def test_escape_leaves_the_place_open(case, ui, click, host):
    import slicer

    click(ui.landmarkAddButton)
    mode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLInteractionNode")
    assert mode.GetCurrentInteractionMode() == mode.Place
    mode.SetCurrentInteractionMode(mode.ViewTransform)
    assert case.lists.placing is None and ui.landmarksTable.item(0, 1).text() == "set"


def test_the_pose_follows_from_two_views(case, ui, host):
    from DeepReg2D3DLib.mrml.frames import PoseNumbers, pose_from_numbers

    truth = pose_from_numbers(PoseNumbers(np.array([12.0, -20.0, 8.0]), np.array([5.0, -8.0, 12.0])), np.zeros(3))
    for name, point in zip("abcd", POINTS, strict=True):
        place_by_hand(case, name, point, truth)
    fit = case.logic.startFromLandmarks(wait=False) or case.logic.landmarkFit
    assert case.logic.pose() == pytest.approx(truth, abs=1e-3)
    assert fit["rms_mm"] < 1e-3
    assert host.wait_for(lambda: ui.landmarksTable.item(0, 2).text() != "\N{CHECK MARK}", 30)
    assert ui.landmarksTable.item(0, 2).text() == "0.0 mm"
    assert "fit within 0.0 mm" in ui.landmarksLabel.text
    # One step of Undo; and the residuals are no longer true when a point moves.
    case.logic.session.pose.undo()
    assert case.logic.pose() == pytest.approx(np.eye(4), abs=1e-9)
    case.lists.remove(0)
    assert case.logic.landmarkFit is None and ui.landmarksTable.rowCount == 3


def test_each_landmark_is_drawn_where_it_falls_with_its_distance_from_the_click(case, ui, host):
    import slicer
    from DeepReg2D3DLib.mrml.cleanup import tagged
    from DeepReg2D3DLib.mrml.frames import ras_from_lps
    from DeepReg2D3DLib.mrml.xray_node import camera_of

    place_by_hand(case, "a", POINTS[0], np.eye(4))
    place_by_hand(case, "unclicked", POINTS[1], np.eye(4), columns=())
    shift = np.eye(4)
    shift[0, 3] = 9.0  # to the patient's left: along +u in the frontal view, along the beam in the lateral one
    case.logic.setPose(shift)
    residuals = case.logic.session.projections.residuals
    camera = camera_of(case.xrays[0])
    depth = 700.0 + POINTS[0][1]  # the source is in front, at y = -700
    pixels, mm = residuals["a", case.xrays[0].GetID()]
    assert pixels == pytest.approx(9.0 * 1000.0 / depth / 0.5, rel=1e-6) and mm == pytest.approx(9.0, rel=1e-6)
    assert ("unclicked", case.xrays[0].GetID()) not in residuals
    drawn = [node for node in tagged(slicer.mrmlScene, "landmarks-projected") if node.IsA("vtkMRMLMarkupsNode")]
    assert len(drawn) == 2
    frontal = next(node for node in drawn if node.GetName().startswith("AP"))
    assert [frontal.GetNthControlPointLabel(index) for index in (0, 1)] == ["a 9.0 mm", "unclicked"]
    expected = camera.detector_points(camera.project(POINTS[0] + [9.0, 0, 0]))
    assert frontal.GetNthControlPointPositionWorld(0) == pytest.approx(ras_from_lps(expected), abs=1e-4)
    view = case.logic.session.layout.slice_node(0)
    assert frontal.GetDisplayNode().GetNthViewNodeID(0) == view.GetID() and frontal.GetLocked()
    for node in tagged(slicer.mrmlScene, "landmarks-projected"):
        assert not node.GetSaveWithScene() and node.GetHideFromEditors()
    assert host.wait_for(lambda: ui.landmarksTable.item(0, 2).text() == "9.0 mm", 30)
    ui.projectionsCheckBox.checked = False
    assert tagged(slicer.mrmlScene, "landmarks-projected") == []
    assert case.logic.session.projections.residuals == residuals
    ui.projectionsCheckBox.checked = True
    assert len(tagged(slicer.mrmlScene, "landmarks-projected")) == 4
    host.exit(case.widget)
    host.process_events(0.1)
    assert tagged(slicer.mrmlScene, "landmarks-projected") == []


def test_a_click_goes_to_its_list_whatever_is_drawn_meanwhile(case, ui, click, host):
    import slicer
    from DeepReg2D3DLib.mrml.cleanup import tagged

    place_by_hand(case, "a", POINTS[0], np.eye(4))
    session = case.logic.session
    click(ui.landmarkAddButton)
    assert host.wait_for(lambda: session._sliced is case.ct, 30)  # the CT's slices come up
    host.process_events(0.2)
    for shown in ([], session.layout.shown()):
        session.projections.show_in(shown)
    assert len(tagged(slicer.mrmlScene, "landmarks-projected")) == 4
    selection = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    assert selection.GetActivePlaceNodeID() == case.lists._list(0).GetID()
    click_at(session.layout.ct_slice_nodes[0], np.zeros(3), host)
    assert case.lists.is_set(1, 0)


def test_a_landmark_outside_the_image_is_not_drawn(case):
    import slicer
    from DeepReg2D3DLib.mrml.cleanup import tagged

    place_by_hand(case, "a", np.array([0.0, 0.0, 300.0]), np.eye(4), columns=())
    assert tagged(slicer.mrmlScene, "landmarks-projected") == []
    case.logic.setPose([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -280], [0, 0, 0, 1]])
    assert len(tagged(slicer.mrmlScene, "landmarks-projected")) == 4


def test_a_wrong_click_is_named(case, ui):
    for name, point in zip("abcd", POINTS, strict=True):
        place_by_hand(case, name, point, np.eye(4))
    place_by_hand(case, "wrong", np.array([10.0, 5.0, -10.0]), np.eye(4), columns=(1,))
    points = case.lists._list(1)
    index = points.GetControlPointIndexByLabel("wrong")
    x, y, z = points.GetNthControlPointPositionWorld(index)
    points.SetNthControlPointPositionWorld(index, x + 40, y, z)
    case.logic.startFromLandmarks(wait=False)
    assert "\N{WARNING SIGN}" in ui.landmarksTable.item(4, 2).text()
    assert "\N{WARNING SIGN}" not in ui.landmarksTable.item(0, 2).text()


def test_landmarks_in_one_plane_are_refused_in_words(case, ui):
    for name, point in zip("abcd", POINTS * [1, 0, 1], strict=True):
        place_by_hand(case, name, point, np.eye(4), columns=(1,))
    before = case.logic.pose()
    case.logic.startFromLandmarks(wait=False)
    assert "one plane" in ui.landmarksLabel.text
    assert case.logic.pose() == pytest.approx(before)


def test_clicks_stay_on_their_pixels_when_the_geometry_changes(case):
    from dataclasses import replace

    from DeepReg2D3DLib.mrml.carm import camera_with_numbers, numbers_from_camera
    from DeepReg2D3DLib.mrml.xray_node import camera_of

    place_by_hand(case, "a", POINTS[0], np.eye(4))
    before = case.lists.pairs()[0]["clicks"]
    camera = camera_of(case.xrays[0])
    turned = replace(numbers_from_camera(camera), primary_deg=30.0, source_to_detector=1250.0)
    case.logic.setGeometry(case.xrays[0], camera_with_numbers(camera, turned))
    after = case.lists.pairs()[0]["clicks"]
    for view in before:
        assert after[view] == pytest.approx(before[view], abs=1e-3)


def test_landmarks_go_with_the_ct(case):
    from DeepReg2D3DLib.mrml.frames import PoseNumbers, pose_from_numbers

    place_by_hand(case, "a", POINTS[0], np.eye(4))
    world = np.array(case.lists._list(0).GetNthControlPointPositionWorld(0))
    pose = pose_from_numbers(PoseNumbers(np.array([3.0, 4.0, 5.0]), np.array([0.0, 0.0, 90.0])), np.zeros(3))
    case.logic.setPose(pose)
    moved = np.array(case.lists._list(0).GetNthControlPointPositionWorld(0))
    assert np.linalg.norm(moved - world) > 10
    assert case.lists.pairs()[0]["point"] == pytest.approx(POINTS[0], abs=1e-4)
    case.logic.harden()
    assert case.lists._list(0).GetNthControlPointPositionWorld(0) == pytest.approx(moved, abs=1e-3)


def test_a_landmark_can_be_dragged_while_the_overlay_can(case, host):
    from DeepReg2D3DLib.mrml.frames import matrix_from_vtk, ras_from_lps

    place_by_hand(case, "a", POINTS[0], np.eye(4))
    slice_node = case.logic.session.layout.slice_node(0)
    points = case.lists._list(1)
    case.lists.show_in(case.logic.session.layout.shown())
    start = np.array(points.GetNthControlPointPositionWorld(0))
    xy = np.linalg.inv(matrix_from_vtk(slice_node.GetXYToRAS())) @ np.append(start, 1.0)
    interactor = view_of(slice_node).interactor()
    x, y = (round(float(value)) for value in xy[:2])
    view_of(slice_node).renderWindow().Render()
    for step in ((x - 8, y), (x, y)):
        interactor.SetEventInformation(*step)
        interactor.MouseMoveEvent()
    pose = case.logic.pose()
    interactor.LeftButtonPressEvent()
    for step in ((x + 10, y), (x + 20, y)):
        interactor.SetEventInformation(*step)
        interactor.MouseMoveEvent()
    interactor.LeftButtonReleaseEvent()
    assert case.logic.pose() == pytest.approx(pose)
    moved = np.array(points.GetNthControlPointPositionWorld(0)) - start
    assert np.linalg.norm(moved) > 5, ras_from_lps(moved)


def test_landmarks_of_a_removed_xray_are_hidden_and_come_back(case, host):
    place_by_hand(case, "a", POINTS[0], np.eye(4))
    lateral = case.lists._list(2)
    case.logic.removeXray(case.xrays[1])
    assert host.wait_for(lambda: not lateral.GetDisplayNode().GetVisibility(), 30)
    assert len(case.lists.pairs()[0]["clicks"]) == 1
    case.logic.parameters.xrays = case.xrays
    assert host.wait_for(lambda: lateral.GetDisplayNode().GetVisibility(), 30)
    assert len(case.lists.pairs()[0]["clicks"]) == 2


def test_names_are_unique(case, ui):
    for _ in range(2):
        case.lists.add()
    assert not case.lists.rename(1, "L1") and case.lists.names == ["L1", "L2"]
    ui.landmarksTable.item(1, 0).setText("L3 left pedicle")
    assert case.lists.names == ["L1", "L3 left pedicle"]
