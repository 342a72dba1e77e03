"""One registration session: the engine, the scene's nodes and the views, kept in step with each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..worker.signals import Signal
from .ct import CtError, check_ct, transform_chain
from .engine_inputs import EngineInputs
from .geometry_display import extent_of
from .input_files import InputFiles
from .landmark_lists import LandmarkLists
from .landmark_projections import LandmarkProjections
from .layout import RegistrationLayout
from .live import LiveOverlay, OverlayOptions
from .pose import PoseController
from .region import attach as attach_region
from .region import centre_of as centre_of_region
from .run_control import RunControl
from .threed import ThreeDScene
from .view_interaction import ViewInteraction
from .views import PinnedView, frame_3d, place_slice_view

# A view has its size only after the layout was built by the event loop.
FIT_SECONDS = 0.1


@dataclass(frozen=True)
class SessionOptions:
    """What the user chose, besides nodes."""

    overlay: OverlayOptions = field(default_factory=OverlayOptions)
    handles_3d: bool = False
    handles_2d: bool = False
    drag: bool = True
    ct_display: str = "surface"
    beams: bool = True
    show_layout: bool = True
    plot: bool = False
    ct_slices: bool = False
    projections: bool = True


class Session:
    """Ties everything together; the panel and scripts talk to its parts.

    Args:
        scene: the MRML scene.
        client: the engine's client.
        call_later: call_later(seconds, f) -> handle with cancel().
        may_start: says whether the engine's requirements are installed.
        interactor_of: f(slice_node) -> the view's render window interactor, None without a view.
        volume_rendering_logic: f() -> Slicer's volume rendering logic or None.
    """

    def __init__(
        self,
        scene,
        client,
        call_later: Callable,
        may_start: Callable[[], bool],
        interactor_of: Callable,
        volume_rendering_logic: Callable,
    ) -> None:
        self.scene, self.client = scene, client
        self._call_later, self._interactor_of = call_later, interactor_of
        self.layout_changed = Signal()
        self.hardened = Signal()  # (pose): it was written into the CT
        self.pose = PoseController(scene)
        self.layout = RegistrationLayout(scene)
        self.inputs = EngineInputs(client, call_later, may_start)
        self.files = InputFiles(scene, client, call_later)
        self.live = LiveOverlay(scene, client, self.inputs, self.pose, self.layout, call_later)
        self.run = RunControl(scene, client, self.pose, self.live)
        self.landmarks = LandmarkLists(scene, self.pose, call_later)
        self.projections = LandmarkProjections(scene, self.landmarks, self.pose)
        self.threed = ThreeDScene(scene, client, call_later, volume_rendering_logic)
        self.run.set_follower(self.threed.follow)
        self.options = SessionOptions()
        self._ct = self._ct_attached = None
        self._xrays: list = []
        self._interactions: list[ViewInteraction | PinnedView] = []
        self._in_views = False
        self.region, self.segment = None, ""
        self._framed: tuple = ()
        self._sliced = None
        self._fit = self._views_later = self._attach_later = self._follow_later = None
        self.pose.changed.connect(self._on_pose)
        self.run.changed.connect(self._show_plot)
        self.inputs.changed.connect(self._on_inputs)
        self.layout.left.connect(self.layout_changed.emit)

    @property
    def ct(self):
        return self._ct

    @property
    def xrays(self) -> list:
        return list(self._xrays)

    def sync(
        self, ct, xrays: list, pose_node, options: SessionOptions, record=None, region=None, segment: str = ""
    ) -> None:
        """Makes everything follow these nodes and choices. Cheap without a change.

        record: the sequence of a run. region: an ROI, or a segmentation of which ``segment`` is meant.
        """
        inputs_changed = ct is not self._ct or xrays != self._xrays
        if inputs_changed and self.run.state != "idle":
            self.run.abandon()
        if pose_node is not self.pose.node:
            self.pose.set_node(pose_node)
            self.landmarks.follow_pose_node()
        if ct is not self._ct:
            self._ct = ct
            self._attach_ct()
        self._xrays = list(xrays)
        if inputs_changed:
            self.landmarks.set_xrays(self._xrays)
        before, self.options = self.options, options
        self.region, self.segment = region, segment
        if region is not None and ct is not None:
            attach_region(region, ct, self.pose.node)
        self._set_inputs()
        self.run.adopt(record)
        if inputs_changed or before != options:
            self._apply_options(inputs_changed, before)

    def _apply_options(self, inputs_changed: bool, before: SessionOptions) -> None:
        options = self.options
        self.pose.set_handles(options.handles_3d and self._in_views, options.handles_2d and self._in_views)
        self.live.set_options(options.overlay)
        self.projections.set_visible(options.projections)
        if inputs_changed or _layout_of(before) != _layout_of(options):
            # In an event of its own: making views takes as long as all the rest.
            if self._views_later is None:
                self._views_later = self._call_later(0.0, self._show_views)
        self._show_3d()

    def enter_views(self) -> None:
        """The module was entered: its layout may be shown."""
        if not self._in_views:
            self._in_views = True
            self._show_views()
            self.pose.set_handles(self.options.handles_3d, self.options.handles_2d)
            self._show_3d()

    def leave_views(self) -> None:
        """The module was left: the user's layout comes back, nothing of ours stays in the views."""
        if self._in_views:
            self._in_views = False
            self.pose.set_handles(False, False)
            self.landmarks.stop_placing()
            self._show_views()
            self._show_3d()

    def show_views(self) -> None:
        """Shows the layout again, where the user has chosen another one meanwhile."""
        self._show_views()

    def fit_views(self) -> None:
        """Fits each X-ray into its view, the CT into its slices, and the C-arm into the 3D view."""
        self._framed, self._sliced = (), None
        self._fit_views()

    def _fit_views(self) -> None:
        self._fit = None
        for node, slice_node in self.layout.shown():
            if node.GetImageData() is not None:
                place_slice_view(slice_node, node)  # whoever moved the slice plane away gets the X-ray back
        # What the user turned to stays; another CT or other X-rays are shown whole.
        sliced = self._ct if self.layout.ct_slice_nodes else None
        if self._sliced is not sliced:
            self.layout.fit_ct_slices()
            self._sliced = sliced
        xrays = tuple(node.GetID() for node in self._xrays)
        if self.layout.is_shown and self._framed != xrays:
            if frame_3d(self.scene, self.layout.view_node, extent_of(self._xrays)):
                self._framed = xrays

    @property
    def point_of_interest(self) -> np.ndarray:
        """What is to lie in the beams' middle: the region's centre, else the CT's; (3,) in the CT's LPS."""
        centre = centre_of_region(self.region, self.segment) if self.region is not None else None
        return centre if centre is not None else self.pose.centre

    def _set_inputs(self) -> None:
        self.inputs.set(self._ct, self._xrays, self.region, self.segment)

    def geometry_changed(self) -> None:
        """An X-ray's camera was edited."""
        self._set_inputs()
        self.landmarks.set_xrays(self._xrays)
        self.projections.update()
        if self.layout.is_shown:
            self._show_views()
        self._show_3d()

    def close(self) -> None:
        """Takes everything out of the views and off the scene's nodes; the engine is ended by its owner."""
        self.run.forget()
        self.projections.close()
        self.landmarks.close()
        self.live.close()
        self.threed.close()
        self._remove_interactions()
        if self._fit is not None:
            self._fit.cancel()
            self._fit = None
        for name in ("_views_later", "_attach_later", "_follow_later"):
            if getattr(self, name) is not None:
                getattr(self, name).cancel()
                setattr(self, name, None)
        self.layout.restore()
        self.inputs.close()
        self.pose.set_node(None)
        self._ct = self._sliced = self.region = None
        self._xrays, self._framed = [], ()

    def _show_views(self) -> None:
        self._views_later = None
        self._remove_interactions()
        if self._in_views and self.options.show_layout and self._xrays:
            ct = self._ct if self.options.ct_slices else None
            self.layout.show(self._xrays, plot=self.options.plot, ct=ct)
        elif self.layout.is_shown:
            self.layout.restore()
        if self._attach_later is None:  # the views were made in this event, what they show is made in the next
            self._attach_later = self._call_later(0.0, self._attach_to_views)
        self.layout_changed.emit()

    def _attach_to_views(self) -> None:
        self._attach_later = None
        self._remove_interactions()
        self.live.rebuild()
        self.run.redraw()
        self.landmarks.show_in(self.layout.shown())
        self.projections.show_in(self.layout.shown())
        for node, slice_node in self.layout.shown():
            self._interactions.append(PinnedView(slice_node, node))
            interactor = self._interactor_of(slice_node)
            if interactor is not None:
                self._interactions.append(ViewInteraction(interactor, slice_node, node, self.pose, self._may_drag))
        if self.layout.is_shown and self._fit is None:
            self._fit = self._call_later(FIT_SECONDS, self._fit_views)
        self._show_plot()

    def _show_plot(self) -> None:
        if self.run.plot is not None and self.layout.is_shown and self.options.plot:
            self.run.plot.show(self.layout.plot_view_node)

    def _show_3d(self) -> None:
        shown = self._in_views
        self.threed.set_beams(self._xrays, shown and self.options.beams)
        how = self.options.ct_display if shown else "none"
        self.threed.show_ct(self._ct, self.inputs.ct_key, how, self.inputs.ct_ready)

    def _remove_interactions(self) -> None:
        for interaction in self._interactions:
            interaction.remove()
        self._interactions = []

    def _may_drag(self) -> bool:
        # Handles in the X-ray views take the mouse first; both at once would fight.
        return self.options.drag and not self.options.handles_2d and not self.run.is_running and self._ct is not None

    def _on_pose(self, pose: np.ndarray, source: str) -> None:
        if source != "registration":
            self.threed.follow(pose)

    def _attach_ct(self) -> None:
        """The CT goes under the pose, which turns about its centre."""
        self._ct_attached = None
        if self._ct is None:
            return
        try:
            check_ct(self._ct)
            self.pose.attach(self._ct)
            self.landmarks.follow_pose_node()
        except CtError as problem:
            self.inputs.failed.emit(str(problem))
        else:
            self._ct_attached = self.inputs.ct_key

    def _follow_hardening(self) -> None:
        """Where the user hardened the pose into the CT (in the Data module), the pose is used up."""
        before, now = self._ct_attached, self.inputs.ct_key
        if before is None or before[0] != now[0] or self.pose.node in transform_chain(self._ct):
            return
        old, new = (np.reshape(key[2], (4, 4)) for key in (before, now))
        if not np.allclose(old, new) and np.allclose(self.pose.pose @ old, new, rtol=0, atol=1e-3):
            pose = self.pose.pose.copy()
            self.pose.set_pose(np.eye(4), "harden")
            self.pose.set_home(np.eye(4))
            self._follow_used_up(pose)

    def harden(self) -> None:
        """Writes the pose into the CT itself."""
        if self._ct is not None:
            pose = self.pose.pose.copy()
            self.pose.harden(self._ct)
            self._follow_used_up(pose)

    def _follow_used_up(self, pose: np.ndarray) -> None:
        """What is told against the CT's grid follows a pose that is part of it now."""
        self.landmarks.follow_hardening(pose)
        self.run.follow_hardening(pose)
        self.hardened.emit(pose)

    def _on_inputs(self) -> None:
        if not self.inputs.ready:
            self.run.end_replay()
        # In an event of its own: hardening changes the grid first and takes the CT from its transform then.
        if self._follow_later is None and self._ct is not None and self.inputs.ct_key not in (None, self._ct_attached):
            self._follow_later = self._call_later(0.0, self._follow_ct)
        self._show_3d()

    def _follow_ct(self) -> None:
        """Another grid (somebody moved the CT below the pose, or took it from there): the centre is another, too."""
        self._follow_later = None
        if self._ct is not None and self._ct.GetScene() is self.scene and self.inputs.ct_key is not None:
            self._follow_hardening()
            self._attach_ct()


def _layout_of(options: SessionOptions) -> tuple:
    """What the layout depends on."""
    return options.show_layout, options.plot, options.ct_slices
