"""The session on real nodes, with an engine that only notes what it is asked: what follows what."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk
from DeepReg2D3DLib.mrml.ct import ct_grid
from DeepReg2D3DLib.mrml.frames import grid_to_ras, matrix_from_vtk, vtk_from_matrix
from DeepReg2D3DLib.mrml.geometry_display import extent_of
from DeepReg2D3DLib.mrml.layout import composite_of
from DeepReg2D3DLib.mrml.live import OverlayOptions
from DeepReg2D3DLib.mrml.recording import RunRecording, recorded_poses
from DeepReg2D3DLib.mrml.region import new_box
from DeepReg2D3DLib.mrml.session import Session, SessionOptions
from DeepReg2D3DLib.mrml.view_interaction import ViewInteraction
from DeepReg2D3DLib.mrml.xray_node import camera_of, create_xray_node
from DeepReg2D3DLib.worker.arrays import ArrayFolder
from DeepReg2D3DLib.worker.results import IterationResult, RenderResult, RunResult, ViewFrame
from DeepReg2D3DLib.worker.signals import Signal

SIGNALS = "state_changed ready ct_loaded views_loaded rendered iteration paused finished checked progress".split()


class Engine:
    """Takes everything at once."""

    def __init__(self, folder):
        for name in SIGNALS:
            setattr(self, name, Signal())
        self.state, self.folder = "ready", folder
        self.cts, self.renders, self.regions = [], [], []

    def start(self):
        pass

    def load_ct_array(self, array, ijk_to_ct, name, on_done=None, on_error=None):
        self.cts.append(np.array(ijk_to_ct))
        on_done({})

    def set_views(self, views, on_done=None, on_error=None):
        on_done({})

    def set_region(self, region, on_done=None, on_error=None):
        self.regions.append((region, on_done, on_error))

    def render(self, pose, max_side=256, pictures=None):
        self.renders.append((np.array(pose), pictures))

    def bone_surface(self, on_done, on_error=None):
        pass

    def register(self, pose, **_choices):
        return "run1"

    def cancel(self):
        pass


class Later:
    """call_later whose calls are made by `run`."""

    def __init__(self):
        self.calls = []

    def __call__(self, _seconds, call):
        entry = [call]
        self.calls.append(entry)

        class Handle:
            def cancel(self):
                entry[0] = None

        return Handle()

    def run(self):
        for _ in range(50):
            if not self.calls:
                return
            call = self.calls.pop(0)[0]
            if call is not None:
                call()


@pytest.fixture
def session(scene, monkeypatch):
    monkeypatch.setattr(slicer.util, "RenderBlocker", contextlib.nullcontext)  # asks the application
    folder, later = ArrayFolder.create(), Later()
    made = Session(scene, Engine(folder), later, lambda: True, lambda node: None, lambda: None)
    made.later, made.problems = later, []
    made.inputs.failed.connect(made.problems.append)
    made.enter_views()
    yield made
    made.close()
    folder.remove()


@pytest.fixture
def loaded(session, scene, make_camera):
    """A session with a CT, two X-rays of different sizes and a pose that moves the CT by 5 mm (LPS x)."""
    ct = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(ct, np.zeros((4, 5, 6), np.int16))
    ct.SetIJKToRASMatrix(vtk_from_matrix(grid_to_ras(np.diag([1.0, 2.0, 3.0, 1.0]))))
    xrays = [
        create_xray_node(scene, np.zeros((60, 80)), make_camera(0, name="AP")),
        create_xray_node(scene, np.zeros((30, 50)), make_camera(90, columns=50, rows=30, name="Lateral")),
    ]
    session.pose_node = session.pose.create_node()
    session.sync(ct, xrays, session.pose_node, SessionOptions())
    session.later.run()
    pose = np.eye(4)
    pose[0, 3] = 5.0
    session.pose.set_pose(pose, "script")
    session.later.run()
    assert session.inputs.ready and session.layout.is_shown and len(session.live.overlays) == 2
    return session


def under(scene, node, matrix):
    """Puts a new transform directly above a node, below what was there."""
    made = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "user's")
    made.SetMatrixTransformToParent(vtk_from_matrix(matrix))
    made.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    node.SetAndObserveTransformNodeID(made.GetID())
    return made


def test_a_dragged_pose_is_no_other_ct(loaded):
    count = len(loaded.client.cts)
    pose = np.eye(4)
    pose[1, 3] = 7.0
    loaded.pose.set_pose(pose, "drag")
    loaded.later.run()
    assert len(loaded.client.cts) == count
    np.testing.assert_allclose(loaded.client.renders[-1][0], pose)


def test_a_users_transform_below_the_pose_moves_the_engines_ct_and_the_centre(loaded, scene):
    centre = loaded.pose.centre.copy()
    shift = np.eye(4)
    shift[2, 3] = 40.0
    users = under(scene, loaded.ct, shift)
    loaded.later.run()
    np.testing.assert_allclose(loaded.client.cts[-1][:3, 3], [0, 0, 40])
    np.testing.assert_allclose(loaded.pose.centre, centre + np.array([0, 0, 40]))
    shift[2, 3] = 60.0
    users.SetMatrixTransformToParent(vtk_from_matrix(shift))
    loaded.later.run()
    np.testing.assert_allclose(loaded.client.cts[-1][:3, 3], [0, 0, 60])
    np.testing.assert_allclose(loaded.pose.centre, centre + np.array([0, 0, 60]))
    assert loaded.pose.pose[0, 3] == pytest.approx(5.0)


def test_a_pose_hardened_by_the_user_is_used_up(loaded):
    world = vtk.vtkMatrix4x4()
    loaded.ct.HardenTransform()
    loaded.later.run()
    np.testing.assert_allclose(loaded.pose.pose, np.eye(4))
    assert loaded.ct.GetTransformNodeID() == loaded.pose.node.GetID()
    loaded.ct.GetIJKToRASMatrix(world)
    assert matrix_from_vtk(world)[0, 3] == pytest.approx(-5.0)  # RAS
    assert loaded.client.cts[-1][0, 3] == pytest.approx(5.0)


@pytest.mark.parametrize("by", ["the module", "the user"])
def test_a_record_follows_a_hardened_pose(loaded, by):
    loaded.run.start("dppc", "fast", "cpu")
    first = loaded.pose.pose.copy()
    for iteration in iterations_of(loaded, 3):
        pose = first.copy()
        pose[1, 3] = iteration.index
        loaded.client.iteration.emit(replace(iteration, pose=pose))
    loaded.client.finished.emit(RunResult("run1", "converged", pose, 2, 1.0, ""))
    grid = ct_grid(loaded.ct)
    before = [each.pose @ grid for each in loaded.run.iterations]
    said = []
    loaded.hardened.connect(said.append)
    if by == "the module":
        loaded.harden()
    else:
        loaded.ct.HardenTransform()
    loaded.later.run()
    assert len(said) == 1 and said[0] == pytest.approx(pose)
    now = ct_grid(loaded.ct)
    assert not np.allclose(now, grid)
    for index, (iteration, place) in enumerate(zip(loaded.run.iterations, before, strict=True)):
        np.testing.assert_allclose(iteration.pose @ now, place, atol=1e-6)
        np.testing.assert_allclose(recorded_poses(loaded.run.recording.sequence)[index], iteration.pose, atol=1e-6)
    loaded.run.revert()
    np.testing.assert_allclose(loaded.pose.pose @ now, first @ grid, atol=1e-6)


def test_an_xray_or_a_single_slice_is_no_ct(loaded, scene):
    xray = loaded.xrays[0]
    loaded.sync(xray, loaded.xrays, loaded.pose_node, SessionOptions())
    loaded.later.run()
    assert any("choose a CT" in text for text in loaded.problems)
    assert xray.GetTransformNodeID() is None
    assert not loaded.inputs.complete


def test_blend_asks_for_bone_and_difference_for_the_whole_ct(loaded):
    assert loaded.client.renders[-1][1] == ["bone"]
    count = len(loaded.client.renders)
    options = SessionOptions(overlay=OverlayOptions(mode="difference"))
    loaded.sync(loaded.ct, loaded.xrays, loaded.pose_node, options)
    assert [pictures for _pose, pictures in loaded.client.renders[count:]] == [["drr"]]


def frames(session, **marks):
    node = session.xrays[0]
    from DeepReg2D3DLib.mrml.xray_node import camera_of

    camera = camera_of(node)
    picture = np.ones((camera.rows, camera.columns), np.float32)
    return (ViewFrame(node.GetName(), camera.to_json(), picture, bone=picture, **marks),)


def test_contour_points_stay_after_the_run_until_the_pose_changes(loaded):
    options = SessionOptions(overlay=OverlayOptions(points=True))
    loaded.sync(loaded.ct, loaded.xrays, loaded.pose_node, options)
    overlay = loaded.live.overlays[loaded.xrays[0].GetID()]
    marks = {"contour_pixels": np.ones((5, 2), np.float32), "weights": np.ones(5, np.float32)}
    pose = loaded.pose.pose

    def shown():
        display = overlay._marks._points.GetDisplayNode()
        return bool(display.GetVisibility())

    loaded.run.start("dppc", "fast", "auto")
    loaded.client.iteration.emit(
        IterationResult("run1", 0, pose, 0.0, 5, 0.5, 0.1, True, "converged", frames(loaded, **marks))
    )
    assert shown()
    loaded.client.finished.emit(RunResult("run1", "converged", pose, 0, 0.1))
    loaded.client.rendered.emit(RenderResult(pose, frames(loaded), 0.1))
    assert shown()
    moved = pose.copy()
    moved[0, 3] += 1
    loaded.client.rendered.emit(RenderResult(moved, frames(loaded), 0.1))
    assert not shown()


def test_a_pose_moved_by_hand_between_two_steps_is_where_the_next_begins(loaded):
    start = loaded.pose.pose
    loaded.run.start("dppc", "fast", "auto", steps=1)
    loaded.client.iteration.emit(IterationResult("run1", 0, start, 0.0, 5, 0.5, 0.1, False, "", frames(loaded)))
    loaded.client.paused.emit("run1", start)
    assert loaded.run.state == "paused"
    moved = start.copy()
    moved[2, 3] += 9
    loaded.pose.set_pose(moved, "drag")
    assert loaded.run.state == "idle"
    loaded.client.finished.emit(RunResult("run1", "cancelled", start, 0, 0.1))  # comes late, counts no more
    np.testing.assert_allclose(loaded.pose.pose, moved)
    np.testing.assert_allclose(loaded.client.renders[-1][0], moved)
    loaded.run.start("dppc", "fast", "auto", steps=1)
    np.testing.assert_allclose(loaded.run.start_pose, moved)


class Interactor:
    """The few things that a drag asks of a view's interactor."""

    def __init__(self):
        self.shift = False

    def AddObserver(self, event, function, priority):
        setattr(self, event, function)
        return event

    def RemoveObserver(self, tag):
        pass

    def GetCommand(self, tag):
        return None

    def GetEventPosition(self):
        return 10, 10

    def GetControlKey(self):
        return False

    def GetShiftKey(self):
        return self.shift


def test_the_wheel_zooms_and_never_leaves_the_xray(loaded):
    interactor, view = Interactor(), loaded.layout.slice_node(0)
    ViewInteraction(interactor, view, loaded.xrays[0], loaded.pose, lambda: False)
    plane, width = matrix_from_vtk(view.GetSliceToRAS()), view.GetFieldOfView()[0]
    interactor.MouseWheelForwardEvent(interactor, "MouseWheelForwardEvent")
    assert view.GetFieldOfView()[0] == pytest.approx(width / 1.1)
    interactor.MouseWheelBackwardEvent(interactor, "MouseWheelBackwardEvent")
    assert view.GetFieldOfView()[0] == pytest.approx(width)
    np.testing.assert_allclose(matrix_from_vtk(view.GetSliceToRAS()), plane)
    view.SetSliceOffset(view.GetSliceOffset() + 30)  # by the view's own slider
    loaded.fit_views()
    np.testing.assert_allclose(matrix_from_vtk(view.GetSliceToRAS()), plane)


def test_the_users_tool_has_the_mouse(loaded, scene):
    interactor = Interactor()
    interaction = ViewInteraction(interactor, loaded.layout.slice_node(0), loaded.xrays[0], loaded.pose, lambda: True)
    tool = scene.AddNewNodeByClass("vtkMRMLInteractionNode")

    def pressed():
        interactor.LeftButtonPressEvent(interactor, "LeftButtonPressEvent")
        return interaction._release(None)

    tool.SetCurrentInteractionMode(tool.AdjustWindowLevel)
    assert not pressed()
    tool.SetCurrentInteractionMode(tool.ViewTransform)
    assert pressed()
    interactor.shift = True  # Slicer's pan
    assert not pressed()


def sync_region(session, node):
    session.sync(session.ct, session.xrays, session.pose_node, session.options, region=node)
    session.later.run()


def test_of_a_box_that_is_dragged_the_newest_is_sent(loaded, scene):
    roi = new_box(scene, loaded.ct, loaded.pose_node)
    sync_region(loaded, roi)
    assert len(loaded.client.regions) == 1 and not loaded.inputs.ready
    for x in (1, 2, 3):
        roi.SetCenter(x, 0, 0)
        loaded.later.run()
    assert len(loaded.client.regions) == 1  # the engine is at the first
    loaded.client.regions[0][1]({})
    loaded.later.run()
    assert len(loaded.client.regions) == 2
    region, done, _failed = loaded.client.regions[1]
    assert region["box"]["centre"] == pytest.approx([-3, 0, 0], abs=1e-4)
    done({})
    assert loaded.inputs.ready
    # The pose moves box and CT together: nothing is sent anew.
    loaded.pose.set_pose(np.eye(4), "script")
    loaded.later.run()
    assert len(loaded.client.regions) == 2
    sync_region(loaded, None)
    assert loaded.client.regions[2][0] is None
    loaded.client.regions[2][1]({})
    assert loaded.inputs.ready


def test_a_region_that_is_refused_is_said_and_blocks(loaded, scene):
    roi = new_box(scene, loaded.ct, loaded.pose_node)
    sync_region(loaded, roi)
    loaded.client.regions[0][2]("Region 'x': it lies outside CT 'CT'.")
    assert not loaded.inputs.ready and "outside" in loaded.inputs.problem and loaded.problems
    roi.SetCenter(5, 5, 5)
    loaded.later.run()
    loaded.client.regions[1][1]({})
    assert loaded.inputs.ready


def test_another_ct_gets_the_region_again(loaded, scene):
    roi = new_box(scene, loaded.ct, loaded.pose_node)
    sync_region(loaded, roi)
    loaded.client.regions[0][1]({})
    slicer.util.updateVolumeFromArray(loaded.ct, np.ones((4, 5, 6), np.int16))
    loaded.later.run()
    assert len(loaded.client.cts) == 2 and len(loaded.client.regions) == 2


def test_the_3d_view_of_the_layout_shows_the_whole_c_arm(loaded, scene):
    camera = scene.AddNewNodeByClass("vtkMRMLCameraNode")
    camera.SetLayoutName(loaded.layout.view_node.GetLayoutName())
    loaded.fit_views()
    eye, middle = np.array(camera.GetPosition()), np.array(camera.GetFocalPoint())
    points = extent_of(loaded.xrays)
    assert ((points - eye) @ (middle - eye) > 0).all()  # nothing lies behind it
    assert middle == pytest.approx(0.5 * (points.min(axis=0) + points.max(axis=0)))
    # What the user turned to afterwards stays when the same X-rays are shown again.
    camera.SetPosition(1, 2, 3)
    loaded.geometry_changed()
    loaded.later.run()
    assert camera.GetPosition() == pytest.approx((1, 2, 3))


def test_slices_of_the_ct_on_request(loaded, scene):
    assert loaded.layout.ct_slice_nodes == []
    loaded.sync(loaded.ct, loaded.xrays, loaded.pose_node, SessionOptions(ct_slices=True))
    loaded.later.run()
    nodes = loaded.layout.ct_slice_nodes
    assert [node.GetOrientation() for node in nodes] == ["Axial", "Sagittal", "Coronal"]
    bounds = [0.0] * 6
    loaded.ct.GetRASBounds(bounds)
    middle = 0.5 * (np.array(bounds[::2]) + np.array(bounds[1::2]))
    for node in nodes:
        assert matrix_from_vtk(node.GetSliceToRAS())[:3, 3] == pytest.approx(middle, abs=1e-3)
        assert composite_of(scene, node.GetLayoutName()).GetBackgroundVolumeID() == loaded.ct.GetID()


def test_a_replay_without_pictures_asks_for_them(loaded):
    run = loaded.run
    recording = RunRecording(loaded.scene, "Registration")
    for index in range(3):
        pose = np.eye(4)
        pose[0, 3] = index
        recording.append(IterationResult("run", index, pose, 1.0, 9, 0.5, 0.1, index == 2, "", ()))
    recording.finish("converged")
    run.adopt(recording.sequence)
    assert len(run.iterations) == 3 and run.plot is not None
    shown = []
    run.shown.connect(shown.append)
    run.show(0)
    pose, pictures = loaded.client.renders[-1]
    assert pose[0, 3] == 0 and pictures == ["bone"] and shown == [0]
    assert run.recording.selected == 0
    camera = camera_of(loaded.xrays[0])
    drr = np.ones((camera.rows, camera.columns), np.float32)
    view = ViewFrame("AP", camera.to_json(), drr)
    drawn = loaded.live.drawn
    loaded.client.rendered.emit(RenderResult(loaded.pose.pose, (view,), 0.0))
    assert loaded.live.drawn == drawn  # of the present pose: not what is replayed
    loaded.client.rendered.emit(RenderResult(pose, (view,), 0.0))
    assert loaded.live.drawn == drawn + 1
    # Slicer's sequence toolbar goes to another one.
    recording.browser.SetSelectedItemNumber(1)
    assert shown == [0, 1] and loaded.client.renders[-1][0][0, 3] == 1


def iterations_of(session, count: int) -> list[IterationResult]:
    """Iterations of "run1" with pictures that differ in their values."""
    found = []
    for index in range(count):
        views = []
        for node, name in session.inputs.named_xrays():
            camera = camera_of(node)
            drr = np.full((camera.rows, camera.columns), float(index), np.float32)
            views.append(ViewFrame(name, camera.to_json(), drr, bone=drr))
        found.append(IterationResult("run1", index, np.eye(4), 1.0, 9, 0.5, 0.1, False, "", tuple(views)))
    return found


def drawn_values(session) -> list:
    """What the first pixel of each overlay's picture says; None without a picture."""
    frames = [overlay._frame for overlay in session.live.overlays.values()]
    return [None if frame is None else float(frame.drr[0, 0]) for frame in frames]


def test_who_comes_back_during_a_run_sees_its_last_picture(loaded):
    loaded.run.start("dppc", "fast", "cpu")
    for iteration in iterations_of(loaded, 3):
        loaded.client.iteration.emit(iteration)
    asked = len(loaded.client.renders)
    loaded.leave_views()
    loaded.later.run()
    assert not loaded.live.overlays
    loaded.enter_views()
    loaded.later.run()
    assert drawn_values(loaded) == [2.0, 2.0]
    assert len(loaded.client.renders) == asked  # the engine is busy with the run


def test_who_comes_back_to_a_replay_sees_what_was_replayed(loaded):
    loaded.run.start("dppc", "fast", "cpu")
    for iteration in iterations_of(loaded, 3):
        loaded.client.iteration.emit(iteration)
    loaded.client.finished.emit(RunResult("run1", "converged", np.eye(4), 2, 1.0, ""))
    loaded.run.show(1)
    loaded.leave_views()
    loaded.later.run()
    loaded.enter_views()
    loaded.later.run()
    assert drawn_values(loaded) == [1.0, 1.0]


def test_moving_the_ct_ends_a_replay(loaded):
    recording = RunRecording(loaded.scene, "Registration")
    for index in range(3):
        recording.append(IterationResult("run", index, np.eye(4), 1.0, 9, 0.5, 0.1, index == 2, "", ()))
    loaded.run.adopt(recording.sequence)
    loaded.run.show(0)
    assert loaded.live.held
    shown = []
    loaded.run.shown.connect(shown.append)
    pose = np.eye(4)
    pose[1, 3] = 9.0
    loaded.pose.set_pose(pose, "drag")
    assert not loaded.live.held and shown == [2]
    assert loaded.client.renders[-1][0] == pytest.approx(pose)
