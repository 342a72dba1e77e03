"""What the module can do, for the panel and for Python scripts: names as Slicer's users expect them (camelCase).

Poses that go in and out are (4, 4) numpy arrays ct_to_world in LPS mm, as in pose.json; None of the methods raises for
what a user can mend when called with `wait=False`: the text goes out through `message`. With `wait=True` they block,
with events processed, and raise RuntimeError with that text.
"""

from __future__ import annotations

import json

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from ..mrml.live import OverlayOptions
from ..mrml.session import Session, SessionOptions
from ..worker.client import EngineClient
from ..worker.signals import Signal
from ..worker.transports import QProcessTransport
from . import install
from .adaptation import ADAPTED_METHOD, Adaptation
from .application import interactorOf, letEventsHappen, volumeRenderingLogic
from .input_actions import REGION, InputActions
from .pose_actions import PoseActions
from .results import POSES, judgement, result_record
from .sequence_run import SequenceRun
from .study_run import StudyRun
from .timers import Timers

# The parameter node's reference to the sequence of the last run.
RECORD = "record"


class RegistrationLogic(InputActions, PoseActions):
    """The logic without its place in Slicer; `DeepReg2D3DLogic` adds the parameter node.

    Attributes:
        session: the parts at work (`mrml.session.Session`).
        client: the engine's client.
        parameters: the parameter node in use, None before `useParameters`.
        sampleTruth: the true pose of the sample loaded last, None without one.
        message: plain signal (text): what the user should know; empty text takes the last one back.
    """

    def __init__(self, requirementsPath: str) -> None:
        self._timers = Timers()
        self.callLater = self._timers.call_later
        self._requirements = install.requirements(requirementsPath)
        self._missing: list[str] | None = None
        self.message, self.inputsChanged, self.resultChanged = Signal(), Signal(), Signal()
        self.client = EngineClient(lambda: QProcessTransport(qt))
        self.session = Session(
            slicer.mrmlScene,
            self.client,
            self._timers.call_later,
            lambda: not self.missingRequirements(),
            interactorOf,
            volumeRenderingLogic,
        )
        self.parameters = None
        self.sampleTruth = None
        self._search: list | None = None  # where the automatic start that is looking puts its answer
        self.landmarkFit = None
        self._syncing = False
        self._deferred = None
        self._failures: list[str] = []
        for signal in (self.session.inputs.failed, self.session.files.failed):
            signal.connect(self._on_failure)
        # Warnings, too; what a request was refused for comes through its own callback.
        self.client.error.connect(lambda text, _detail: self.message.emit(text))
        self.session.run.finished.connect(self._on_finished)
        self.session.run.checked.connect(self._on_checked)
        self.session.hardened.connect(self._on_hardened)
        self.adaptation = Adaptation(self, lambda: QProcessTransport(qt))
        self.study = StudyRun(self)
        self.sequence = SequenceRun(self)
        self.session.landmarks.changed.connect(self._forget_fit)
        self.session.inputs.changed.connect(self._check_fit)

    def _forget_fit(self) -> None:
        self.landmarkFit = None

    def _check_fit(self) -> None:
        """Residuals are those of the X-rays and the geometry that they were computed with."""
        if self.landmarkFit is not None and self.landmarkFit.get("views_key") != self.session.inputs.views_key:
            self.landmarkFit = None

    # --- engine ---

    def requirements(self) -> list[str]:
        """The engine's requirements, as in requirements.txt."""
        return list(self._requirements)

    def missingRequirements(self) -> list[str]:
        """Those that aren't installed; asked once, until `requirementsChanged`."""
        if self._missing is None:
            self._missing = install.missing(self._requirements)
        return self._missing

    def requirementsChanged(self) -> None:
        self._missing = None
        self.session.inputs.send_now()
        self.inputsChanged.emit()

    def checkMissingRequirements(self) -> None:
        """Asks anew for those that weren't installed: they may have been meanwhile, elsewhere."""
        if self._missing:
            self.requirementsChanged()

    def startEngine(self) -> None:
        """Starts the engine (or starts it anew after a failure) and hands it the inputs."""
        if self.client.state == "failed":
            self.client.restart()
        else:
            self.client.start()
        self.session.inputs.send_now()

    def close(self) -> None:
        """Ends the engine and leaves the scene as it is, without anything of ours in the views."""
        self.adaptation.close()
        self.study.close()
        self.sequence.close()
        self.session.close()
        self.client.stop(wait_seconds=2.0)
        self._timers.close()

    # --- parameters ---

    def useParameters(self, parameters) -> None:
        """Follows this parameter node (a `DeepReg2D3DParameterNode`) from now on; None lets go of all nodes."""
        self.parameters = parameters
        if parameters is None:
            self._abandon_search()
            self.session.close()
            self.client.forget()
            self.message.emit("")
        self.sync()

    def sync(self) -> None:
        """Brings everything in step with the parameter node; called on each of its changes."""
        parameters = self.parameters
        if parameters is None or self._syncing:
            return
        if slicer.mrmlScene.IsBatchProcessing():  # a scene is being loaded or closed: half of it isn't there
            self.syncSoon(0.05)
            return
        self._syncing = True
        try:
            ct = parameters.ct
            if self.session.ct is not None and ct is not self.session.ct:  # what was found was about another CT
                self._abandon_search()
                parameters.result = parameters.weights = ""
                self.adaptation.discard()
                parameters.parameterNode.SetNodeReferenceID(RECORD, None)
                self.session.run.forget()
            if ct is not None and parameters.poseTransform is None:
                parameters.poseTransform = self._poseTransformFor(ct)
            window = None if parameters.autoWindow else (parameters.windowLow, parameters.windowHigh)
            overlay = OverlayOptions(
                parameters.overlayMode.value,
                parameters.overlayOpacity,
                window,
                parameters.showPoints,
                parameters.showFlow,
            )
            options = SessionOptions(
                overlay,
                parameters.handles3D,
                parameters.handles2D,
                parameters.dragOverlay,
                parameters.ctDisplay.value,
                parameters.showBeams,
                parameters.showLayout,
                parameters.showPlot,
                parameters.showCtSlices,
                parameters.showProjections,
            )
            xrays = [node for node in parameters.xrays if node is not None]
            record = parameters.parameterNode.GetNodeReference(RECORD)
            region = parameters.parameterNode.GetNodeReference(REGION)
            self.session.sync(ct, xrays, parameters.poseTransform, options, record, region, parameters.regionSegment)
        finally:
            self._syncing = False
        self.inputsChanged.emit()

    def syncSoon(self, seconds: float = 0.0) -> None:
        """`sync` in an event of its own, once for many calls."""
        if self._deferred is None:
            self._deferred = self.callLater(seconds, self._sync_deferred)

    def _sync_deferred(self) -> None:
        self._deferred = None
        self.sync()

    def presetName(self) -> str:
        return self.parameters.preset.value if self.parameters is not None else "accurate"

    def _poseTransformFor(self, ct):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", f"{ct.GetName()} pose")
        node.CreateDefaultDisplayNodes()
        return node

    # --- registration ---

    def register(self, wait: bool = True, method=None, preset=None, device=None) -> dict | None:
        """Registers from the present pose. Names of method, preset and device as on the command line; by default the
        panel's choices. With `wait` returns the result (see `result`)."""
        finished = self._begin()
        if wait:
            if not self.session.inputs.complete:
                raise RuntimeError(_("Choose a CT and at least one X-ray view with a geometry first."))
            self.session.inputs.send_now()
            self._wait(lambda: self.session.inputs.ready, True, lambda: None)
        self.session.run.finished.connect(finished.append)
        try:
            self.startRegistration(method=method, preset=preset, device=device)
            return self._wait(lambda: bool(finished), wait, self.result, seconds=3600.0)
        finally:
            if wait:
                self.session.run.finished.disconnect(finished.append)

    def startRegistration(self, method=None, preset=None, device=None, steps=None) -> None:
        """Starts a run, or goes on with a paused one."""
        self.message.emit("")
        if not self.session.inputs.ready:
            self._on_failure(_("The engine is not ready: choose a CT and at least one X-ray view with a geometry."))
            return
        parameters = self.parameters
        parameters.result = ""
        self.session.run.start(
            method or parameters.method.value,
            preset or parameters.preset.value,
            device or parameters.device.value,
            steps,
            parameters.weights if (method or parameters.method.value) == ADAPTED_METHOD else "",
        )

    def step(self) -> None:
        """Makes one iteration and waits."""
        self.startRegistration(steps=1)

    def stop(self) -> None:
        """Stops the run after its present iteration."""
        self.session.run.stop()

    def result(self) -> dict | None:
        """The last result: status, confidence (None: not calibrated), text, warnings, ct_to_world, numbers, similarity,
        iterations, seconds. None without one. What the engine finds when it looks at it again is added seconds later.
        """
        text = self.parameters.result if self.parameters is not None else ""
        return json.loads(text) if text else None

    def saveReport(self, path: str, wait: bool = True) -> None:
        """Writes report.json of the last run."""
        done = self._begin()
        self.client.save_report(path, self._saved(path, done), on_error=self._on_failure)
        self._wait(lambda: bool(done), wait, lambda: None)

    def accept(self) -> None:
        """The pose stays; it is where the next run starts and where Reset goes."""
        self.session.pose.set_home(self.pose())
        self._mark("accepted", True)

    def revert(self) -> None:
        """Back to the pose before the last run."""
        result = self.result()
        if result and result.get("start"):
            self.setPose(result["start"])
            self._mark("reverted", True)

    def harden(self) -> None:
        """Applies the pose to the CT itself."""
        if self.session.ct is not None:
            self.session.harden()
            self.sync()

    def _on_hardened(self, pose) -> None:
        """The poses of the result move the CT as it is now to the same places, so that Revert finds its way."""
        result, back = self.result(), np.linalg.inv(pose)
        if result is not None:
            moved = {name: (np.array(result[name]) @ back).tolist() for name in POSES if result.get(name)}
            self.parameters.result = json.dumps(result | moved)
        self.resultChanged.emit()

    def _mark(self, name: str, value) -> None:
        result = self.result()
        if result is not None:
            result["accepted"] = result["reverted"] = False
            result[name] = value
            self.parameters.result = json.dumps(result)
            self.resultChanged.emit()

    def _on_finished(self, finished) -> None:
        run = self.session.run
        if self.parameters is not None:
            if run.recording is not None and run.recording.sequence is not None:
                self.parameters.parameterNode.SetNodeReferenceID(RECORD, run.recording.sequence.GetID())
            record = result_record(finished, run.iterations, run.start_pose, self.session.pose)
            self.parameters.result = json.dumps(record)
        if finished.status == "failed":
            self._on_failure(finished.text)
        self.resultChanged.emit()

    def _on_checked(self, finished) -> None:
        """What a second look at the result found goes into its record."""
        result = self.result()
        if result is not None:
            self.parameters.result = json.dumps(result | judgement(finished))
            self.resultChanged.emit()

    # --- waiting ---

    def _begin(self) -> list:
        """An action begins: failures from now on are its own. Returns the list that its answer goes to."""
        self._failures = []
        return []

    def _saved(self, path: str, done: list):
        """What to do when a file was written."""

        def saved(reply):
            done.append(reply)
            self.message.emit(_("Saved {path}.").format(path=path))

        return saved

    def _on_failure(self, text: str, *_detail) -> None:
        self._failures.append(text)
        self.message.emit(text)

    def _wait(self, condition, wait: bool, value, seconds: float = 120.0):
        """With `wait`, lets events happen until `condition()`; a failure on the way is raised."""
        if not wait:
            return None
        ended = self.client.wait_until(lambda: condition() or bool(self._failures), seconds, pump=letEventsHappen)
        if not condition():
            late = _("The engine did not answer in time.")
            raise RuntimeError(self._failures[0] if ended and self._failures else late)
        return value()
