"""A tracked run as sequences: the browser moves the pose and changes the image of the X-ray view, frame by frame."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from DeepReg2D3DLib.mrml.frames import matrix_from_vtk, transform_to_lps, vtk_from_matrix
from DeepReg2D3DLib.mrml.track_sequence import TrackSequence, read_images, read_track
from DeepReg2D3DLib.mrml.xray_node import camera_of

COUNT = 4


def pose_of(index: int) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = [1.0 * index, -2.0, 3.0]
    return pose


@pytest.fixture
def folder(tmp_path, an_xray):
    """What ``track --keep-images`` leaves behind, of frames 3, 5, 7, 9."""
    frames = [
        {"frame": 3 + 2 * i, "ct_to_world": pose_of(i).tolist(), "status": "converged", "confidence": None,
         "agreement": 0.7, "moved_mm": 1.0}
        for i in range(COUNT)
    ]  # fmt: skip
    (tmp_path / "poses.json").write_text(json.dumps({"format": "deepreg2d3d-poses", "frames": frames}))
    camera = camera_of(an_xray)
    images = np.stack([np.full((camera.rows, camera.columns), 10.0 * i, np.float32) for i in range(COUNT)])
    sitk.WriteImage(sitk.GetImageFromArray(images), str(tmp_path / "images_view1.nrrd"))
    return tmp_path


@pytest.fixture
def played(scene, an_xray, folder):
    """(sequence, pose node, X-ray node)"""
    pose = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "pose")
    made = TrackSequence(scene, "Run", pose, an_xray, read_track(folder), read_images(folder))
    return made, pose, an_xray


def test_the_browser_plays_poses_and_images_together(played, scene):
    sequence, pose, xray = played
    assert sequence.count == COUNT
    assert [sequence.poses.GetNthIndexValue(i) for i in range(COUNT)] == ["3", "5", "7", "9"]
    logic = next(logic for logic in scene.logics if logic.IsA("vtkSlicerSequencesLogic"))
    place = matrix_from_vtk(_ijk_to_ras(xray))
    for index in (0, 2, 3, 1):
        sequence.select(index)
        logic.UpdateProxyNodesFromSequences(sequence.browser)
        found = vtk_from_matrix(np.eye(4))
        pose.GetMatrixTransformToParent(found)
        np.testing.assert_allclose(transform_to_lps(matrix_from_vtk(found)), pose_of(index))
        assert slicer.util.arrayFromVolume(xray).mean() == 10.0 * index
        np.testing.assert_allclose(matrix_from_vtk(_ijk_to_ras(xray)), place)
        assert camera_of(xray) is not None


def _ijk_to_ras(node):
    matrix = vtk_from_matrix(np.eye(4))
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_a_frame_that_is_not_there_changes_nothing(played):
    sequence, _pose, _xray = played
    sequence.select(1)
    sequence.select(COUNT)
    assert sequence.browser.GetSelectedItemNumber() == 1


def test_it_goes_out_of_the_scene_without_pose_and_xray(played, scene):
    sequence, pose, xray = played
    assert sequence.is_there
    sequence.remove()
    assert not sequence.is_there and pose.GetScene() is scene and xray.GetScene() is scene
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0


def test_without_images_the_poses_play_alone(scene, an_xray, folder):
    (folder / "images_view1.nrrd").unlink()
    pose = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "pose")
    made = TrackSequence(scene, "Run", pose, an_xray, read_track(folder), read_images(folder))
    assert made.images is None and made.count == COUNT


def test_a_run_that_left_nothing_is_told(tmp_path):
    with pytest.raises(OSError):
        read_track(tmp_path)
    (tmp_path / "poses.json").write_text("{")
    with pytest.raises(ValueError):
        read_track(tmp_path)
