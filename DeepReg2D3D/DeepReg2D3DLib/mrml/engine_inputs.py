"""Keeps the engine's CT, its region and the X-rays the same as the nodes chosen in the scene."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk

from ..i18n import tr as _
from ..worker.signals import Signal
from .ct import CtError, CtFile, CtTransfer, check_ct, ct_grid, ct_source
from .region import SEGMENTATION_CLASS, region_key, region_request
from .xray_node import camera_of, image_kind_of, image_of

# Several changes in a row (a scene that loads, a spin box that runs) make one upload.
SETTLE_SECONDS = 0.05


class EngineInputs:
    """Sends CT and X-rays to the engine whenever they, their image or their geometry change.

    Nothing is sent before there is a CT and at least one X-ray with a camera, so that choosing a CT alone doesn't start
    the engine. A CT in memory goes slab by slab on a timer; an unchanged CT on disk is read by the engine itself.

    Args:
        client: the engine's client.
        call_later: call_later(seconds, f) -> handle with cancel().
        may_start: says whether the engine can be started (its requirements are there).
    """

    def __init__(self, client, call_later: Callable, may_start: Callable[[], bool]) -> None:
        self.client = client
        self.changed = Signal()
        self.failed = Signal()  # (text)
        self.ct: slicer.vtkMRMLScalarVolumeNode | None = None
        self.xrays: list[slicer.vtkMRMLScalarVolumeNode] = []
        self._call_later, self._may_start = call_later, may_start
        self._wanted_ct = self._wanted_views = None
        self._sent_ct = self._sent_views = None
        self._loaded_ct = self._loaded_views = None
        # What the client loads again by itself after a crash: the last that the engine took.
        self._held_ct = self._held_views = None
        self.region, self.segment = None, ""
        # The engine forgets its region with each CT, so what it holds is a region of a CT: (its key, the CT's).
        self._wanted_region = self._sent_region = self._loaded_region = None
        self._region_on_its_way = False
        self.problem = ""
        self._transfer: CtTransfer | None = None
        self._timer = None
        self._observers: list[tuple] = []
        client.state_changed.connect(self._on_state)
        client.ready.connect(lambda *_: self._soon())
        client.ct_loaded.connect(self._on_reloaded)
        client.views_loaded.connect(self._on_reloaded)

    @property
    def complete(self) -> bool:
        """There is a CT and at least one X-ray with a camera."""
        return self._wanted_ct is not None and bool(self._wanted_views)

    @property
    def ct_key(self):
        """Changes when the CT's voxels or grid do; None without a CT."""
        return self._wanted_ct

    @property
    def views_key(self):
        """Changes when an X-ray, its image or its geometry does."""
        return self._wanted_views

    @property
    def ct_ready(self) -> bool:
        """The engine holds the CT."""
        return self._wanted_ct is not None and self._loaded_ct == self._wanted_ct

    @property
    def ready(self) -> bool:
        """The engine holds what the scene holds."""
        return (
            self.complete
            and self._loaded_ct == self._wanted_ct
            and self._loaded_views == self._wanted_views
            and self._loaded_region == self._wanted_region
        )

    def set(self, ct, xrays, region=None, segment: str = "") -> None:
        """Chooses CT and X-rays (nodes or None, list of nodes), and an ROI or a segment of the CT."""
        xrays = [node for node in xrays if node is not None and camera_of(node) is not None]
        self.segment = segment
        if ct is not self.ct or xrays != self.xrays or region is not self.region:
            self._unobserve()
            self.ct, self.xrays, self.region = ct, xrays, region
            self._observe_region()
            for node in [ct, *xrays]:
                if node is not None:
                    for event in (slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, vtk.vtkCommand.ModifiedEvent):
                        self._observers.append((node, node.AddObserver(event, self._on_node)))
            if ct is not None:
                moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
                self._observers.append((ct, ct.AddObserver(moved, self._on_ct_moved)))
        self._refresh()

    def _observe_region(self) -> None:
        if self.region is None:
            return
        moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        watched = [(self.region, vtk.vtkCommand.ModifiedEvent), (self.region, moved)]
        if self.region.IsA(SEGMENTATION_CLASS):
            segmentation = self.region.GetSegmentation()
            events = ("SourceRepresentationModified", "SegmentAdded", "SegmentRemoved")
            watched += [(segmentation, getattr(slicer.vtkSegmentation, event)) for event in events]
        for caller, event in watched:
            self._observers.append((caller, caller.AddObserver(event, self._on_region)))

    def _on_region(self, *_) -> None:
        """The pose above a region changes, too, which makes no other region of it."""
        if self._region_key() != self._wanted_region:
            self._refresh()

    def _region_key(self) -> tuple | None:
        if self.region is None or self._wanted_ct is None:
            return None
        try:
            return region_key(self.region, self.segment), self._wanted_ct
        except CtError:
            return (self.region.GetID(), "bent"), self._wanted_ct

    def _on_state(self, state: str, _text: str) -> None:
        if state not in ("failed", "stopped"):
            return
        self._loaded_ct = self._loaded_views = self._loaded_region = self._sent_region = None
        self._region_on_its_way = False
        self._drop_transfer()
        if state == "stopped":  # its files are gone too
            self._forget()
        # After a crash the client loads again what the engine had; what was on its way is lost and sent again.
        self._sent_ct, self._sent_views = self._held_ct, self._held_views
        self.changed.emit()

    def _on_reloaded(self, *_) -> None:
        """The client gave a new process what the last one had."""
        self._loaded_ct, self._loaded_views = self._held_ct, self._held_views
        self.changed.emit()
        self.send_now()

    def _forget(self) -> None:
        self._sent_region = self._loaded_region = None
        self._sent_ct = self._sent_views = self._loaded_ct = self._loaded_views = None
        self._held_ct = self._held_views = None

    def send_now(self) -> None:
        """Sends what is missing, starting the engine if need be."""
        self._timer = None
        if not self.complete or not self._may_start():
            return
        if self._sent_ct != self._wanted_ct:
            self._send_ct()
        elif self._sent_views != self._wanted_views:
            self._send_views()
        elif self._sent_region != self._wanted_region and self.ct_ready and not self._region_on_its_way:
            self._send_region()

    def close(self) -> None:
        self._unobserve()
        self._drop_transfer()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.ct, self.xrays, self.region, self.segment = None, [], None, ""
        self._wanted_ct = self._wanted_views = self._wanted_region = None
        self.problem = ""
        self._forget()

    def _on_node(self, *_):
        self._refresh()

    def _on_ct_moved(self, *_) -> None:
        """A transform above the CT changed; most often the pose, which isn't part of the CT's grid."""
        try:
            if _ct_key(self.ct) == self._wanted_ct:
                return
        except CtError:
            pass
        self._refresh()

    def _unobserve(self) -> None:
        for node, tag in self._observers:
            node.RemoveObserver(tag)
        self._observers = []

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = self._call_later(SETTLE_SECONDS, self.send_now)

    def _refresh(self) -> None:
        before = (self._wanted_ct, self._wanted_views, self._wanted_region)
        try:
            self._wanted_ct = _ct_key(self.ct)
        except CtError as problem:
            self._wanted_ct = None
            self._fail(str(problem))
        self._wanted_views = tuple(_view_key(node, name) for node, name in self.named_xrays())
        self._wanted_region = self._region_key()
        wanted = (self._wanted_ct, self._wanted_views, self._wanted_region)
        if wanted != before and self._wanted_ct is not None:
            self.problem = ""
        if wanted == before and self._timer is None and self.ready:
            return
        self._soon()
        if wanted != before:
            self.changed.emit()

    def _fail(self, text: str) -> None:
        self.problem = text
        self.failed.emit(text)

    def named_xrays(self) -> list[tuple]:
        """(node, name) pairs; names are unique, as the engine wants them."""
        taken: dict[str, int] = {}
        pairs = []
        for node in self.xrays:
            name = node.GetName() or "X-ray"
            taken[name] = taken.get(name, 0) + 1
            pairs.append((node, name if taken[name] == 1 else f"{name} ({taken[name]})"))
        return pairs

    def node_named(self, name: str):
        """The X-ray node behind a view's name, None if it is gone."""
        return next((node for node, given in self.named_xrays() if given == name), None)

    def _send_ct(self) -> None:
        self._drop_transfer()
        key = self._sent_ct = self._wanted_ct
        done, failed = self._ct_done(key), self._ct_failed(key)
        try:
            source = ct_source(self.ct)
        except CtError as problem:
            failed(str(problem))
            return
        if isinstance(source, CtFile):
            self.client.load_ct_file(
                str(source.path), self.ct.GetName(), source.ijk_to_ct, source.shape, on_done=done, on_error=failed
            )
            return
        self.client.start()
        try:
            self._transfer = CtTransfer(self.ct, self.client.folder)
        except CtError as problem:
            failed(str(problem))
            return
        self._slab()

    def _slab(self) -> None:
        transfer = self._transfer
        if transfer is None:
            return
        try:
            fraction = transfer.step()
        except CtError as problem:
            self._drop_transfer()
            self._ct_failed(self._sent_ct)(str(problem))
            return
        self.client.progress.emit(_("Handing the CT to the engine"), fraction)
        if not transfer.done:
            self._call_later(0.0, self._slab)
            return
        self._transfer = None
        key = self._sent_ct
        self.client.load_ct_array(
            transfer.array_ref,
            transfer.ijk_to_ct,
            self.ct.GetName(),
            on_done=self._ct_done(key),
            on_error=self._ct_failed(key),
        )

    def _ct_done(self, key):
        def done(_reply):
            self._loaded_ct = self._held_ct = key
            self._sent_region = self._loaded_region = None
            self.changed.emit()
            self.send_now()

        return done

    def _ct_failed(self, key):
        def failed(text):
            if self._sent_ct == key:
                self._fail(text)
                self.changed.emit()

        return failed

    def _send_views(self) -> None:
        key = self._sent_views = self._wanted_views
        views = [
            {
                "name": name,
                "camera": camera_of(node).to_json(),
                "image_kind": image_kind_of(node),
                "image": image_of(node),
            }
            for node, name in self.named_xrays()
        ]

        def done(_reply):
            self._loaded_views = self._held_views = key
            self.changed.emit()
            self.send_now()

        def failed(text):
            if self._sent_views == key:
                self._fail(text)
                self.changed.emit()

        self.client.set_views(views, on_done=done, on_error=failed)

    def _send_region(self) -> None:
        key = self._sent_region = self._wanted_region

        def done(_reply):
            self._region_on_its_way = False
            if self._sent_region == key:  # else the engine has got another CT meanwhile, and no region with it
                self._loaded_region = key
            self.changed.emit()
            self.send_now()

        def failed(text):
            self._region_on_its_way = False
            if self._sent_region == key and self._wanted_region == key:
                self._fail(text)
            self.changed.emit()
            self.send_now()

        try:
            request = region_request(self.region, self.segment) if key is not None else None
        except CtError as problem:
            failed(str(problem))
        else:
            # One at a time: while a box is dragged only the newest is worth the engine's work.
            self._region_on_its_way = True
            self.client.set_region(request, on_done=done, on_error=failed)

    def _drop_transfer(self) -> None:
        if self._transfer is not None:
            self._transfer.cancel()
            self._transfer = None


def _ct_key(node):
    """What makes a CT another CT for the engine: the node, its voxels, its grid."""
    if node is None or node.GetImageData() is None:
        return None
    scalars = node.GetImageData().GetPointData().GetScalars()
    if scalars is None:
        return None
    check_ct(node)
    return node.GetID(), scalars.GetMTime(), tuple(ct_grid(node).ravel())


def _view_key(node, name):
    image = node.GetImageData()
    time = image.GetPointData().GetScalars().GetMTime() if image is not None else 0
    camera = camera_of(node)
    return node.GetID(), name, time, image_kind_of(node), repr(camera.to_json())
