"""What can be done with the pose: set, load, save, center, usual poses, automatic start, landmarks."""

from __future__ import annotations

import numpy as np

from ..mrml.frames import PoseNumbers

# How the patient lies in the X-rays against how the CT was scanned (supine, head first): degrees about x, y, z, RAS.
TURNS = {
    "supine": (0.0, 0.0, 0.0),
    "prone": (0.0, 0.0, 180.0),
    "left": (0.0, 0.0, 90.0),
    "right": (0.0, 0.0, -90.0),
    "feet-first": (0.0, 180.0, 0.0),
    "feet-first-prone": (180.0, 0.0, 0.0),
}


class PoseActions:
    """A part of `RegistrationLogic`. Poses are (4, 4) ct_to_world, LPS mm.

    Attributes:
        landmarkFit: what the engine said of the landmarks last (see `EngineClient.landmark_pose`), None after they,
            the X-rays or the geometry changed.
    """

    def pose(self) -> np.ndarray:
        """The present pose."""
        return self.session.pose.pose

    def setPose(self, pose) -> None:
        """Sets the pose (one step for Undo)."""
        self.session.pose.checkpoint()
        self.session.pose.set_pose(np.asarray(pose, float), source="script")

    def resetPose(self) -> None:
        """Back to the pose that the transform had when it was chosen, or to the one accepted last."""
        self.session.pose.reset()

    def centerPose(self, wait: bool = True) -> None:
        """Moves the CT without turning it, so that its center (or that of the region) lies where the X-rays look."""
        self._center(lambda: self.pose()[:3, :3], wait)

    def applyPosePreset(self, kind: str, wait: bool = False) -> None:
        """A usual pose: supine, prone, left, right (lying on that side), feet-first, feet-first-prone; centered."""
        turned = PoseNumbers(np.zeros(3), np.asarray(TURNS[kind]))
        self._center(lambda: self.session.pose.from_numbers(turned)[:3, :3], wait)

    def poseFromAngles(self, primary_deg: float, secondary_deg: float, wait: bool = True) -> None:
        """Turns the CT so that the first X-ray sees it as a C-arm at these positioner angles does; centered."""
        self._center(None, wait, (primary_deg, secondary_deg))

    def _center(self, rotation, wait: bool, angles_deg=None) -> None:
        done = self._begin()

        def centred(reply):
            given = np.asarray(reply["ct_to_world"], float)
            middle = (given @ np.append(self.session.pose.centre, 1.0))[:3]
            pose = np.eye(4)
            pose[:3, :3] = rotation() if rotation is not None else given[:3, :3]
            pose[:3, 3] = middle - pose[:3, :3] @ self.session.point_of_interest
            self.setPose(pose)
            done.append(reply)

        self.client.initial_pose(centred, on_error=self._on_failure, angles_deg=angles_deg)
        self._wait(lambda: bool(done), wait, lambda: None)

    def automaticStart(self, wait: bool = True) -> None:
        """Looks for the pose in the X-rays, around the present one, which tells roughly how the patient lies."""
        done = self._begin()
        if self.searching:
            return
        self._search = done

        def found(reply):
            if self._search is done:
                self._search_ended()
                self.setPose(reply["ct_to_world"])
                done.append(reply)

        def failed(text):
            if self._search is done:
                self._search_ended()
                self._on_failure(text)

        self.message.emit("")
        self.client.initial_pose(found, kind="auto", on_error=failed, pose=self.pose())
        self.inputsChanged.emit()
        self._wait(lambda: bool(done), wait, lambda: None, seconds=600.0)

    @property
    def searching(self) -> bool:
        """The automatic start is looking for the pose."""
        return self._search is not None

    def stopAutomaticStart(self) -> None:
        """Gives up looking; the pose stays."""
        if self.searching:
            self.client.interrupt()

    def _abandon_search(self) -> None:
        """What is looked for is gone: gives up looking, and takes nothing over."""
        if self.searching:
            self._search.append(None)  # nobody is to wait for it any more
            self.client.interrupt()
            self._search_ended()

    def _search_ended(self) -> None:
        self._search = None
        self.inputsChanged.emit()

    # --- files ---

    def loadPose(self, path: str, wait: bool = True) -> None:
        """Reads a pose file (.json, .tfm)."""
        done = self._begin()

        def read(reply):
            self.setPose(reply["ct_to_world"])
            done.append(reply)

        self.client.read_pose(path, read, on_error=self._on_failure)
        self._wait(lambda: bool(done), wait, lambda: None)

    def savePose(self, path: str, wait: bool = True) -> None:
        """Writes the pose as .tfm (for Slicer and ITK) or .json."""
        done = self._begin()
        self.client.save_pose(path, self.pose(), self._saved(path, done), on_error=self._on_failure)
        self._wait(lambda: bool(done), wait, lambda: None)

    # --- landmarks ---

    def startFromLandmarks(self, wait: bool = True) -> dict | None:
        """The pose of the landmarks (see `session.landmarks`); returns what the engine says of the fit."""
        done = self._begin()
        inputs = self.session.inputs
        names = {node.GetID(): name for node, name in inputs.named_xrays()}
        marks = [
            {**pair, "clicks": {names[view]: pixel for view, pixel in pair["clicks"].items() if view in names}}
            for pair in self.session.landmarks.pairs()
        ]

        def solved(reply):
            self.setPose(reply["ct_to_world"])
            self.landmarkFit = {**reply, "views_key": inputs.views_key}
            self.inputsChanged.emit()
            done.append(reply)

        def failed(text):
            self.landmarkFit = {"error": text, "views_key": inputs.views_key}
            self.inputsChanged.emit()
            self._on_failure(text)

        self.message.emit("")
        self.client.landmark_pose(marks, solved, on_error=failed)
        return self._wait(lambda: bool(done), wait, lambda: done[0])
