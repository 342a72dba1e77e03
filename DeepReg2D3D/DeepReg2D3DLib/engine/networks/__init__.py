"""The networks of the engine: optical flow between DRR and X-ray, and weights for correspondences.

``build_network`` makes any of them from the two things that a checkpoint remembers: the architecture's name and its
configuration as plain numbers and strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import nn

from ..errors import InputError
from .compact import CompactConfig, CompactFlow
from .flow_protocol import EncodedImage, FlowEstimate, FlowNetwork
from .flownet import FlowNet, FlowNetConfig
from .point_flow import PointFlow, PointFlowConfig
from .pointnet import PointNet, PointNetConfig
from .pointnet2 import PointNet2, PointNet2Config
from .raft import Raft, RaftConfig

__all__ = [
    "ARCHITECTURES",
    "FLOW_ARCHITECTURES",
    "POINT_ARCHITECTURES",
    "WEIGHT_ARCHITECTURES",
    "CompactConfig",
    "CompactFlow",
    "EncodedImage",
    "FlowEstimate",
    "FlowNet",
    "FlowNetConfig",
    "FlowNetwork",
    "PointFlow",
    "PointFlowConfig",
    "PointNet",
    "PointNet2",
    "PointNet2Config",
    "PointNetConfig",
    "Raft",
    "RaftConfig",
    "build_network",
]

# Each name: the network, its configuration, and what the name alone says about that.
FLOW_ARCHITECTURES: dict[str, tuple[type[nn.Module], type, dict[str, Any]]] = {
    "compact": (CompactFlow, CompactConfig, {}),
    "raft": (Raft, RaftConfig, {}),
    "raft-small": (Raft, RaftConfig, RaftConfig.small_sizes()),
    "flownetc": (FlowNet, FlowNetConfig, {"correlation": True}),
    "flownets": (FlowNet, FlowNetConfig, {"correlation": False}),
}
WEIGHT_ARCHITECTURES: dict[str, tuple[type[nn.Module], type, dict[str, Any]]] = {
    "pointnet": (PointNet, PointNetConfig, {}),
    "pointnet2": (PointNet2, PointNet2Config, {}),
}
# Flow at contour points alone: asked about a ``ContourScene`` instead of an image.
POINT_ARCHITECTURES: dict[str, tuple[type[nn.Module], type, dict[str, Any]]] = {
    "pointflow": (PointFlow, PointFlowConfig, {}),
}
ARCHITECTURES = FLOW_ARCHITECTURES | POINT_ARCHITECTURES | WEIGHT_ARCHITECTURES


def build_network(architecture: str, config: Mapping[str, Any] | None = None) -> nn.Module:
    """An untrained network by name, with ``config`` changing single fields of its configuration.

    The network's ``config`` attribute is the frozen dataclass that results, and ``dataclasses.asdict`` of it builds the
    same network again. Raises InputError for an unknown name or field.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(f"Unknown network '{architecture}': choose one of {', '.join(ARCHITECTURES)}.")
    network, kind, preset = ARCHITECTURES[architecture]
    changes = dict(config or {})
    unknown = sorted(set(changes) - {field.name for field in fields(kind)})
    if unknown:
        known = ", ".join(field.name for field in fields(kind))
        raise InputError(f"Network '{architecture}' has no setting '{unknown[0]}'; it has {known}.")
    return network(kind(**(preset | changes)))
