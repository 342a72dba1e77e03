"""Joint training: the weights learn which correspondences to believe, by the pose that PPC makes of them."""

import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.networks.flow_protocol import FlowEstimate
from DeepReg2D3DLib.engine.weights import load_network, read_manifest
from DeepReg2D3DLib.training.config import SampleConfig, TrainConfig
from DeepReg2D3DLib.training.job import export_weights
from DeepReg2D3DLib.training.joint import PLAIN, JointTask, joint_task
from DeepReg2D3DLib.training.ppc_step import point_distance, ppc_step, projection_distance
from DeepReg2D3DLib.training.tasks import network_input
from DeepReg2D3DLib.training.trainer import Trainer
from online_source import OnlineSource

CPU = torch.device("cpu")
TINY_WEIGHTS = {
    "levels": [{"centres": 16, "radius": 0.4, "neighbours": 8, "widths": [16, 16]}],
    "back": [[16]],
}
SAMPLE = SampleConfig(rows=32, columns=48, points=64, starts_per_xray=2, fine_share=0.0)


def config(**changes) -> TrainConfig:
    usual = {
        "stage": "joint",
        "network": {"hidden": 16, "local": 8, "reach": 8},
        "weight_network": TINY_WEIGHTS,
        "sample": SAMPLE,
        "xrays": 2,
        "iterations": 2,
        "warmup_steps": 1,
    }
    return TrainConfig(**(usual | changes))


@pytest.fixture
def source(training_volume):
    return OnlineSource([training_volume], SAMPLE, xrays_per_volume=2)


class HalfWrong:
    """A flow task that knows the truth, and lies about every other point by 12 pixels."""

    def build(self):
        return torch.nn.Linear(1, 1)

    def answer(self, network, batch, given):
        flow = given.flow.clone().float()
        flow[:, ::2] += 12 * given.normals[:, ::2].float()
        log_scale = torch.zeros_like(flow[..., 0])
        log_scale[:, ::2] = 2.0
        return FlowEstimate(flow, log_scale), batch.valid.double()


def test_weights_learn_to_drop_wrong_correspondences(source):
    asked = config()
    torch.manual_seed(0)
    task = JointTask(asked, HalfWrong())
    network = task.build()
    batch = source.batch(4, torch.Generator().manual_seed(2))
    given = network_input(batch)
    optimiser = torch.optim.Adam(network["weights"].parameters(), 1e-2)
    for step in range(60):
        loss, _ = task.losses(network, batch, given, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        estimate, weights = task.answer(network, batch, given)
    counted = batch.valid & (given.weights > 0.9)
    right = torch.zeros_like(batch.valid)
    right[:, 1::2] = True
    assert weights[counted & right].mean() > 3 * weights[counted & ~right].mean()
    equal = ppc_step(batch, batch.start, given.pixels + estimate.flow, batch.valid.double(), PLAIN)
    weighed = ppc_step(batch, batch.start, given.pixels + estimate.flow, weights, PLAIN)
    assert projection_distance(weighed, batch).median() < 0.7 * projection_distance(equal, batch).median()


def test_loss_agrees_with_finite_differences_in_the_weights(source):
    batch = source.batch(1, torch.Generator().manual_seed(1))
    given = network_input(batch)
    pixels = given.pixels + given.flow + torch.randn(given.flow.shape, generator=torch.Generator().manual_seed(3))

    def loss(weights):
        moved = ppc_step(batch, batch.start, pixels, weights, PLAIN)
        return torch.log1p(point_distance(moved, batch.truth, batch)).sum()

    weights = (0.3 + 0.5 * torch.rand(batch.valid.shape, generator=torch.Generator().manual_seed(4))).double()
    weights = (weights * batch.valid).requires_grad_()
    loss(weights).backward()
    valid = batch.valid.nonzero()
    for item, point in valid[:: max(1, len(valid) // 5)].tolist():
        step = torch.zeros_like(weights)
        step[item, point] = 1e-5
        with torch.no_grad():
            numeric = float(loss(weights + step) - loss(weights - step)) / 2e-5
        assert float(weights.grad[item, point]) == pytest.approx(numeric, rel=1e-3, abs=1e-8)


def test_frozen_flow_stays_and_comes_from_its_job(source, tmp_path):
    flow = Trainer(config(stage="flow"), tmp_path / "flow", source, CPU)
    flow.run(steps=2)
    joint = Trainer(config(flow_from=str(tmp_path / "flow")), tmp_path / "joint", source, CPU)
    joint.run(steps=2)
    for name, value in flow.average.items():
        assert torch.equal(joint.network["flow"].state_dict()[name], value)
    resumed = Trainer(config(flow_from=str(tmp_path / "flow")), tmp_path / "joint", source, CPU)
    assert resumed.step == 2


def test_both_networks_are_exported(source, tmp_path):
    trainer = Trainer(config(), tmp_path / "job", source, CPU)
    files = export_weights(trainer, "mine", tmp_path / "models", tmp_path / "volumes")
    assert [path.name for path in files] == ["mine-flow.pt", "mine-weights.pt"]
    assert read_manifest(tmp_path / "models")["mine-weights"]["architecture"] == "pointnet2"
    load_network("mine-flow", folder=tmp_path / "models")


def test_flow_follows_at_its_own_rate(source, tmp_path):
    trainer = Trainer(config(flow_rate=0.1, learning_rate=1e-2), tmp_path, source, CPU)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    trainer.run(steps=1)
    rates = sorted(group["lr"] for group in trainer.optimiser.param_groups)
    assert rates == pytest.approx([1e-3, 1e-2])
    assert any(not torch.equal(before[k], v) for k, v in trainer.network["flow"].state_dict(prefix="flow.").items())


def test_patches_can_be_weighed_by_a_point_network(source, tmp_path):
    asked = config(architecture="patches", weight_architecture="pointnet", weight_network={})
    trainer = Trainer(asked, tmp_path / "job", source, CPU)
    batch = source.batch(2, torch.Generator().manual_seed(0))
    estimate, weights = trainer.task.flow_task.answer(trainer.network["flow"], batch, network_input(batch))
    assert estimate.flow.shape == batch.flow().shape and (weights[~batch.valid] == 0).all()
    trainer.run(steps=2)
    files = export_weights(trainer, "dppc-attention", tmp_path / "models", tmp_path / "volumes")
    assert [path.name for path in files] == ["dppc-attention-weights.pt"]


def test_unknown_stages_and_missing_flow_are_refused(tmp_path):
    with pytest.raises(InputError, match="stage 'third'"):
        joint_task(config(stage="third"))
    with pytest.raises(InputError, match="holds no trained flow network"):
        joint_task(config(flow_from=str(tmp_path))).build()


def test_a_flow_network_of_other_sizes_is_refused_with_its_sizes(source, tmp_path):
    Trainer(config(stage="flow"), tmp_path / "flow", source, CPU).run(steps=1)
    other = config(flow_from=str(tmp_path / "flow"), network={**config().network, "hidden": 24})
    with pytest.raises(InputError, match="--set network="):
        joint_task(other).build()
