"""What a run leaves in the scene, and what stands in 3D."""

import numpy as np
import pytest
import slicer
import vtk
from DeepReg2D3DLib.mrml import cleanup
from DeepReg2D3DLib.mrml.ct_display import BoneSurface, show_volume_rendering
from DeepReg2D3DLib.mrml.frames import matrix_from_vtk, ras_from_lps, transform_to_ras
from DeepReg2D3DLib.mrml.geometry_display import BeamModels
from DeepReg2D3DLib.mrml.layout import RegistrationLayout
from DeepReg2D3DLib.mrml.plots import ConvergencePlot
from DeepReg2D3DLib.mrml.recording import RunRecording, recorded_poses
from DeepReg2D3DLib.mrml.xray_node import camera_of, set_camera
from DeepReg2D3DLib.worker.results import IterationResult


def iteration(index, x):
    pose = np.eye(4)
    pose[0, 3] = x
    similarity = float("nan") if index == 0 else 0.5 + index / 10
    return IterationResult("run1", index, pose, 10.0 - index, 100 + index, similarity, 0.1, False, "", ())


@pytest.fixture
def a_recording(scene):
    recording = RunRecording(scene, "Registration")
    for index in range(4):
        recording.append(iteration(index, 5.0 * index))
    recording.finish("converged")
    return recording


def test_a_recording_keeps_poses_and_numbers(a_recording):
    assert a_recording.count == 4
    assert a_recording.pose(2)[0, 3] == 10
    assert a_recording.row(2) == pytest.approx(
        {"iteration": 2, "motion_mm": 8, "similarity": 0.7, "points": 102, "seconds": 0.1}
    )
    assert a_recording.row(0)["similarity"] == 0  # not a number can't be drawn
    assert [pose[0, 3] for pose in recorded_poses(a_recording.sequence)] == [0, 5, 10, 15]


def test_the_browser_goes_to_an_iteration(scene, a_recording):
    a_recording.select(1)
    assert a_recording.selected == a_recording.browser.GetSelectedItemNumber() == 1
    matrix = vtk.vtkMatrix4x4()
    a_recording.browser.GetProxyNode(a_recording.sequence).GetMatrixTransformToParent(matrix)
    np.testing.assert_allclose(matrix_from_vtk(matrix), transform_to_ras(a_recording.pose(1)))


def test_a_record_is_found_again_in_a_loaded_scene(scene, a_recording):
    found = RunRecording.of_scene(scene, a_recording.sequence)
    assert found.table is a_recording.table and found.browser is a_recording.browser
    iterations = found.iterations()
    assert [each.pose[0, 3] for each in iterations] == [0, 5, 10, 15]
    assert [each.motion_mm for each in iterations] == [10, 9, 8, 7]
    assert iterations[-1].final and iterations[-1].status == "converged"


def test_numbers_that_were_read_as_words_are_numbers_again(scene, a_recording):
    table = a_recording.table.GetTable()
    words = vtk.vtkStringArray()
    words.SetName("similarity")
    for index in range(4):
        words.InsertNextValue(str(table.GetColumnByName("similarity").GetTuple1(index)))
    table.RemoveColumnByName("similarity")
    table.AddColumn(words)
    found = RunRecording.of_scene(scene, a_recording.sequence)
    assert found.table.GetTable().GetColumnByName("similarity").GetTuple1(3) == pytest.approx(0.8)


def test_a_record_survives_saving_and_reopening(scene, a_recording, tmp_path):
    scene.SetURL(str(tmp_path / "scene.mrml"))
    for node, suffix in ((a_recording.sequence, ".seq.nrrd"), (a_recording.table, ".tsv")):
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(tmp_path / f"{node.GetID()}{suffix}"))
        assert node.GetStorageNode().WriteData(node)
    scene.Commit()
    scene.Clear()
    scene.Connect()
    (sequence,) = [node for node in cleanup.tagged(scene, "record") if node.IsA("vtkMRMLSequenceNode")]
    found = RunRecording.of_scene(scene, sequence)
    assert [round(float(each.pose[0, 3]), 3) for each in found.iterations()] == [0, 5, 10, 15]
    assert [each.motion_mm for each in found.iterations()] == pytest.approx([10, 9, 8, 7])
    found.select(2)
    assert found.browser.GetSelectedItemNumber() == 2


def test_a_sequence_of_somebody_else_is_no_record(scene, a_recording):
    scene.RemoveNode(a_recording.table)
    assert RunRecording.of_scene(scene, a_recording.sequence) is None
    assert RunRecording.of_scene(scene, scene.AddNewNodeByClass("vtkMRMLSequenceNode")) is None


def test_a_removed_recording_leaves_nothing(scene, a_recording):
    a_recording.remove()
    assert cleanup.tagged(scene, "record") == []


def test_the_plot_follows_the_table(scene, a_recording, an_xray):
    plot = ConvergencePlot(scene, a_recording.table)
    assert plot.chart.GetNumberOfPlotSeriesNodes() == 2
    series = plot.chart.GetNthPlotSeriesNode(0)
    assert series.GetYColumnName() == "motion_mm" and series.GetTableNode() is a_recording.table
    layout = RegistrationLayout(scene)
    layout.show([an_xray], plot=True)
    plot.show(layout.plot_view_node)
    assert layout.plot_view_node.GetPlotChartNode() is plot.chart
    plot.show(None)
    plot.remove()
    assert cleanup.tagged(scene, "plot") == []


def points_of(model):
    data = model.GetPolyData()
    return np.array([data.GetPoint(index) for index in range(data.GetNumberOfPoints())])


def test_source_and_detector_stand_where_the_camera_says(scene, an_xray):
    beam = BeamModels(scene, an_xray)
    camera = camera_of(an_xray)
    np.testing.assert_allclose(points_of(beam._source).mean(0), ras_from_lps(camera.source), atol=1e-3)
    np.testing.assert_allclose(points_of(beam._beam)[0], ras_from_lps(camera.source), atol=1e-3)
    corners = points_of(beam._detector)
    np.testing.assert_allclose(camera.project(ras_from_lps(corners[0])), [-0.5, -0.5], atol=1e-4)
    np.testing.assert_allclose(camera.project(ras_from_lps(corners[2])), [79.5, 59.5], atol=1e-4)
    texture = beam._detector.GetDisplayNode().GetTextureImageDataConnection()
    texture.GetProducer().Update()
    assert texture.GetProducer().GetOutput().GetDimensions() == (80, 60, 1)


def test_the_beam_follows_an_edited_camera(scene, an_xray, make_camera):
    beam = BeamModels(scene, an_xray)
    set_camera(an_xray, make_camera(90))
    beam.update()
    np.testing.assert_allclose(points_of(beam._beam)[0], ras_from_lps(make_camera(90).source), atol=1e-3)
    beam.set_visible(False)
    assert not beam._detector.GetDisplayNode().GetVisibility()
    beam.remove()
    assert cleanup.tagged(scene, "beam") == []


def test_the_detectors_picture_is_upright_in_3d(scene, make_camera, open_view, an_xray):
    """Row 0 of the texture lies along the detector's first edge, from (0, 0) to (W, 0)."""
    beam = BeamModels(scene, an_xray)
    coordinates = beam._detector.GetPolyData().GetPointData().GetTCoords()
    camera = camera_of(an_xray)
    for index, corner in enumerate(points_of(beam._detector)):
        u, v = camera.project(ras_from_lps(corner))
        assert coordinates.GetTuple2(index) == pytest.approx(((u + 0.5) / 80, (v + 0.5) / 60), abs=1e-4)


def test_the_bone_follows_the_pose_when_it_is_told_to(scene):
    surface = BoneSurface(scene)
    points = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]], np.float32)
    triangles = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    surface.set_mesh(points, triangles)
    np.testing.assert_allclose(points_of(surface.model), ras_from_lps(points))
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    surface.follow(pose)
    matrix = vtk.vtkMatrix4x4()
    surface.model.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    np.testing.assert_allclose(matrix_from_vtk(matrix), transform_to_ras(pose))
    surface.set_mesh(points, triangles, normals=points / 10)
    normals = surface.model.GetPolyData().GetPointData().GetNormals()
    assert normals.GetTuple3(1) == (-1, 0, 0)  # RAS
    surface.remove()
    assert cleanup.tagged(scene, "ct3d") == []


def test_volume_rendering_comes_and_goes(scene):
    logic = slicer.vtkSlicerVolumeRenderingLogic()
    logic.SetMRMLScene(scene)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(node, np.zeros((5, 5, 5), np.int16))
    show_volume_rendering(logic, node, False)
    assert logic.GetFirstVolumeRenderingDisplayNode(node) is None
    show_volume_rendering(logic, node, True)
    assert logic.GetFirstVolumeRenderingDisplayNode(node).GetVisibility()
    show_volume_rendering(logic, node, False)
    assert not logic.GetFirstVolumeRenderingDisplayNode(node).GetVisibility()
    logic.SetMRMLScene(None)


def test_remove_all_takes_helpers_and_leaves_what_is_the_users(scene, an_xray, a_recording):
    BeamModels(scene, an_xray)
    BoneSurface(scene)
    cleanup.remove_all(scene)
    assert all(node.GetSaveWithScene() for node in cleanup.tagged(scene))
    assert an_xray.GetScene() is scene and a_recording.table.GetScene() is scene
    cleanup.remove(scene, None)
