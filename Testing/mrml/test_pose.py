"""The pose as a transform node: who moved it, undo, transforms above and below, hardening."""

import numpy as np
import pytest
import slicer
import vtk
from DeepReg2D3DLib.mrml import ct as ct_module
from DeepReg2D3DLib.mrml.dragging import ViewDrag
from DeepReg2D3DLib.mrml.frames import (
    PoseNumbers,
    matrix_from_vtk,
    pose_from_numbers,
    ras_from_lps,
    transform_to_ras,
    vtk_from_matrix,
)
from DeepReg2D3DLib.mrml.pose import PoseController


def shifted(x=0.0, y=0.0, z=0.0):
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


@pytest.fixture
def a_ct(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(node, np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6))
    node.SetIJKToRASMatrix(vtk_from_matrix(np.array([[-1.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1]])))
    return node


@pytest.fixture
def controller(scene):
    controller = PoseController(scene)
    controller.create_node()
    controller.changes = []
    controller.changed.connect(lambda pose, source: controller.changes.append((pose[0, 3], source)))
    return controller


def world_of(node, ijk=(0, 0, 0)):
    """Where a voxel of a volume node is shown, RAS."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    place = (matrix_from_vtk(matrix) @ [*ijk, 1])[:3]
    parent = node.GetParentTransformNode()
    if parent is None:
        return place
    world = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(world)
    return (matrix_from_vtk(world) @ [*place, 1])[:3]


def add_transform(scene, matrix, parent=None):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(vtk_from_matrix(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def test_each_change_is_told_once_with_its_source(controller):
    controller.set_pose(shifted(1), "user")
    controller.set_pose(shifted(1), "user")
    controller.node.SetMatrixTransformToParent(vtk_from_matrix(transform_to_ras(shifted(2))))
    controller.node.SetMatrixTransformToParent(vtk_from_matrix(transform_to_ras(shifted(2))))
    assert controller.changes == [(1.0, "user"), (2.0, "handles")]


def test_a_listener_that_sets_the_pose_again_makes_no_loop(controller):
    controller.changed.connect(lambda pose, source: controller.set_pose(pose, "echo"))
    controller.set_pose(shifted(3), "user")
    assert controller.changes == [(3.0, "user")]


def test_the_node_shows_the_ct_where_the_pose_puts_it(controller, a_ct):
    before = ras_from_lps(world_of(a_ct, (1, 2, 3)))
    controller.attach(a_ct)
    pose = pose_from_numbers(PoseNumbers([5, 6, 7], [10, 20, 30]), controller.centre)
    controller.set_pose(pose)
    np.testing.assert_allclose(ras_from_lps(world_of(a_ct, (1, 2, 3))), pose[:3, :3] @ before + pose[:3, 3])


def test_handles_turn_about_the_cts_centre(controller, a_ct):
    controller.attach(a_ct)
    np.testing.assert_allclose(controller.centre, ras_from_lps(world_of(a_ct, (2.5, 2, 1.5))))
    np.testing.assert_allclose(controller.node.GetCenterOfTransformation(), ras_from_lps(controller.centre))
    controller.set_numbers(PoseNumbers(np.array([0.0, 0, 0]), np.array([0, 0, 90.0])))
    np.testing.assert_allclose(world_of(a_ct, (2.5, 2, 1.5)), ras_from_lps(controller.centre), atol=1e-9)


def test_undo_and_redo(controller):
    for x in (1, 2, 3):
        controller.checkpoint()
        controller.set_pose(shifted(x), "user")
    controller.undo()
    controller.undo()
    assert controller.pose[0, 3] == 1
    controller.redo()
    assert controller.pose[0, 3] == 2
    controller.checkpoint()
    controller.set_pose(shifted(9), "user")
    assert not controller.can_redo
    controller.undo()
    controller.undo()
    controller.undo()
    assert controller.pose[0, 3] == 0 and not controller.can_undo


def test_a_drag_by_handles_is_undone_at_once(controller):
    for x in range(1, 20):
        controller.node.SetMatrixTransformToParent(vtk_from_matrix(transform_to_ras(shifted(x))))
    controller.undo()
    assert controller.pose[0, 3] == 0


def test_reset_goes_home_and_can_be_undone(controller):
    controller.set_home(shifted(4))
    controller.set_pose(shifted(7))
    controller.reset()
    assert controller.pose[0, 3] == 4
    controller.undo()
    assert controller.pose[0, 3] == 7


def test_a_transform_of_the_user_stays_between_ct_and_pose(scene, controller, a_ct):
    users = add_transform(scene, shifted(100))
    a_ct.SetAndObserveTransformNodeID(users.GetID())
    before = world_of(a_ct)
    controller.attach(a_ct)
    assert a_ct.GetParentTransformNode() is users
    assert users.GetParentTransformNode() is controller.node
    np.testing.assert_allclose(world_of(a_ct), before)
    # The engine's CT is the one that the pose moves.
    np.testing.assert_allclose(ras_from_lps(ct_module.ct_grid(a_ct)[:3, 3]), before)
    controller.set_pose(shifted(1, 2, 3))
    np.testing.assert_allclose(world_of(a_ct) - before, [-1, -2, 3])
    np.testing.assert_allclose(ras_from_lps(ct_module.ct_grid(a_ct)[:3, 3]), before)


def test_a_transform_above_the_pose_is_taken_into_it(scene, controller, a_ct):
    above = add_transform(scene, shifted(0, 50))
    controller.node.SetAndObserveTransformNodeID(above.GetID())
    a_ct.SetAndObserveTransformNodeID(controller.node.GetID())
    before = world_of(a_ct)
    controller.attach(a_ct)
    assert controller.node.GetParentTransformNode() is None
    np.testing.assert_allclose(world_of(a_ct), before)


def test_a_bent_transform_is_refused_in_words(scene, controller, a_ct):
    grid = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "bent")
    a_ct.SetAndObserveTransformNodeID(grid.GetID())
    with pytest.raises(ct_module.CtError, match="'bent'"):
        ct_module.ct_grid(a_ct)


def test_harden_keeps_the_place_and_empties_the_pose(scene, controller, a_ct):
    a_ct.SetAndObserveTransformNodeID(add_transform(scene, shifted(0, 0, 5)).GetID())
    controller.attach(a_ct)
    controller.set_numbers(PoseNumbers(np.array([1.0, 2, 3]), np.array([10.0, 0, 30])))
    before = world_of(a_ct, (5, 0, 3))
    controller.harden(a_ct)
    np.testing.assert_allclose(world_of(a_ct, (5, 0, 3)), before, atol=1e-9)
    np.testing.assert_array_equal(controller.pose, np.eye(4))
    assert not controller.can_undo


def test_handles_come_and_go(controller):
    controller.set_handles(True, False)
    display = controller.node.GetDisplayNode()
    assert display.GetEditorVisibility() and display.GetEditorVisibility3D()
    assert not display.GetEditorSliceIntersectionVisibility() and not display.GetEditorScalingEnabled()
    controller.set_handles(False, False)
    assert not display.GetEditorVisibility()


def test_without_a_node_nothing_breaks(scene):
    controller = PoseController(scene)
    controller.set_pose(shifted(1))
    controller.undo()
    controller.set_handles(True, True)
    np.testing.assert_array_equal(controller.pose, np.eye(4))


def test_a_removed_or_replaced_node_is_let_go(scene, controller):
    first = controller.node
    controller.create_node()
    first.SetMatrixTransformToParent(vtk_from_matrix(shifted(5)))
    assert [source for _, source in controller.changes] == ["node"]
    controller.set_node(None)
    assert controller.node is None


# --- dragging in a view ----------------------------------------------------------------------------------------------

CENTRE = np.array([10.0, 20.0, 30.0])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0, 30, 90])
def test_a_drag_moves_the_picture_of_the_centre_under_the_pointer(make_camera, angle, mirrored):
    camera = make_camera(angle, mirrored, spacing=(4.0, 3.0))
    start = pose_from_numbers(PoseNumbers(np.array([3.0, 4, 5]), np.array([10.0, 20, 30])), CENTRE)
    drag = ViewDrag(camera, start, CENTRE)

    def seen(pose):
        return camera.project(pose[:3, :3] @ CENTRE + pose[:3, 3])

    np.testing.assert_allclose(drag.centre_pixel, seen(start))
    moved = drag.translated(6.0, -2.5)
    np.testing.assert_allclose(seen(moved), seen(start) + np.array([6.0, -2.5]))
    depth = [camera.depth(p[:3, :3] @ CENTRE + p[:3, 3]) for p in (start, moved)]
    assert depth[0] == pytest.approx(depth[1])
    np.testing.assert_allclose(seen(drag.deepened(40)), seen(start), atol=1e-9)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turn_is_seen_from_u_to_v(make_camera, mirrored):
    camera = make_camera(30, mirrored)
    drag = ViewDrag(camera, np.eye(4), np.zeros(3))
    angle = np.radians(20)
    turned = drag.rotated(angle)
    middle = camera.project(np.zeros(3))
    # A point close to the centre, seen 1 pixel to the right of it.
    right = camera.detector_points(middle + np.array([1.0, 0.0])) - camera.source
    point = camera.source + right * camera.depth(np.zeros(3)) / camera.source_to_detector
    after = camera.project(turned[:3, :3] @ point + turned[:3, 3]) - middle
    np.testing.assert_allclose(after, [np.cos(angle), np.sin(angle)], atol=1e-3)
