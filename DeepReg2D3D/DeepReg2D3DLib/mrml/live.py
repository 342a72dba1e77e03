"""The live overlay: a change of the pose becomes a rendering, a rendering becomes a picture in the X-ray views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import slicer

from .engine_inputs import EngineInputs
from .layout import RegistrationLayout
from .overlays import BONE_MODES, XRayOverlay
from .pose import PoseController
from .views import place_slice_view

# While the pose moves the DRR is drawn small; when it rests, in full.
MOVING_SIDE_PX = 256
RESTING_SIDE_PX = 512
REST_SECONDS = 0.3
FLICKER_SECONDS = 0.5


@dataclass(frozen=True)
class OverlayOptions:
    """How the overlay is drawn (see `XRayOverlay`)."""

    mode: str = "blend"
    opacity: float = 0.5
    window: tuple[float, float] | None = None  # None: automatic
    points: bool = False
    flow: bool = False


class LiveOverlay:
    """The overlays of all X-ray views and their rendering on demand.

    Args:
        scene: the MRML scene.
        client: the engine's client.
        inputs: what the engine holds.
        pose: the pose to show.
        layout: the X-ray views.
        call_later: call_later(seconds, f) -> handle with cancel().
    """

    def __init__(
        self,
        scene,
        client,
        inputs: EngineInputs,
        pose: PoseController,
        layout: RegistrationLayout,
        call_later: Callable,
    ) -> None:
        self._scene, self._client, self._inputs, self._pose, self._layout = scene, client, inputs, pose, layout
        self._call_later = call_later
        self._overlays: dict[str, XRayOverlay] = {}
        self._options = OverlayOptions()
        self._rest = self._flicker = None
        self._marked_pose: np.ndarray | None = None
        self._replayed: np.ndarray | None = None
        self.drawn = 0  # pictures put into views so far
        self.held = False  # a run or a replay draws the overlays itself
        client.rendered.connect(self._on_rendered)
        inputs.changed.connect(self._on_inputs)
        pose.changed.connect(self._on_pose)

    @property
    def overlays(self) -> dict[str, XRayOverlay]:
        """Overlay by id of the X-ray node."""
        return dict(self._overlays)

    def rebuild(self) -> None:
        """Makes one overlay for each X-ray shown in the layout; removes the others."""
        wanted = {node.GetID(): (node, slice_node) for node, slice_node in self._layout.shown()}
        for identity in [i for i in self._overlays if i not in wanted]:
            self._overlays.pop(identity).remove()
        for identity, (node, slice_node) in wanted.items():
            overlay = self._overlays.get(identity)
            if overlay is None or overlay.slice_node is not slice_node:
                if overlay is not None:
                    overlay.remove()
                overlay = self._overlays[identity] = XRayOverlay(self._scene, node, slice_node)
                self._apply(overlay)
            place_slice_view(slice_node, node)
        self.request()

    def set_options(self, options: OverlayOptions) -> None:
        """Draws all overlays this way from now on."""
        if options == self._options:
            return
        other_picture = (options.mode in BONE_MODES) != (self._options.mode in BONE_MODES)
        self._options = options
        with slicer.util.RenderBlocker():
            for overlay in self._overlays.values():
                self._apply(overlay)
        if other_picture:
            self._ask(self._replayed, RESTING_SIDE_PX) if self._replayed is not None else self.request()
        self._schedule_flicker()

    def _apply(self, overlay: XRayOverlay) -> None:
        options = self._options
        overlay.set_mode(options.mode)
        overlay.set_opacity(options.opacity)
        if options.window is None:
            overlay.auto_window()
        else:
            overlay.set_window(*options.window)
        overlay.show_points(options.points)
        overlay.show_flow(options.flow)

    def request(self, side: int = RESTING_SIDE_PX) -> None:
        """Asks the engine for DRRs of the present pose; the newest request wins."""
        if not self.held:
            self._replayed = None
            self._ask(self._pose.pose, side)

    def show_pose(self, pose: np.ndarray) -> None:
        """Shows another pose (4, 4) than the present one, while this is ``held`` for a replay."""
        self._replayed = np.array(pose)
        self._ask(self._replayed, RESTING_SIDE_PX)

    def _ask(self, pose: np.ndarray, side: int) -> None:
        if self._overlays and self._inputs.ready and self._client.state in ("ready", "busy"):
            picture = "bone" if self._options.mode in BONE_MODES else "drr"
            self._client.render(pose, max_side=side, pictures=[picture])

    def draw(self, views, pose=None, keep_marks: bool = False) -> None:
        """Shows frames in their views.

        pose: (4, 4) of an iteration, whose contour points then stay until another pose is drawn. keep_marks: these
        frames have none of their own and are drawn under those that are there.
        """
        if not keep_marks:
            self._marked_pose = pose
        with slicer.util.RenderBlocker():
            for frame in views:
                node = self._inputs.node_named(frame.name)
                overlay = self._overlays.get(node.GetID()) if node is not None else None
                if overlay is not None:
                    overlay.set_frame(frame, keep_marks)
                    self.drawn += 1

    @property
    def window(self) -> tuple[float, float] | None:
        """The window in which bone is drawn now; None before anything is drawn."""
        return next((overlay.window for overlay in self._overlays.values() if overlay.window is not None), None)

    def clear(self) -> None:
        """Takes the DRRs off the X-rays."""
        self._marked_pose = None
        for overlay in self._overlays.values():
            overlay.clear()

    def close(self) -> None:
        """Removes every overlay and stops all timers."""
        self._cancel("_rest")
        self._cancel("_flicker")
        for overlay in self._overlays.values():
            overlay.remove()
        self._overlays = {}

    def _on_pose(self, _pose, source) -> None:
        if self.held or source == "registration":
            return
        self.request(MOVING_SIDE_PX)
        self._cancel("_rest")
        self._rest = self._call_later(REST_SECONDS, self._on_rest)

    def _on_rest(self) -> None:
        self._rest = None
        self.request(RESTING_SIDE_PX)

    def _on_inputs(self) -> None:
        if self._inputs.ready:
            self.request()
        else:
            self.clear()

    def _on_rendered(self, result) -> None:
        replayed = self._replayed is not None and np.allclose(self._replayed, result.pose, rtol=0, atol=1e-6)
        if replayed or not self.held:
            marked = self._marked_pose
            same = marked is not None and np.allclose(marked, result.pose, rtol=0, atol=1e-6)
            self.draw(result.views, keep_marks=same)

    def _schedule_flicker(self) -> None:
        self._cancel("_flicker")
        if self._options.mode == "flicker":
            self._flicker = self._call_later(FLICKER_SECONDS, self._tick)

    def _tick(self) -> None:
        for overlay in self._overlays.values():
            overlay.tick_flicker()
        self._schedule_flicker()

    def _cancel(self, name: str) -> None:
        handle = getattr(self, name)
        if handle is not None:
            handle.cancel()
            setattr(self, name, None)
