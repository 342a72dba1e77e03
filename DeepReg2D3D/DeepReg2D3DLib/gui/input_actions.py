"""What can be done with the inputs: load and choose CT, X-rays, their geometry, the region, a case and the sample."""

from __future__ import annotations

import numpy as np
import slicer

from ..mrml.input_files import PATH_ATTRIBUTE, declared_kind, frame_of, provenance
from ..mrml.region import new_box, segments_of
from ..mrml.xray_camera import XRayCamera
from ..mrml.xray_node import camera_of, set_camera
from .application import dicomFileOf

# The parameter node's reference to the ROI or segmentation that limits the registration.
REGION = "region"


class InputActions:
    """A part of `RegistrationLogic`."""

    def loadCT(self, path: str):
        """Loads a CT file and chooses it; returns its node (None, and a message, when it can't be read)."""
        node = self._load_volume(path)
        if node is not None:
            self.setCT(node)
        return node

    def _load_volume(self, path: str):
        try:
            return slicer.util.loadVolume(str(path))
        except RuntimeError as problem:
            self._on_failure(f"{path}: {problem}")
            return None

    def setCT(self, node) -> None:
        """Chooses the CT."""
        self.parameters.ct = node

    def loadXray(self, path: str, wait: bool = True, camera=None, kind: str = "auto", frame=None, name=None):
        """Loads an X-ray image file as a view, with `camera` (XRayCamera), or its DICOM geometry, or one assumed.

        `kind` says what its values are: "auto", "intensity" (bone dark) or "line_integral" (bone bright). `frame`: of
        a DICOM run, a number from 1, "mean" or "maximum".
        """
        made = self._begin()

        def done(node):
            made.append(node)
            self._append(node)

        self.session.files.load_xray(
            path, done, kind, camera=camera, lateral=bool(self.session.xrays), frame=frame, name=name
        )
        return self._wait(lambda: bool(made), wait, lambda: made[0])

    def addXray(self, volume, wait: bool = True):
        """Makes a view of an image that is in the scene; returns its node or None.

        One that came from Slicer's DICOM database is read again from its file, with its geometry.
        """
        path, frame = dicomFileOf(volume)
        if path and not self.missingRequirements():
            return self.loadXray(path, wait, frame=frame, name=volume.GetName())
        node = self.session.files.adopt_volume(volume, lateral=bool(self.session.xrays))
        if node is not None:
            self._append(node)
        return node

    def region(self):
        """The ROI or segmentation that limits the registration, None for the whole CT."""
        return self.parameters.parameterNode.GetNodeReference(REGION)

    def setRegion(self, node, segment: str = "") -> None:
        """Registers an ROI's content, or one segment (by id or name) of a segmentation, alone; None: the whole CT."""
        known = segments_of(node)
        chosen = next((identity for identity, name in known if segment in (identity, name)), "")
        if known and not chosen:
            chosen = known[0][0]
        modified = self.parameters.StartModify()
        self.parameters.parameterNode.SetNodeReferenceID(REGION, node.GetID() if node is not None else None)
        self.parameters.regionSegment = chosen
        self.parameters.EndModify(modified)
        self.sync()

    def addRegionBox(self):
        """A new box around the CT's middle as the region, with handles; returns its ROI node."""
        node = new_box(slicer.mrmlScene, self.session.ct, self.session.pose.node)
        self.setRegion(node)
        return node

    def removeXray(self, node) -> None:
        """Takes a view out of the registration; its image stays in the scene."""
        self.parameters.xrays = [n for n in self.session.xrays if n is not node]

    def loadGeometry(self, path: str, wait: bool = True, coordinates=None):
        """Loads a geometry.json: cameras for the views there are, and the images that it names.

        With `coordinates` ("LPS" or "RAS") files of other formats, too: RTK's XML, 3x4 matrices, OpenCV's K, R, t.
        """
        made = self._begin()

        def done(nodes):
            made.append(nodes)
            present = self.session.xrays
            self.parameters.xrays = present + [node for node in nodes if node not in present]
            self.geometryChanged()

        self.session.files.load_geometry(path, self.session.xrays, done, coordinates)
        return self._wait(lambda: bool(made), wait, lambda: made[0])

    def saveGeometry(self, path: str, wait: bool = True) -> None:
        """Writes the cameras of all views: geometry.json, or another format by its suffix (world LPS)."""
        done = self._begin()
        views = [
            {
                "camera": {**camera_of(node).to_json(), "name": name},
                "image_kind": declared_kind(node),
                "path": node.GetAttribute(PATH_ATTRIBUTE),
                "frame": frame_of(node),
            }
            for node, name in self.session.inputs.named_xrays()
        ]
        self.client.save_geometry(path, views, self._saved(path, done), on_error=self._on_failure)
        self._wait(lambda: bool(done), wait, lambda: None)

    def setGeometry(self, xray, camera) -> None:
        """Gives an X-ray node its camera: an `XRayCamera`, or the dictionary of its `to_json`."""
        known = camera if isinstance(camera, XRayCamera) else XRayCamera.from_json(camera)
        set_camera(xray, known, provenance("user"))
        self.geometryChanged()

    def geometryChanged(self) -> None:
        """A view's name or geometry was edited."""
        self.session.geometry_changed()
        self.inputsChanged.emit()

    def loadSample(self, wait: bool = True, seed: int = 0):
        """The phantom CT with a frontal and a lateral X-ray, and a first pose some way off the true one."""
        made = self._begin()

        def done(ct, xrays, start, truth):
            self._choose(ct, xrays, start, "sample")
            self.sampleTruth = truth
            made.append((ct, xrays, start, truth))

        self.message.emit("")
        self.session.files.load_sample(done, seed)
        return self._wait(lambda: bool(made), wait, lambda: made[0])

    def loadCase(self, folder: str, wait: bool = True):
        """Loads a case folder: its CT, its X-rays and its pose (the first start, else the truth), in place of what was
        chosen. That stays in the scene, and stays chosen where the case cannot be read. Returns (ct, xrays)."""
        made = self._begin()

        def read(case):
            self.session.files.load_geometry(case["geometry"], [], lambda xrays: loaded(case, xrays))

        def loaded(case, xrays):
            ct = self._load_volume(case["ct"])
            if ct is not None:
                self._choose(ct, xrays, np.eye(4) if case["ct_to_world"] is None else case["ct_to_world"], "case")
                made.append((ct, xrays))

        self.message.emit("")
        self.client.read_case(folder, read, on_error=self._on_failure)
        return self._wait(lambda: bool(made), wait, lambda: made[0])

    def _choose(self, ct, xrays: list, pose, source: str) -> None:
        """Chooses another CT, all of it, with its X-rays, under a transform of its own at ``pose`` (4, 4)."""
        pose = np.asarray(pose, float)
        modified = self.parameters.StartModify()
        self.parameters.parameterNode.SetNodeReferenceID(REGION, None)
        self.parameters.regionSegment = ""
        self.parameters.poseTransform = self._poseTransformFor(ct)
        self.parameters.ct, self.parameters.xrays, self.parameters.result = ct, xrays, ""
        self.parameters.EndModify(modified)
        self.session.pose.set_pose(pose, source=source)
        self.session.pose.set_home(pose)

    def _append(self, node) -> None:
        self.parameters.xrays = [*self.session.xrays, node]
