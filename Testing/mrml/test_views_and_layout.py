"""X-ray views show the image upright, wherever its detector stands; the user's layout comes back."""

import numpy as np
import pytest
import slicer
from DeepReg2D3DLib.mrml.frames import matrix_from_vtk
from DeepReg2D3DLib.mrml.layout import LAYOUT_ID, RegistrationLayout, layout_xml
from DeepReg2D3DLib.mrml.views import PinnedView, place_slice_view, slice_to_ras
from DeepReg2D3DLib.mrml.xray_node import create_xray_node


@pytest.fixture
def layout_node(scene):
    return scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0, 30, 90, 180, -90])
def test_row_0_is_at_the_top_and_column_0_at_the_left(scene, make_camera, open_view, angle, mirrored):
    image = np.zeros((60, 80), np.float32)
    image[:20, :40] = 1.0  # the top left sixth
    node = create_xray_node(scene, image, make_camera(angle, mirrored))
    layout = RegistrationLayout(scene)
    layout.show([node])
    view = open_view(layout.slice_node(0), (320, 240))
    place_slice_view(layout.slice_node(0), node)
    picture = view.picture()[..., 0] > 128
    rows, columns = np.nonzero(picture)
    assert rows.mean() == pytest.approx(40, abs=3) and columns.mean() == pytest.approx(80, abs=3)
    assert picture.mean() == pytest.approx(1 / 6, abs=0.02)


@pytest.mark.parametrize("size", [(320, 240), (200, 400), (500, 100)])
def test_the_whole_image_fits_into_any_view(scene, make_camera, open_view, size):
    node = create_xray_node(scene, np.ones((60, 80)) + np.eye(60, 80), make_camera(30))
    node.GetDisplayNode().SetWindowLevelMinMax(0, 1)
    layout = RegistrationLayout(scene)
    layout.show([node])
    view = open_view(layout.slice_node(0), size)
    place_slice_view(layout.slice_node(0), node)
    lit = view.picture()[..., 0] > 128
    rows, columns = np.nonzero(lit)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert width / height == pytest.approx(80 / 60, rel=0.05)
    assert max(width / size[0], height / size[1]) == pytest.approx(1 / 1.02, abs=0.02)


def test_two_xrays_of_different_sizes_get_views_of_their_own(scene, make_camera, layout_node):
    nodes = [
        create_xray_node(scene, np.zeros((60, 80)), make_camera(0, name="AP")),
        create_xray_node(scene, np.zeros((100, 30)), make_camera(90, columns=30, rows=100, name="Lateral")),
    ]
    layout = RegistrationLayout(scene)
    layout.show(nodes, plot=True)
    assert layout.is_shown and layout_node.GetViewArrangement() == LAYOUT_ID
    assert layout.slice_node(0) is not layout.slice_node(1)
    assert layout.composite_node(1).GetBackgroundVolumeID() == nodes[1].GetID()
    assert layout.view_node is not None and layout.plot_view_node is not None
    assert layout.slice_node(0).GetLayoutLabel() == "AP"


def test_the_crosshair_of_one_xray_leaves_the_others_in_sight(scene, make_camera, layout_node):
    """Shift and the mouse in a view bring all slices of its group to the pointer."""
    nodes = [create_xray_node(scene, np.zeros((60, 80)), make_camera(angle, name=f"{angle}")) for angle in (0, 90)]
    layout = RegistrationLayout(scene)
    layout.show(nodes, ct=nodes[0])
    first, second = layout.slice_node(0), layout.slice_node(1)
    before = matrix_from_vtk(second.GetSliceToRAS())
    first.JumpAllSlices(scene, 10.0, 20.0, 30.0, first.OffsetJumpSlice, first.GetViewGroup(), first)
    assert np.array_equal(matrix_from_vtk(second.GetSliceToRAS()), before)
    groups = [node.GetViewGroup() for node in (first, second, *layout.ct_slice_nodes)]
    assert len(set(groups)) == 3 and len(layout.ct_slice_nodes) == 3
    assert layout.view_node.GetViewGroup() == groups[-1]  # a place on the bone is found in the CT's slices


def test_a_pinned_view_stays_on_the_xrays_plane(scene, make_camera, layout_node):
    node = create_xray_node(scene, np.zeros((60, 80)), make_camera(30))
    layout = RegistrationLayout(scene)
    layout.show([node])
    view = layout.slice_node(0)
    pin = PinnedView(view, node)
    wanted = slice_to_ras(node)
    view.SetSliceOffset(view.GetSliceOffset() + 12.0)  # the slider, the arrow keys
    assert np.allclose(matrix_from_vtk(view.GetSliceToRAS()), wanted, atol=1e-6)
    view.SetOrientation("Coronal")
    assert np.allclose(matrix_from_vtk(view.GetSliceToRAS()), wanted, atol=1e-6)
    view.SetXYZOrigin(5.0, -3.0, 0.0)
    view.SetFieldOfView(40.0, 30.0, 1.0)
    assert view.GetXYZOrigin() == (5.0, -3.0, 0.0) and view.GetFieldOfView()[0] == 40.0
    pin.remove()
    view.SetSliceOffset(view.GetSliceOffset() + 12.0)
    assert not np.allclose(matrix_from_vtk(view.GetSliceToRAS()), wanted, atol=1.0)


def test_a_pinned_view_shows_the_whole_xray_at_any_size_until_it_is_zoomed(scene, make_camera, open_view):
    node = create_xray_node(scene, np.zeros((60, 80)), make_camera(30))
    layout = RegistrationLayout(scene)
    layout.show([node])
    view = layout.slice_node(0)
    shown = open_view(view, (320, 240))
    place_slice_view(view, node)
    pin = PinnedView(view, node)
    width, height = 80 * 4.0 * 1.02, 60 * 4.0 * 1.02  # mm of the detector, and a little air
    for size, expected in (((160, 240), (width, 1.5 * width)), ((600, 100), (6 * height, height))):
        shown.resize(*size)
        assert view.GetFieldOfView()[:2] == pytest.approx(expected, rel=1e-6)
    view.SetFieldOfView(60.0, 10.0, 1.0)
    shown.resize(300, 100)
    assert view.GetFieldOfView()[:2] == pytest.approx((30.0, 10.0), rel=1e-6)
    pin.remove()


def test_the_users_layout_comes_back(scene, an_xray, layout_node):
    layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView)
    layout = RegistrationLayout(scene)
    layout.show([an_xray])
    layout.show([an_xray])  # shown again, the layout to go back to is still the user's
    layout.restore()
    assert layout_node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView
    assert not layout.is_shown


def test_a_layout_that_the_user_chose_meanwhile_stays(scene, an_xray, layout_node):
    layout = RegistrationLayout(scene)
    layout.show([an_xray])
    layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert not layout.is_shown
    layout.restore()
    assert layout_node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_names_with_marks_do_not_break_the_layout(scene, make_camera):
    name = 'A & B <"1">'
    node = create_xray_node(scene, np.zeros((60, 80)), make_camera(name=name))
    layout = RegistrationLayout(scene)
    layout.show([node])
    assert layout.slice_node(0).GetLayoutLabel() == name


def test_eight_views_stand_in_two_rows():
    assert layout_xml([str(n) for n in range(8)], False).count('type="horizontal"') == 3


def test_the_layout_is_known_before_it_is_shown(scene, layout_node):
    RegistrationLayout(scene).register()
    RegistrationLayout(scene).register()
    assert layout_node.IsLayoutDescription(LAYOUT_ID)
    users = layout_node.GetViewArrangement()
    assert users != LAYOUT_ID
    layout_node.SetViewArrangement(LAYOUT_ID)  # as a saved scene does
    assert scene.GetSingletonNode("DeepReg2D3DXray2", "vtkMRMLSliceNode") is not None


def test_more_xrays_than_views_show_the_first(scene, make_camera):
    nodes = [create_xray_node(scene, np.zeros((60, 80)), make_camera(name=f"view {n}")) for n in range(10)]
    layout = RegistrationLayout(scene)
    assert layout.shown() == []
    layout.show(nodes)
    assert [node for node, _view in layout.shown()] == nodes[:8]
    scene.RemoveNode(nodes[3])
    assert [node for node, _view in layout.shown()] == [*nodes[:3], *nodes[4:8]]
