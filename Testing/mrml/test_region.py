"""ROI markups and segments on their way to the engine: in the CT's frame, wherever the pose has put the CT."""

import numpy as np
import pytest
import slicer
import vtk
from DeepReg2D3DLib.mrml import region
from DeepReg2D3DLib.mrml.ct import POSE_ATTRIBUTE, CtError
from DeepReg2D3DLib.mrml.frames import PoseNumbers, lps_from_ras, pose_from_numbers, transform_to_ras, vtk_from_matrix

POSE = pose_from_numbers(PoseNumbers(np.array([10.0, -20.0, 30.0]), np.array([0.0, 0.0, 90.0])), np.zeros(3))


@pytest.fixture
def pose_node(scene):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAttribute(POSE_ATTRIBUTE, "1")
    node.SetMatrixTransformToParent(vtk_from_matrix(transform_to_ras(POSE)))
    return node


@pytest.fixture
def ct(scene, pose_node):
    """40 x 30 x 20 voxels of 2 mm whose first voxel is the origin of its RAS."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(node, np.zeros((20, 30, 40), np.int16))
    node.SetSpacing(2, 2, 2)
    node.SetAndObserveTransformNodeID(pose_node.GetID())
    return node


def world_box(node):
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    return np.array(bounds)


def test_a_new_box_lies_around_the_cts_middle_and_moves_with_it(scene, ct, pose_node):
    roi = region.new_box(scene, ct, pose_node)
    request = region.region_request(roi, "")
    assert request["box"]["centre"] == pytest.approx(lps_from_ras([39, 29, 19]), abs=1e-4)
    key = region.region_key(roi, "")
    before = world_box(roi)
    pose_node.SetMatrixTransformToParent(vtk.vtkMatrix4x4())
    assert region.region_key(roi, "") == key  # the same part of the CT
    assert np.abs(world_box(roi) - before).max() > 5


def test_a_box_drawn_in_the_world_keeps_its_place_there(scene, ct, pose_node):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.SetCenter(5, 6, 7)
    roi.SetSize(10, 20, 30)
    before = world_box(roi)
    region.attach(roi, ct, pose_node)
    assert world_box(roi) == pytest.approx(before, abs=1e-4)
    box = region.region_request(roi, "")["box"]
    centre = np.linalg.inv(POSE) @ np.append(lps_from_ras([5, 6, 7]), 1.0)
    assert box["centre"] == pytest.approx(centre[:3], abs=1e-4)
    assert box["size_mm"] == pytest.approx([10, 20, 30])
    # The pose turns by 90 degrees about z, so that the box's first axis is the CT's second.
    assert np.abs(np.array(box["axes"])[:, 0]) == pytest.approx([0, 1, 0], abs=1e-6)
    region.attach(roi, ct, pose_node)  # again: nothing changes
    assert region.region_request(roi, "")["box"]["centre"] == pytest.approx(box["centre"])


def make_segmentation(scene, ct):
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    array = np.zeros((20, 30, 40), np.uint8)
    array[4:8, 10:16, 20:30] = 1
    array[10:12, 10:16, 20:30] = 2
    slicer.util.updateVolumeFromArray(labels, array)
    labels.SetSpacing(2, 2, 2)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Spine")
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    assert logic.ImportLabelmapToSegmentationNode(labels, node)
    names = ("L3", "L4")
    for index, name in enumerate(names):
        node.GetSegmentation().GetNthSegment(index).SetName(name)
    scene.RemoveNode(labels)
    return node


def test_a_segment_is_sent_with_its_place(scene, ct, pose_node):
    node = make_segmentation(scene, ct)
    region.attach(node, ct, pose_node)
    assert node.GetParentTransformNode() is pose_node
    segments = region.segments_of(node)
    assert [name for _identity, name in segments] == ["L3", "L4"]
    request = region.region_request(node, segments[0][0])
    assert request["name"] == "L3"
    found = np.argwhere(request["labels"] == request["label"])
    assert len(found) == 4 * 6 * 10
    place = np.array(request["ijk_to_ct"])
    first = place @ np.append(found.min(axis=0)[::-1], 1.0)
    assert first[:3] == pytest.approx(lps_from_ras([40, 20, 8]), abs=1e-4)
    assert region.centre_of(node, segments[0][0]) == pytest.approx(lps_from_ras([49, 25, 11]), abs=1e-4)
    assert region.region_key(node, segments[0][0]) != region.region_key(node, segments[1][0])


def test_a_segment_that_is_not_there_is_said(scene, ct):
    node = make_segmentation(scene, ct)
    with pytest.raises(CtError, match="no such segment"):
        region.region_request(node, "gone")
    assert region.centre_of(node, "gone") is None
    assert region.segments_of(None) == [] and region.segments_of(ct) == []
