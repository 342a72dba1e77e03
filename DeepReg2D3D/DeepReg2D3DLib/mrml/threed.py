"""What the 3D view shows of a registration: the CT, and each X-ray's source, beam and detector."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from .ct_display import BoneSurface, show_volume_rendering
from .geometry_display import BeamModels

# The 3D view follows a moving pose at most this often: with software OpenGL a frame costs a tenth of a second.
INTERVAL_SECONDS = 0.25


class ThreeDScene:
    """Bone surface or volume rendering of the CT, and the beams.

    Args:
        scene: the MRML scene.
        client: the engine's client; it makes the bone surface.
        call_later: call_later(seconds, f) -> handle with cancel().
        volume_rendering_logic: f() -> Slicer's volume rendering logic or None.
    """

    def __init__(self, scene, client, call_later: Callable, volume_rendering_logic: Callable) -> None:
        self._scene, self._client, self._call_later = scene, client, call_later
        self._rendering_logic = volume_rendering_logic
        self._beams: dict[str, BeamModels] = {}
        self._surface: BoneSurface | None = None
        self._surface_of = self._asked_for = None
        self._shown_as = "none"
        self._ct = None
        self._pose = np.eye(4)
        self._moved = 0.0
        self._later = None

    def set_beams(self, xrays, visible: bool) -> None:
        """Shows the beams of these X-ray nodes, or hides all."""
        wanted = {node.GetID(): node for node in xrays} if visible else {}
        for identity in [i for i in self._beams if i not in wanted]:
            self._beams.pop(identity).remove()
        for identity, node in wanted.items():
            if identity in self._beams:
                self._beams[identity].update()
            else:
                self._beams[identity] = BeamModels(self._scene, node)

    def preview(self, node, camera) -> None:
        """Shows an X-ray's source, beam and detector where an edited camera has them; None: where its own has them."""
        if node.GetID() in self._beams:
            self._beams[node.GetID()].update(camera)

    def show_ct(self, ct, key, how: str, engine_ready: bool) -> None:
        """Shows the CT as "surface", "volume" or "none".

        Args:
            ct: the CT's node or None.
            key: changes when the CT's voxels do.
            how: the display.
            engine_ready: the engine holds this CT, so that it can make the surface.
        """
        if self._ct is not None and (self._ct is not ct or how != "volume") and self._shown_as == "volume":
            self._volume(self._ct, False)
        self._ct = ct
        self._shown_as = how if ct is not None else "none"
        if self._shown_as == "volume":
            self._volume(ct, True)
        if self._shown_as == "surface" and engine_ready and key not in (self._surface_of, self._asked_for):
            self._asked_for = key
            self._client.bone_surface(lambda reply: self._on_mesh(key, reply), on_error=lambda text: None)
        if self._surface is not None:
            self._surface.set_visible(self._shown_as == "surface" and self._surface_of == key)

    def follow(self, pose: np.ndarray, now: bool = False) -> None:
        """Moves the bone surface to the pose, at most every INTERVAL_SECONDS, the last pose always."""
        self._pose = np.asarray(pose)
        wait = INTERVAL_SECONDS - (time.monotonic() - self._moved)
        if now or wait <= 0:
            self._move()
        elif self._later is None:
            self._later = self._call_later(wait, self._move)

    def close(self) -> None:
        """Removes everything this shows."""
        self.set_beams([], False)
        if self._ct is not None and self._shown_as == "volume":
            self._volume(self._ct, False)
        if self._surface is not None:
            self._surface.remove()
            self._surface = None
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._ct = self._surface_of = self._asked_for = None
        self._shown_as = "none"

    def _move(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._moved = time.monotonic()
        if self._surface is not None:
            self._surface.follow(self._pose)

    def _on_mesh(self, key, reply) -> None:
        if key != self._asked_for:
            return
        if self._surface is None:
            self._surface = BoneSurface(self._scene)
        self._surface.set_mesh(reply["points"], reply["triangles"], reply.get("normals"))
        self._surface_of = key
        self._surface.follow(self._pose)
        self._surface.set_visible(self._shown_as == "surface")

    def _volume(self, ct, visible: bool) -> None:
        logic = self._rendering_logic()
        if logic is not None:
            show_volume_rendering(logic, ct, visible)
