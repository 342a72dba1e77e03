"""What a training job is told: one frozen configuration, printed into every checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from .acquisition import AcquisitionConfig, StartConfig
from .collimation import CollimatorSettings
from .detector import DetectorSettings
from .metal import MetalSettings
from .simulator import XraySettings
from .tissue import TissueSettings

# Small images are averages of many detector pixels: noise and grey values hardly show in them, and a network that is
# given mostly images that nobody could match learns where contours usually are instead of how to match them.
USUAL_XRAYS = XraySettings(
    tissue=TissueSettings(scale=0.04, added=0.1, gas=0.2, limb=0.02, bone_factor=(0.9, 1.6)),
    metal=MetalSettings(any=0.3, objects=(1, 2)),
    collimator=CollimatorSettings(
        round_field=0.3, round_radius=(0.9, 1.4), blades=0.35, blade_half_size=(0.75, 1.25), wedge=0.05
    ),
    detector=DetectorSettings(
        scatter=(0.0, 0.25),
        photons=(3e5, 3e7),
        electronics=(1e-6, 5e-5),
        exposure=(0.05, 0.2),
        fixed_exposure=0.5,
        shading=0.04,
        linear=0.8,
        windowed=0.1,
        gamma=(0.7, 1.4),
        coarse=0.1,
    ),
)


@dataclass(frozen=True)
class SampleConfig:
    """What one training sample looks like."""

    rows: int = 128
    columns: int = 160
    points: int = 384
    starts_per_xray: int = 4
    fine_share: float = 0.4
    acquisition: AcquisitionConfig = field(default_factory=AcquisitionConfig)
    start: StartConfig = field(default_factory=StartConfig)
    xray: XraySettings = USUAL_XRAYS


@dataclass(frozen=True)
class TrainConfig:
    """A training job.

    ``stage``: "flow" trains the flow network alone, "joint" adds the weights and the PPC layer (Jaganathan et al. 2021
    train in these two stages). The paper's l1 to l4 are 1 for the flow, the shares of registration (and projection, of
    which one view sees more) and motion, and AdamW's decay.
    """

    architecture: str = "pointflow"
    begin_with: str = ""  # an installed flow network that goes on learning, whatever its architecture; else at random
    stage: str = "flow"
    seed: int = 1
    bfloat16: bool = False  # the networks' layers in half the bits; in float32 while that was not seen to pay
    xrays: int = 4
    iterations: int = 4
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    cycle_steps: int = 0  # the learning rate swings between a tenth of it and all of it in so many steps; 0: it doesn't
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    train_points: int = 192  # contour points a start, for networks that live on points
    gamma: float = 0.8
    normal_share: float = 1.0  # of the flow error along the contours' normals, for networks that map images to flow
    full_share: float = 0.3  # of the whole flow error
    plain_share: float = 0.1
    matching_share: float = 1.0  # of the loss on matching cells, for networks that offer it
    matching_steps: int = 1500  # first steps, which train the features by matching alone: they cost half as much
    photometric_share: float = 0.3  # of the batches, changed photometrically after the simulation
    flow_from: str = ""  # the rest is for stage "joint": folder of the job that trained the flow
    flow_rate: float = 0.0  # learning rate of the flow network as a share of the weights'; 0 leaves it as it is
    weight_architecture: str = "pointnet2"
    weight_network: dict[str, Any] = field(default_factory=dict)
    joint_points: int = 384
    projection_share: float = 1.0
    registration_share: float = 0.3
    motion_share: float = 0.01
    inlier_share: float = 0.5
    held_out: tuple[str, ...] = ("thoracolumbar_a", "lumbar_c")
    network: dict[str, Any] = field(default_factory=dict)
    sample: SampleConfig = field(default_factory=SampleConfig)

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings, for JSON."""
        return dataclasses.asdict(self)


PAPER = TrainConfig(
    architecture="raft",
    iterations=12,
    learning_rate=4e-4,
    cycle_steps=2000,
    normal_share=0.0,
    full_share=1.0,
    plain_share=0.0,
    matching_share=0.0,
    flow_rate=1.0,
    projection_share=0.0,
    registration_share=1.0,
    inlier_share=0.0,
    network={"uncertainty": False},
)
"""After Jaganathan et al., MICCAI 2021: RAFT with 12 steps and gamma 0.8, batches of 16 starts, a cyclical learning
rate, the flow alone first (end-point error), then everything through the solver with the registration error and the
motion regulariser. The paper's rates, loss weights and sample ranges are not published; these are ours. It trained for
50 epochs and up to 100 more, on real X-rays of 43 patients; a job of ours is as long as its budget, on X-rays simulated
from 96 volumes, and how many of its steps make an epoch of the paper is unknown."""

RECIPES = {"ours": TrainConfig(), "paper": PAPER}
