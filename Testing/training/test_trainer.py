"""The trainer: it learns, stops and goes on as if never stopped."""

import json
import math
import os
from dataclasses import replace

import pytest
import torch
from DeepReg2D3DLib.cli_train import DESCRIPTION
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.weights import load_network, read_manifest
from DeepReg2D3DLib.training.config import PAPER, SampleConfig, TrainConfig
from DeepReg2D3DLib.training.job import JobOptions, configured, export_weights, refuse_another_job, run_job
from DeepReg2D3DLib.training.maker import ring_layout, slots_of
from DeepReg2D3DLib.training.ring import SampleRing
from DeepReg2D3DLib.training.sources import RING_SLOTS
from DeepReg2D3DLib.training.tasks import task_of
from DeepReg2D3DLib.training.trainer import RingSource, Trainer, read_log
from DeepReg2D3DLib.training.validation import validate
from online_source import OnlineSource

TINY = {"stem": 16, "width": 16, "coarse": 16, "features": 16, "hidden": 16}
NETWORKS = {"compact": TINY, "pointflow": {"hidden": 16, "local": 8, "reach": 8}}
CPU = torch.device("cpu")


def config(**changes) -> TrainConfig:
    sample = SampleConfig(rows=32, columns=48, points=64, starts_per_xray=2, fine_share=0.0)
    usual = {
        "architecture": "compact",
        "network": TINY,
        "xrays": 2,
        "iterations": 2,
        "warmup_steps": 1,
        "matching_steps": 2,
    }
    return TrainConfig(sample=sample, **(usual | changes))


@pytest.fixture
def source(training_volume):
    return OnlineSource([training_volume], config().sample, xrays_per_volume=2)


class SameBatch:
    """Always the same samples: a network must be able to learn them."""

    def __init__(self, source):
        self.kept = source.batch(2, torch.Generator().manual_seed(0))

    def batch(self, xrays, generator):
        return self.kept


def weights_of(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.network.parameters()])


def test_stopped_and_resumed_equals_uninterrupted(source, tmp_path):
    whole = Trainer(config(), tmp_path / "whole", source, CPU)
    whole.run(steps=4)
    Trainer(config(), tmp_path / "parts", source, CPU).run(steps=2)
    resumed = Trainer(config(), tmp_path / "parts", source, CPU)
    assert resumed.step == 2
    resumed.run(steps=2)
    assert torch.allclose(weights_of(whole), weights_of(resumed), atol=1e-6)
    assert whole.samples == resumed.samples == 16


def test_loss_falls_on_samples_seen_again(source, tmp_path, monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.training.trainer.LOG_STEPS", 10)
    monkeypatch.setattr("DeepReg2D3DLib.training.trainer.augmented", lambda batch, generator: batch)
    trainer = Trainer(config(photometric_share=0.0), tmp_path, SameBatch(source), CPU)
    trainer.run(steps=60)
    records = list(read_log(tmp_path))
    assert records[-1]["matching"] < 0.8 * records[0]["matching"]
    assert records[-1]["normal"] < 0.7 * records[1]["normal"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limits")
def test_a_full_disk_leaves_the_configuration_of_a_job_as_it_was(source, tmp_path):
    import resource

    Trainer(config(), tmp_path, source, CPU)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(InputError, match=r"config.json: cannot be written"):
            Trainer(config(), tmp_path, source, CPU)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    refuse_another_job(config(), tmp_path)


def test_torn_last_line_of_the_log_is_passed_over(source, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 50}\n{"step": 1')
    assert [r["step"] for r in read_log(tmp_path)] == [50]


def test_a_torn_line_of_the_log_does_not_swallow_the_next_one(source, tmp_path, monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.training.trainer.LOG_STEPS", 1)
    (tmp_path / "log.jsonl").write_text('{"step": 50}\n{"step": 1')
    Trainer(config(), tmp_path, source, CPU).run(steps=1)
    assert [r["step"] for r in read_log(tmp_path)] == [50, 1]


def test_exported_weights_load_and_say_what_they_are(source, tmp_path):
    trainer = Trainer(config(), tmp_path / "job", source, CPU)
    trainer.run(steps=1)
    volumes = tmp_path / "volumes"
    volumes.mkdir()
    made = ("0000_knee_1", "0001_hip", "0002_phantom", "0003_knee_1", "0004_hip", "0005_knee_1", "0006_skeleton")
    for name in (*(f"train_{each}.npz" for each in made), "val_lumbar_c_0.npz", ".part-x.npz"):
        (volumes / name).touch()
    export_weights(trainer, "tiny", tmp_path / "models", volumes)
    entry = read_manifest(tmp_path / "models")["tiny"]
    assert entry["training"]["held_out"] == ["thoracolumbar_a", "lumbar_c"]
    data = entry["training"]["data"]
    assert data["cts"] == ["hip", "knee_1"]
    assert data["volumes"] == {"as_they_are": 2, "varied": 3, "phantoms": 1, "meshes": 1}
    assert data["sources"].keys() == data["volumes"].keys()
    loaded = load_network("tiny", folder=tmp_path / "models")
    image = torch.rand(1, 2, 32, 48)
    expected = trainer.averaged_network()(image, image)[-1].flow
    assert torch.allclose(loaded(image, image)[-1].flow, expected, atol=0.05)


@pytest.mark.parametrize("architecture", ["compact", "pointflow"])
def test_validation_measures_before_and_after(source, architecture):
    task = task_of(config(architecture=architecture, network=NETWORKS[architecture]))
    torch.manual_seed(0)
    batch = source.batch(4, torch.Generator().manual_seed(5))
    result = validate(task, task.build(), [batch])
    assert result["coarse_before"] > 0 and result["coarse_after"] > 0
    assert 0 <= result["coarse_below_2mm"] <= result["coarse_below_5mm"] <= 1
    json.dumps(result)


def test_flow_at_points_is_learned_on_samples_seen_again(source, tmp_path, monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.training.trainer.LOG_STEPS", 10)
    monkeypatch.setattr("DeepReg2D3DLib.training.trainer.augmented", lambda batch, generator: batch)
    asked = config(architecture="pointflow", network=NETWORKS["pointflow"], learning_rate=5e-3, photometric_share=0.0)
    Trainer(asked, tmp_path, SameBatch(source), CPU).run(steps=100)
    records = list(read_log(tmp_path))
    assert records[-1]["normal"] < 0.6 * records[-1]["start"]


def test_settings_are_changed_by_name_and_unknown_ones_refused():
    changed = configured(TrainConfig(), {"xrays": 9, "sample.rows": 64, "learning_rate": 1})
    assert (changed.xrays, changed.sample.rows, changed.learning_rate) == (9, 64, 1)
    with pytest.raises(InputError, match="no training setting 'nonsense'"):
        configured(TrainConfig(), {"nonsense": 1})
    with pytest.raises(InputError, match="expected int"):
        configured(TrainConfig(), {"xrays": "many"})
    for name, value in {"sample.start.translation": math.nan, "sample.fine_share": math.inf}.items():
        with pytest.raises(InputError, match=f"'{name}': expected a number that is finite"):
            configured(TrainConfig(), {name: value})


@pytest.mark.parametrize("architecture", ["compact", "pointflow"])
def test_in_bfloat16_a_step_is_nearly_that_of_float32(architecture, source, tmp_path):
    moved = []
    for bfloat16 in (False, True):
        asked = config(architecture=architecture, network=NETWORKS[architecture], bfloat16=bfloat16, matching_steps=0)
        trainer = Trainer(asked, tmp_path / f"{bfloat16}", SameBatch(source), CPU)
        before = weights_of(trainer)
        trainer.run(steps=1)
        moved.append(weights_of(trainer) - before)
    assert torch.isfinite(moved[1]).all() and not torch.equal(*moved)
    assert float(torch.cosine_similarity(*moved, dim=0)) > 0.5


def test_a_job_may_begin_with_installed_weights(source, tmp_path):
    name = "deep-iterative-flow"
    asked = configured(config(learning_rate=1e-4), {"begin_with": name})
    assert asked.architecture == "pointflow"
    trainer = Trainer(asked, tmp_path / "job", source, CPU)
    installed = torch.cat([p.flatten() for p in load_network(name).parameters()])
    assert torch.equal(weights_of(trainer), installed)
    trainer.run(steps=2)
    moved = (weights_of(trainer) - installed).abs()
    assert 0 < float(moved.max()) < 1e-3
    resumed = Trainer(asked, tmp_path / "job", source, CPU)
    assert torch.equal(weights_of(resumed), weights_of(trainer))


def test_installed_weights_of_another_network_or_name_are_refused(source, tmp_path):
    other = config(architecture="pointflow", network={"hidden": 16}, begin_with="deep-iterative-flow")
    with pytest.raises(InputError, match="'begin_with': the weights 'deep-iterative-flow' are of another"):
        Trainer(other, tmp_path / "other", source, CPU)
    for name in ("nothing", "deep-iterative-weights"):
        with pytest.raises(InputError, match=f"'{name}' is no installed flow network. There are: .*deep-iterative-fl"):
            configured(config(), {"begin_with": name})


def test_a_job_goes_on_only_with_the_settings_it_was_begun_with(tmp_path):
    begun = config(seed=5)
    (tmp_path / "config.json").write_text(json.dumps(begun.as_dict()))
    options = JobOptions(tmp_path, None, None, CPU, steps=1)
    for other, said in ((replace(begun, seed=6), "seed = 5"), (replace(begun, held_out=("hip",)), "held_out = ")):
        with pytest.raises(InputError, match=f"begun with {said}.*Give another --out"):
            run_job(other, options, lambda entry: None)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 5
    assert not list(tmp_path.glob("ring*"))
    older = {name: value for name, value in begun.as_dict().items() if name not in ("begin_with", "bfloat16")}
    (tmp_path / "config.json").write_text(json.dumps(older))
    refuse_another_job(replace(begun, learning_rate=1e-5, xrays=7), tmp_path)


def test_a_rate_may_be_full_from_the_first_step_on(source, tmp_path):
    trainer = Trainer(config(warmup_steps=0, learning_rate=1e-3), tmp_path / "job", source, CPU)
    trainer.run(steps=1)
    assert trainer.optimiser.param_groups[0]["lr"] == 1e-3


def test_samples_that_nobody_makes_any_more_end_the_job(training_volume, tmp_path):
    layout = ring_layout(config().sample)
    ring = SampleRing.create(tmp_path / "ring", 4, layout)
    for slot in slots_of(
        OnlineSource([training_volume], config().sample, 2).batch(2, torch.Generator().manual_seed(0))
    ):
        ring.write(slot)
    alive = [True]
    source = RingSource([ring], 0, filled=lambda: alive[0])
    assert len(source.batch(2, torch.Generator()).xray) == 2
    alive[0] = False
    with pytest.raises(InputError, match="makes training samples has ended"):
        source.batch(2, torch.Generator())


def test_the_help_tells_how_the_papers_recipe_is_scaled_down():
    told = " ".join(DESCRIPTION.split())
    starts = PAPER.xrays * PAPER.sample.starts_per_xray
    steps = RING_SLOTS * PAPER.sample.starts_per_xray // starts
    for fact in (
        "50 epochs",
        "100 more",
        "43 patients",
        f"from {JobOptions.volumes} volumes",
        f"A step sees {starts} starts",
        f"in {steps} steps",
        f"{PAPER.sample.starts_per_xray} about each of {RING_SLOTS} X-rays",
    ):
        assert fact in told


def test_the_papers_recipe_swings_its_rate_and_trains_both_stages(source, tmp_path):
    small = {"hidden": 32, "context": 32, "features": 32, "levels": 2, "radius": 2, "bottleneck": True}
    asked = replace(PAPER, sample=config().sample, xrays=2, iterations=2, cycle_steps=4, warmup_steps=1)
    asked = replace(asked, network=asked.network | small)
    flow = Trainer(asked, tmp_path / "flow", source, CPU)
    rates = []
    for _ in range(4):
        flow.run(steps=1)
        rates.append(flow.optimiser.param_groups[0]["lr"] / asked.learning_rate)
    assert rates == pytest.approx([0.1, 0.55, 1.0, 0.55])
    joint = Trainer(replace(asked, stage="joint", flow_from=str(tmp_path / "flow")), tmp_path / "joint", source, CPU)
    before = weights_of(joint)
    joint.run(steps=2)
    changed = (weights_of(joint) - before).abs()
    assert torch.isfinite(changed).all() and float(changed.max()) > 0
