"""One registration run: start, step, stop, what it recorded, and what becomes of its pose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import vtk

from ..worker.signals import Signal
from .live import LiveOverlay
from .plots import ConvergencePlot
from .pose import PoseController
from .recording import RunRecording

# The 3D view follows a run at most this often; X-ray views follow every iteration.
THREED_INTERVAL_SECONDS = 0.25


class RunControl:
    """Runs registrations and keeps the record of the last one.

    `state` is "idle", "running", "paused" (after a step) or "stopping".

    Args:
        scene: the MRML scene.
        client: the engine's client.
        pose: the pose that the run starts from and moves.
        live: the overlays.
    """

    def __init__(self, scene, client, pose: PoseController, live: LiveOverlay) -> None:
        self._scene, self._client, self._pose, self._live = scene, client, pose, live
        self.changed = Signal()  # state, iteration or result changed
        self.iterated = Signal()  # (IterationResult)
        self.finished = Signal()  # (RunResult)
        self.checked = Signal()  # (RunResult): the last one, with the report after it was looked at again
        self.shown = Signal()  # (index): an iteration is replayed
        self.state = "idle"
        self.recording: RunRecording | None = None
        self.plot: ConvergencePlot | None = None
        self.iterations: list = []
        self.result = None
        self.start_pose: np.ndarray | None = None
        self._run = None
        self._shown = -1
        self._browsed: tuple | None = None  # sequence browser and our observer of it
        self._follow_3d: Callable[[np.ndarray, bool], None] = lambda pose, last: None
        client.iteration.connect(self._on_iteration)
        client.paused.connect(self._on_paused)
        client.finished.connect(self._on_finished)
        client.checked.connect(self._on_checked)
        pose.changed.connect(self._on_pose)

    def set_follower(self, follow: Callable[[np.ndarray, bool], None]) -> None:
        """`follow(pose, last)` moves what the 3D view shows."""
        self._follow_3d = follow

    @property
    def is_running(self) -> bool:
        return self.state in ("running", "stopping")

    def start(self, method: str, preset: str, device: str, steps: int | None = None, weights: str = "") -> None:
        """Starts a run from the present pose; with `steps` it pauses after as many iterations. weights: a folder of
        networks in place of the installed ones."""
        if self.is_running:
            return
        if self.state == "paused":
            self._resume(steps)
            return
        self._pose.checkpoint()
        self.start_pose = self._pose.pose.copy()
        self.iterations, self.result = [], None
        self._keep(RunRecording(self._scene, "Registration"))
        self._live.held = True
        self.state = "running"
        self._run = self._client.register(
            self.start_pose, method=method, preset=preset, device=device, steps=steps, weights=weights
        )
        self.changed.emit()

    def _resume(self, steps: int | None) -> None:
        self.state = "running"
        self._live.held = True
        self._client.resume(steps=steps)
        self.changed.emit()

    def stop(self) -> None:
        """Asks the run to stop; the pose reached stays."""
        if self.state in ("running", "paused"):
            self.state = "stopping"
            self._client.cancel()
            self.changed.emit()

    def abandon(self) -> None:
        """The scene or the inputs are gone: stop, and take nothing over."""
        if self.state != "idle":
            self._run = None
            self._client.cancel()
            self._end()

    def revert(self) -> None:
        """Back to the pose before the run."""
        if self.start_pose is not None and not self.is_running:
            self._pose.checkpoint()
            self._pose.set_pose(self.start_pose, source="revert")

    def show(self, index: int) -> None:
        """Replays iteration `index` of the record in the X-ray views. The pose stays what it is."""
        if self.is_running or not 0 <= index < len(self.iterations):
            return
        self._shown = index
        iteration = self.iterations[index]
        last = index == len(self.iterations) - 1
        self._live.held = not last
        if last:
            self._live.request()
        if iteration.views:
            self._live.draw(iteration.views, iteration.pose)
        elif not last:  # of a scene that was loaded: its pictures are made again
            self._live.show_pose(iteration.pose)
        self._follow_3d(iteration.pose, last)
        if self.recording is not None:
            self.recording.select(index)
        self.shown.emit(index)

    def redraw(self) -> None:
        """Draws again what the views show of a run or its replay, after they were made anew.

        While the overlays are held nobody else draws them, and the next iteration may be long in coming.
        """
        if not self._live.held:
            return
        if self.state == "idle":
            self.show(self._shown)
            return
        for iteration in reversed(self.iterations):
            if any(view.drr is not None or view.bone is not None for view in iteration.views):
                self._live.draw(iteration.views, iteration.pose)
                return

    def adopt(self, sequence) -> None:
        """Takes over the record of a scene that was loaded, so that it replays."""
        if self.recording is not None or self.state != "idle" or sequence is None:
            return
        recording = RunRecording.of_scene(self._scene, sequence)
        if recording is not None:
            self.iterations = recording.iterations()
            self._shown = len(self.iterations) - 1
            recording.select(self._shown)
            self._keep(recording)
            self.changed.emit()

    def forget(self) -> None:
        """Drops the record (the scene was closed, or other inputs were chosen)."""
        self.abandon()
        self.iterations, self.result, self.start_pose = [], None, None
        self._keep(None)
        self._live.held = False
        self.changed.emit()

    def follow_hardening(self, pose: np.ndarray) -> None:
        """The pose (4, 4) was written into the CT: the record moves the CT as it is now to the same places."""
        back = np.linalg.inv(pose)
        self.iterations = [replace(iteration, pose=iteration.pose @ back) for iteration in self.iterations]
        if self.start_pose is not None:
            self.start_pose = self.start_pose @ back
        if self.recording is not None:
            self.recording.follow_hardening(pose)

    def _keep(self, recording: RunRecording | None) -> None:
        """Another record, with its plot; the record before stays in the scene, its plot doesn't."""
        if self._browsed is not None:
            browser, tag = self._browsed
            browser.RemoveObserver(tag)
            self._browsed = None
        if self.plot is not None:
            self.plot.remove()
        self.recording = recording
        self.plot = ConvergencePlot(self._scene, recording.table) if recording is not None else None
        if recording is not None and recording.browser is not None:
            tag = recording.browser.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_browsed)
            self._browsed = recording.browser, tag

    def _on_browsed(self, *_) -> None:
        """The iteration was chosen in Slicer's sequence toolbar."""
        index = self.recording.selected if self.recording is not None else -1
        if self.state == "idle" and index >= 0 and index != self._shown:
            self.show(index)

    def _on_iteration(self, iteration) -> None:
        if self._run is None or iteration.run != self._run:
            return
        self.iterations.append(iteration)
        self.recording.append(iteration)
        self._pose.set_pose(iteration.pose, source="registration")
        self._live.draw(iteration.views, iteration.pose)
        self._follow_3d(iteration.pose, False)
        self.iterated.emit(iteration)

    def _on_pose(self, _pose, source: str) -> None:
        # Moved by hand between two steps: the next one begins a run from there.
        if self.state == "paused" and source != "registration":
            if self.recording is not None:
                self.recording.finish("cancelled")
            self.abandon()
        elif source != "registration":
            self.end_replay()

    def end_replay(self) -> None:
        """The views show the present pose again, where they show an iteration of the record."""
        if self.state == "idle" and self._live.held:
            self._live.held = False
            self._shown = len(self.iterations) - 1
            self._live.request()
            self.shown.emit(self._shown)

    def _on_paused(self, run: str, _pose) -> None:
        if run == self._run and self.state == "running":
            self.state = "paused"
            self.changed.emit()

    def _on_finished(self, result) -> None:
        if self._run is None or result.run != self._run:
            return
        self.result = result
        if result.pose is not None and self.iterations:
            self._pose.set_pose(result.pose, source="registration")
            self._follow_3d(np.asarray(result.pose), True)
        if self.recording is not None:
            self.recording.finish(result.status)
        self._end()
        self.finished.emit(result)

    def _on_checked(self, run: str, report) -> None:
        if self.result is not None and self.result.run == run:
            self.result = replace(self.result, report=report)
            self.checked.emit(self.result)

    def _end(self) -> None:
        self.state = "idle"
        self._shown = len(self.iterations) - 1
        self._run = None
        self._live.held = False
        self._live.request()
        self.changed.emit()
