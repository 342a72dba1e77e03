"""Files and samples become nodes: X-ray images, geometry files and the built-in phantom, read by the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import slicer

from ..i18n import tr as _
from ..worker.signals import Signal
from .carm import assumed_camera
from .frames import grid_to_ras, vtk_from_matrix
from .xray_camera import XRayCamera
from .xray_node import (
    camera_of,
    create_xray_node,
    image_kind_of,
    provenance_of,
    set_camera,
    set_details,
    set_image_kind,
)

# Where an X-ray node's image came from, so that it can be read again with another meaning of its values.
PATH_ATTRIBUTE = "DeepReg2D3D.ImagePath"
# What its file's values were taken for; the node itself then holds line integrals.
FILE_KIND_ATTRIBUTE = "DeepReg2D3D.FileImageKind"
# Of a DICOM run: the frame that was read (a number from 1, 'mean' or 'maximum'), and how many there are.
FRAME_ATTRIBUTE, FRAMES_ATTRIBUTE = "DeepReg2D3D.Frame", "DeepReg2D3D.Frames"
ASSUMED = "assumed"
CT_WINDOW_HU = (-200.0, 500.0)
NUMBER_NAMES = (
    "source_to_detector_mm",
    "source_to_isocenter_mm",
    "pixel_spacing_mm",
    "principal_point_px",
    "angles_deg",
    "mirrored",
)


def provenance(source: str, **special: str) -> dict[str, str]:
    """Where each number of a view came from: all from `source`, save the `special` ones."""
    return {**dict.fromkeys(NUMBER_NAMES, source), **special}


class InputFiles:
    """Reads inputs through the engine and makes nodes of them. Replies come later, through callbacks.

    Args:
        scene: the MRML scene.
        client: the engine's client.
        call_later: call_later(seconds, f) -> handle with cancel().
    """

    def __init__(self, scene, client, call_later: Callable) -> None:
        self._scene, self._client, self._call_later = scene, client, call_later
        self.failed = Signal()  # (text)

    def load_xray(self, path: str | Path, on_node: Callable, kind: str = "auto", camera: XRayCamera | None = None,
                  lateral: bool = False, name: str | None = None, source: str | None = None,
                  frame: int | str | None = None) -> None:  # fmt: skip
        """Reads an image file; `on_node(node)` follows. Without `camera` a usual one is assumed, and said to be."""
        path = Path(path)

        def done(reply):
            known = camera
            origin = source or "geometry file"
            if known is None and reply.get("camera"):
                known, origin = XRayCamera.from_json(reply["camera"]), "DICOM"
            if known is None:
                known, origin = assumed_camera(reply["columns"], reply["rows"], path.stem, lateral), ASSUMED
            node = create_xray_node(
                self._scene, reply["image"], known, "line_integral", reply.get("provenance") or provenance(origin)
            )
            node.SetName(name or known.name or path.stem)
            node.SetAttribute(PATH_ATTRIBUTE, str(path))
            node.SetAttribute(FILE_KIND_ATTRIBUTE, kind)
            if frame is not None:
                node.SetAttribute(FRAME_ATTRIBUTE, str(frame))
            _note_frame(node, reply)
            if reply.get("details"):
                set_details(node, reply["details"])
            if reply.get("warnings"):
                self._client.error.emit(" ".join(reply["warnings"]), "")
            on_node(node)

        self._client.read_xray(
            str(path), done, camera=camera.to_json() if camera else None, image_kind=kind, on_error=self.failed.emit,
            frame=frame,
        )  # fmt: skip

    def load_geometry(
        self, path: str | Path, existing: list, on_nodes: Callable, coordinates: str | None = None
    ) -> None:
        """Reads a geometry file; `on_nodes(nodes)` gets the X-ray nodes in the file's order.

        Of other formats than geometry.json `coordinates` says what their world is: LPS or RAS.

        A view whose name an existing X-ray bears, or (where the file names no images) the one at its place, gets the
        camera; the others are loaded from the images that the file names.
        """
        path = Path(path)

        def done(reply):
            views = reply["views"]
            if reply.get("warnings"):
                self._client.error.emit(" ".join(reply["warnings"]), "")
            nodes: list = [None] * len(views)
            missing = []
            for index, view in enumerate(views):
                camera = XRayCamera.from_json(view["camera"])
                node = _same_view(view, index, existing)
                if node is None and view.get("path"):
                    missing.append((index, view, camera))
                elif node is None:
                    text = _("{file}: view '{view}' names no image. Load its X-ray first, then the geometry.")
                    self.failed.emit(text.format(file=path.name, view=view["name"]))
                else:
                    self._give_camera(node, camera, path.name)
                    nodes[index] = node

            def loaded(index):
                def put(node):
                    nodes[index] = node
                    missing[:] = [item for item in missing if item[0] != index]
                    if not missing:
                        on_nodes([n for n in nodes if n is not None])

                return put

            if not missing:
                on_nodes([n for n in nodes if n is not None])
            for index, view, camera in list(missing):
                self.load_xray(
                    view["path"], loaded(index), view.get("image_kind", "auto"), camera, name=view["name"],
                    source=path.name, frame=view.get("frame"),
                )  # fmt: skip

        sizes = [(camera_of(node).columns, camera_of(node).rows) for node in existing]
        self._client.read_geometry(
            str(path), done, on_error=self.failed.emit, coordinates=coordinates, sizes=sizes if coordinates else ()
        )

    def _give_camera(self, node, camera: XRayCamera, file_name: str) -> None:
        present = camera_of(node)
        if (camera.columns, camera.rows) != (present.columns, present.rows):
            text = _(
                "{file}: view '{view}' is {columns} x {rows} pixels, the image '{image}' {own_columns} x {own_rows}; "
                "its geometry was left as it is."
            )
            self.failed.emit(
                text.format(
                    file=file_name, view=camera.name, columns=camera.columns, rows=camera.rows, image=node.GetName(),
                    own_columns=present.columns, own_rows=present.rows,
                )
            )  # fmt: skip
            return
        set_camera(node, camera, provenance(file_name))

    def adopt_volume(self, volume, lateral: bool = False):
        """An image that is already in the scene becomes an X-ray node of its own (the image itself isn't touched).

        Returns:
            The node; None (and `failed`) where the volume isn't one grey slice.
        """
        array = slicer.util.arrayFromVolume(volume)
        if array.ndim != 3 or array.shape[0] != 1:
            text = _(
                "'{name}' has the shape {shape}: an X-ray is one slice of grey values. "
                "For a sequence, choose one of its images."
            )
            self.failed.emit(text.format(name=volume.GetName(), shape=array.shape))
            return None
        rows, columns = array.shape[1:]
        spacing = volume.GetSpacing()
        known = abs(spacing[0] - 1.0) > 1e-9 or abs(spacing[1] - 1.0) > 1e-9
        name = volume.GetName()
        camera = assumed_camera(columns, rows, name, lateral, spacing[0] if known else None)
        special = {"pixel_spacing_mm": "image"} if known else {}
        node = create_xray_node(
            self._scene, np.array(array[0], np.float32), camera, "auto", provenance(ASSUMED, **special)
        )
        node.SetName(name)
        return node

    def reread(self, node, on_done: Callable, kind: str, frame: int | str | None = None) -> None:
        """Takes the X-ray's values for another kind, or another frame of its run: reads its file again.

        Of an image that was in the scene the engine is told the kind. Another frame of a DICOM run brings its own
        geometry, where nobody has entered one.
        """
        path = node.GetAttribute(PATH_ATTRIBUTE)
        if not path:
            set_image_kind(node, kind)
            on_done()
            return
        frame = frame if frame is not None else frame_of(node)
        own = "DICOM" in provenance_of(node).values() and "user" not in provenance_of(node).values()

        def done(reply):
            if node.GetScene() is None:
                return
            slicer.util.arrayFromVolume(node)[0] = reply["image"]
            slicer.util.arrayFromVolumeModified(node)
            node.SetAttribute(FILE_KIND_ATTRIBUTE, kind)
            _note_frame(node, reply if "frames" in reply else {"frame": frame})
            if reply.get("provenance"):
                set_details(node, reply.get("details") or {})
                set_camera(node, XRayCamera.from_json(reply["camera"]), reply["provenance"])
            on_done()

        self._client.read_xray(
            path, done, camera=None if own else camera_of(node).to_json(), image_kind=kind, on_error=self.failed.emit,
            frame=frame,
        )  # fmt: skip

    def _ct_node(self, ct: dict):
        """A volume node of a CT that the engine made: {"array", "ijk_to_ct", "name"}."""
        node = self._scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", ct.get("name") or "Phantom CT")
        slicer.util.updateVolumeFromArray(node, np.array(ct["array"]))
        node.SetIJKToRASMatrix(vtk_from_matrix(grid_to_ras(np.asarray(ct["ijk_to_ct"], float))))
        # With a window of its own: finding one takes as long as all the rest.
        display = self._scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(*CT_WINDOW_HU)
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        node.SetAndObserveDisplayNodeID(display.GetID())
        return node

    def load_sample(self, on_done: Callable, seed: int = 0) -> None:
        """The phantom CT with its X-rays; `on_done(ct, xrays, start, truth)`, the poses (4, 4) LPS."""

        # One node an event: together they would hold the window for a tenth of a second.
        def done(reply):
            ct = self._ct_node(reply["ct"])
            self._call_later(0.0, lambda: next_view(reply, ct, []))

        def next_view(reply, ct, xrays):
            if ct.GetScene() is None:  # the scene was closed meanwhile
                return
            if len(xrays) == len(reply["views"]):
                on_done(ct, xrays, np.asarray(reply["start"], float), np.asarray(reply["truth"], float))
                return
            view = reply["views"][len(xrays)]
            camera = XRayCamera.from_json(view["camera"])
            node = create_xray_node(
                self._scene, np.asarray(view["image"]), camera, "line_integral", provenance("sample")
            )
            node.SetName(view["name"])
            self._call_later(0.0, lambda: next_view(reply, ct, [*xrays, node]))

        self._client.make_sample(done, seed=seed, on_error=self.failed.emit)


def _same_view(view: dict, index: int, existing: list):
    """The X-ray that a view of a geometry file speaks of."""
    for node in existing:
        if node.GetName() == view["name"]:
            return node
    if not view.get("path") and index < len(existing):
        return existing[index]
    return None


def frame_of(node) -> int | str | None:
    """The frame of a DICOM run that the X-ray shows; None where its file has but one."""
    text = node.GetAttribute(FRAME_ATTRIBUTE)
    return int(text) if text and text.isdigit() else text or None


def frames_of(node) -> int:
    """How many frames the X-ray's file has."""
    text = node.GetAttribute(FRAMES_ATTRIBUTE)
    return int(text) if text and text.isdigit() else 1


def _note_frame(node, reply: dict) -> None:
    if reply.get("frames", 1) > 1:
        node.SetAttribute(FRAMES_ATTRIBUTE, str(reply["frames"]))
    if frames_of(node) > 1 and reply.get("frame") is not None:
        node.SetAttribute(FRAME_ATTRIBUTE, str(reply["frame"]))


def is_assumed(node) -> bool:
    """Whether any number of the X-ray's geometry is only assumed."""
    return ASSUMED in (provenance_of(node) or {}).values()


def declared_kind(node) -> str:
    """What the values of the X-ray's file, or of its voxels, are taken for."""
    return node.GetAttribute(FILE_KIND_ATTRIBUTE) or image_kind_of(node)
