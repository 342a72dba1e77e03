"""What lies over an X-ray, seen in the pictures that the views draw."""

import numpy as np
import pytest
from DeepReg2D3DLib.mrml import cleanup
from DeepReg2D3DLib.mrml.layout import RegistrationLayout
from DeepReg2D3DLib.mrml.overlays import MODES, XRayOverlay
from DeepReg2D3DLib.mrml.views import place_slice_view
from DeepReg2D3DLib.mrml.xray_node import create_xray_node
from DeepReg2D3DLib.worker.results import ViewFrame

SIZE = (320, 240)


def disc(camera, centre, radius):
    """A disc of 1 at ``centre`` (u, v in the full 80 x 60 image), on the grid of ``camera`` over the same field."""
    v, u = np.mgrid[: camera.rows, : camera.columns]
    scale = camera.columns / 80
    u, v = (u + 0.5) / scale - 0.5, (v + 0.5) / scale - 0.5
    return (np.hypot(u - centre[0], v - centre[1]) <= radius).astype(np.float32)


@pytest.fixture
def overlay_and_view(scene, make_camera, open_view):
    camera = make_camera(30)
    node = create_xray_node(scene, disc(camera, (20, 20), 8), camera)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 1)
    layout = RegistrationLayout(scene)
    layout.show([node])
    view = open_view(layout.slice_node(0), SIZE)
    place_slice_view(layout.slice_node(0), node)
    overlay = XRayOverlay(scene, node, layout.slice_node(0))
    yield overlay, view, camera
    overlay.remove()


def frame(camera, columns=160, rows=120, centre=(60, 40), **marks):
    small = camera.resized(columns, rows)
    return ViewFrame("AP", small.to_json(), 5 * disc(small, centre, 8), **marks)


def place(mask):
    """Middle of a mask in pixels (u, v) of the 80 x 60 image."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()]) / 4


def test_blend_shows_both_each_in_its_place(overlay_and_view):
    overlay, view, camera = overlay_and_view
    overlay.set_frame(frame(camera))
    picture = view.picture().astype(int)
    grey = (picture.max(-1) - picture.min(-1) < 12) & (picture.max(-1) > 60)
    coloured = picture[..., 0] - picture[..., 2] > 40
    np.testing.assert_allclose(place(grey), (20, 20), atol=1)
    np.testing.assert_allclose(place(coloured), (60, 40), atol=1)


@pytest.mark.parametrize("mode", ["blend", "edges"])
def test_soft_tissue_gets_no_colour_where_bone_is_judged(overlay_and_view, mode):
    overlay, view, camera = overlay_and_view
    small = camera.resized(160, 120)
    everything = np.full((120, 160), 3.0, np.float32)  # soft tissue all over, a disc of bone in it
    bone = 2 * disc(small, (60, 40), 8)
    overlay.set_mode(mode)
    overlay.set_frame(ViewFrame("AP", small.to_json(), everything + bone, bone=bone))
    picture = view.picture().astype(int)
    rows, columns = np.nonzero(picture[..., 0] - picture[..., 2] > 30)
    distance = np.hypot(columns / 4 - 60, rows / 4 - 40)
    assert len(distance) > 50 and distance.max() < 10


def test_a_mode_without_its_picture_shows_the_xray_alone(overlay_and_view):
    overlay, view, camera = overlay_and_view
    before = view.picture()
    small = camera.resized(160, 120)
    overlay.set_mode("difference")
    overlay.set_frame(ViewFrame("AP", small.to_json(), bone=disc(small, (60, 40), 8)))
    np.testing.assert_array_equal(view.picture(), before)
    overlay.set_mode("blend")
    assert (view.picture() != before).any()


def test_denser_bone_is_drawn_more_strongly(overlay_and_view):
    overlay, view, camera = overlay_and_view
    small = camera.resized(160, 120)
    bone = disc(small, (60, 40), 8) + 3 * disc(small, (60, 15), 8)
    overlay.set_frame(ViewFrame("AP", small.to_json(), bone=bone))
    picture = view.picture().astype(int)
    colour = picture[..., 0] - picture[..., 2]
    # The view leaves 2 % of air around the image's 320 x 240 screen pixels.
    assert 10 < colour[160, 240] < 0.7 * colour[60, 240]


def test_a_cropped_frame_lies_where_its_camera_says(overlay_and_view):
    overlay, view, camera = overlay_and_view
    part = camera.to_json()
    part["intrinsics"][0][2] -= 40  # the image from column 40 and row 30 on
    part["intrinsics"][1][2] -= 30
    part["columns"], part["rows"] = 40, 30
    drr = np.zeros((30, 40), np.float32)
    drr[5:15, 15:25] = 5
    overlay.set_frame(ViewFrame("AP", part, drr))
    picture = view.picture().astype(int)
    np.testing.assert_allclose(place(picture[..., 0] - picture[..., 2] > 40), (59.5, 39.5), atol=1)


def test_opacity_0_is_the_xray_alone(overlay_and_view):
    overlay, view, camera = overlay_and_view
    before = view.picture()
    overlay.set_frame(frame(camera))
    overlay.set_opacity(0.0)
    np.testing.assert_array_equal(view.picture(), before)
    overlay.set_opacity(1.0)
    assert (view.picture() != before).any()


def test_edges_are_a_ring_around_the_disc(overlay_and_view):
    overlay, view, camera = overlay_and_view
    overlay.set_mode("edges")
    overlay.set_frame(frame(camera))
    picture = view.picture().astype(int)
    ring = picture[..., 0] - picture[..., 2] > 40
    rows, columns = np.nonzero(ring)
    distance = np.hypot(columns / 4 - 60, rows / 4 - 40)
    assert len(distance) > 50
    assert np.abs(distance - 8).max() < 2


def test_checkerboard_shows_whole_tiles_of_each(overlay_and_view):
    overlay, view, camera = overlay_and_view
    overlay.set_mode("checkerboard")
    alone = view.picture()
    overlay.set_frame(frame(camera, 80, 60))  # tiles of 10 x 10 pixels of the image
    rows, columns = np.nonzero((view.picture() != alone).any(-1))
    # From the view, which leaves 2 % of air around the image, to the image's pixels; borders of tiles count to neither.
    u, v = (columns - 159.5) / 4 * 1.02 + 40, (rows - 119.5) / 4 * 1.02 + 30
    inner = (np.abs(u % 10 - 5) < 4) & (np.abs(v % 10 - 5) < 4)
    tiles = {(int(row), int(column)) for row, column in zip(v[inner] // 10, u[inner] // 10, strict=True)}
    assert tiles and all((row + column) % 2 == 1 for row, column in tiles)
    # The DRR's disc, around (60, 40), reaches into two such tiles.
    assert {(3, 6), (4, 5)} <= tiles


def test_difference_is_pale_where_both_agree_and_coloured_where_not(overlay_and_view):
    overlay, view, camera = overlay_and_view
    overlay.set_mode("difference")
    overlay.set_frame(frame(camera, 80, 60, centre=(20, 20)))
    same = view.picture().astype(int)
    assert (same.max(-1) - same.min(-1) < 40)[20:220, 20:300].mean() > 0.98
    overlay.set_frame(frame(camera, 80, 60, centre=(60, 40)))
    other = view.picture().astype(int)
    assert other[80, 80, 0] - other[80, 80, 2] > 60  # only in the X-ray: red
    assert other[160, 240, 2] - other[160, 240, 0] > 60  # only in the DRR: blue


def test_flicker_shows_one_and_then_the_other(overlay_and_view):
    overlay, view, camera = overlay_and_view
    xray = view.picture()
    overlay.set_mode("flicker")
    overlay.set_frame(frame(camera))
    first = view.picture()
    overlay.tick_flicker()
    np.testing.assert_array_equal(view.picture(), xray)
    overlay.tick_flicker()
    np.testing.assert_array_equal(view.picture(), first)
    assert (first != xray).any()


def test_contour_points_are_coloured_by_weight_and_flow_points_to_the_match(overlay_and_view):
    overlay, view, camera = overlay_and_view
    pixels = np.array([[20.0, 100.0], [140.0, 100.0]], np.float32)  # of the 160 x 120 grid
    marks = {"contour_pixels": pixels, "weights": np.array([0.0, 1.0], np.float32)}
    empty = frame(camera, centre=(-99, -99), **marks, flow=np.array([[0, -60], [0, -60]], np.float32))
    overlay.set_frame(empty)
    before = view.picture()
    overlay.show_points(True)
    picture = view.picture().astype(int)
    np.testing.assert_allclose(place(picture[..., 0] - picture[..., 1] > 80), (9.75, 49.75), atol=1)
    np.testing.assert_allclose(place(picture[..., 1] - picture[..., 0] > 80), (69.75, 49.75), atol=1)
    overlay.show_points(False)
    np.testing.assert_array_equal(view.picture(), before)
    overlay.show_flow(True)
    picture = view.picture().astype(int)
    green = picture[..., 1] - picture[..., 0] > 80
    rows = np.nonzero(green)[0] / 4
    assert rows.min() == pytest.approx(20, abs=1) and rows.max() == pytest.approx(50, abs=1)


def test_points_stay_over_a_finer_picture_of_the_same_pose(overlay_and_view):
    overlay, view, camera = overlay_and_view
    marks = {"contour_pixels": np.array([[40.0, 30.0]], np.float32), "weights": np.ones(1, np.float32)}
    overlay.show_points(True)
    overlay.set_frame(frame(camera, 80, 60, centre=(-99, -99), **marks))

    def green():
        picture = view.picture().astype(int)
        return picture[..., 1] - picture[..., 0] > 80

    where = np.argwhere(green())
    assert len(where)
    overlay.set_frame(frame(camera, 160, 120, centre=(-99, -99)), keep_marks=True)
    np.testing.assert_array_equal(np.argwhere(green()), where)
    overlay.set_frame(frame(camera, 160, 120, centre=(-99, -99)))
    assert not green().any()


def test_marks_of_one_view_are_not_seen_in_another(scene, overlay_and_view, make_camera, open_view):
    overlay, _view, camera = overlay_and_view
    node = create_xray_node(scene, np.zeros((60, 80)), make_camera(30, name="twin"))
    layout = RegistrationLayout(scene)
    layout.show([overlay.xray_node, node])
    twin = open_view(layout.slice_node(1), SIZE)
    place_slice_view(layout.slice_node(1), node)
    before = twin.picture()
    v, u = np.mgrid[:120:8, :160:8]
    pixels = np.stack([u.ravel(), v.ravel()], 1).astype(np.float32)
    overlay.set_frame(frame(camera, contour_pixels=pixels, weights=np.ones(len(pixels), np.float32)))
    overlay.show_points(True)
    np.testing.assert_array_equal(twin.picture(), before)


@pytest.mark.parametrize("mode", MODES)
def test_frames_of_changing_sizes_and_empty_ones_are_drawn(overlay_and_view, mode):
    overlay, view, camera = overlay_and_view
    overlay.set_mode(mode)
    for columns, rows in ((40, 30), (160, 120), (80, 60)):
        overlay.set_frame(frame(camera, columns, rows))
    overlay.set_frame(frame(camera, centre=(-99, -99)))
    overlay.set_frame(ViewFrame("AP", camera.to_json()))
    overlay.set_frame(None)
    view.picture()


def test_clear_and_remove_leave_the_xray_and_nothing_of_ours(scene, overlay_and_view):
    overlay, view, camera = overlay_and_view
    overlay.set_frame(frame(camera))
    overlay.clear()
    assert (view.picture().max(-1) - view.picture().min(-1)).max() == 0
    overlay.remove()
    assert cleanup.tagged(scene, "overlay") == [] and cleanup.tagged(scene, "marks") == []


def test_the_window_is_the_pictures_or_the_users(overlay_and_view):
    overlay, _view, camera = overlay_and_view
    assert overlay.window is None
    overlay.set_frame(frame(camera))
    assert overlay.window[1] >= 5
    overlay.set_window(1.0, 2.0)
    assert overlay.window == (1.0, 2.0)
    overlay.auto_window()
    assert overlay.window != (1.0, 2.0)
