"""The choices that the panel offers; saved by name, shown by label."""

from __future__ import annotations

from enum import Enum

from slicer.i18n import tr as _

from ..engine.errors import InputError
from ..resources import models_dir


class Method(Enum):
    """Rows of the publication's table; the value is the engine's name."""

    DEEP_ITERATIVE = "deep-iterative"
    DPPC = "dppc"
    DPPC_CL_REFINEMENT = "dppc-cl-refinement"
    DPPC_ATTENTION = "dppc-attention"
    PPC_FLOW_ATTENTION = "ppc-flow-attention"

    def label(self) -> str:
        return {
            Method.DEEP_ITERATIVE: _("Deep iterative (learned flow and weights)"),
            Method.DPPC: _("DPPC (patch matching, no learning)"),
            Method.DPPC_CL_REFINEMENT: _("DPPC with closed-loop refinement"),
            Method.DPPC_ATTENTION: _("DPPC with learned weights"),
            Method.PPC_FLOW_ATTENTION: _("PPC with flow and learned weights"),
        }[self]


def defaultMethod() -> Method:
    """The learned method where its weights are installed, else the one that needs none."""
    try:
        has_weights = any(models_dir().glob("*.pt"))
    except InputError:
        has_weights = False
    return Method.DEEP_ITERATIVE if has_weights else Method.DPPC


class Preset(Enum):
    """Speed against accuracy; the value is the engine's name."""

    ACCURATE = "accurate"
    FAST = "fast"
    PAPER = "paper"

    def label(self) -> str:
        return {Preset.ACCURATE: _("Accurate"), Preset.FAST: _("Fast"), Preset.PAPER: _("As published")}[self]


class Device(Enum):
    """Where the engine computes; the value is the engine's name."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    def label(self) -> str:
        return {Device.AUTO: _("Automatic"), Device.CPU: _("CPU"), Device.CUDA: _("GPU (CUDA)")}[self]


class OverlayMode(Enum):
    """How X-ray and rendered CT are shown together; the value is the overlay's name."""

    BLEND = "blend"
    EDGES = "edges"
    CHECKERBOARD = "checkerboard"
    DIFFERENCE = "difference"
    FLICKER = "flicker"

    def label(self) -> str:
        return {
            OverlayMode.BLEND: _("Blend"),
            OverlayMode.EDGES: _("Edges"),
            OverlayMode.CHECKERBOARD: _("Checkerboard"),
            OverlayMode.DIFFERENCE: _("Difference"),
            OverlayMode.FLICKER: _("Flicker"),
        }[self]


class CtDisplay(Enum):
    """How the CT is shown in the 3D view."""

    SURFACE = "surface"
    VOLUME = "volume"
    NONE = "none"

    def label(self) -> str:
        return {
            CtDisplay.SURFACE: _("Bone surface"),
            CtDisplay.VOLUME: _("Volume rendering"),
            CtDisplay.NONE: _("Not shown"),
        }[self]


class PosePreset(Enum):
    """Usual starting poses."""

    CENTRE = "centre"
    AUTO = "auto"
    SUPINE = "supine"
    PRONE = "prone"
    FEET_FIRST = "feet-first"

    def label(self) -> str:
        return {
            PosePreset.CENTRE: _("Center on the X-rays"),
            PosePreset.AUTO: _("Automatic start"),
            PosePreset.SUPINE: _("As scanned, centered"),
            PosePreset.PRONE: _("Turned over (prone), centered"),
            PosePreset.FEET_FIRST: _("Feet first, centered"),
        }[self]
