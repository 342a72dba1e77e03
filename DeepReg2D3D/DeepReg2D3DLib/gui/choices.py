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
    """How the patient lies in the X-rays, against how the CT was scanned; the value is the logic's name."""

    SUPINE = "supine"
    PRONE = "prone"
    LEFT = "left"
    RIGHT = "right"
    FEET_FIRST = "feet-first"
    FEET_FIRST_PRONE = "feet-first-prone"

    def label(self) -> str:
        return {
            PosePreset.SUPINE: _("As scanned"),
            PosePreset.PRONE: _("Turned over (prone)"),
            PosePreset.LEFT: _("On the left side"),
            PosePreset.RIGHT: _("On the right side"),
            PosePreset.FEET_FIRST: _("Feet first"),
            PosePreset.FEET_FIRST_PRONE: _("Feet first, turned over"),
        }[self]


class CArmView(Enum):
    """Usual directions of a C-arm; the value is (primary, secondary) in degrees."""

    PA = (0.0, 0.0)
    AP = (180.0, 0.0)
    LATERAL_LEFT = (90.0, 0.0)
    LATERAL_RIGHT = (-90.0, 0.0)
    LAO = (45.0, 0.0)
    RAO = (-30.0, 0.0)
    CRANIAL = (0.0, 30.0)
    CAUDAL = (0.0, -30.0)

    def label(self) -> str:
        return {
            CArmView.PA: _("PA: source behind the patient (0\N{DEGREE SIGN})"),
            CArmView.AP: _("AP: source in front (180\N{DEGREE SIGN})"),
            CArmView.LATERAL_LEFT: _("Lateral, detector at the left (90\N{DEGREE SIGN})"),
            CArmView.LATERAL_RIGHT: _("Lateral, detector at the right (-90\N{DEGREE SIGN})"),
            CArmView.LAO: _("LAO 45\N{DEGREE SIGN}"),
            CArmView.RAO: _("RAO 30\N{DEGREE SIGN}"),
            CArmView.CRANIAL: _("Cranial 30\N{DEGREE SIGN}"),
            CArmView.CAUDAL: _("Caudal 30\N{DEGREE SIGN}"),
        }[self]
