"""The ring of samples and the checkpoint: nothing torn, nothing lost."""

import numpy as np
import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.training import checkpoint
from DeepReg2D3DLib.training.checkpoint import load_checkpoint, save_checkpoint
from DeepReg2D3DLib.training.config import SampleConfig
from DeepReg2D3DLib.training.maker import batch_of, ring_layout, slots_of
from DeepReg2D3DLib.training.ring import SampleRing
from DeepReg2D3DLib.training.samples import SampleMaker

LAYOUT = {"value": ((2,), "float32")}


def slot(number: float) -> dict[str, np.ndarray]:
    return {"value": np.full(2, number, np.float32)}


def test_oldest_slot_is_overwritten(tmp_path):
    ring = SampleRing.create(tmp_path, 3, LAYOUT)
    for number in range(5):
        ring.write(slot(number))
    drawn = ring.read(3, np.random.default_rng(0))["value"][:, 0]
    assert sorted(drawn.tolist()) == [2, 3, 4]
    assert ring.written == 5 and ring.filled == 3


def test_reader_in_another_process_sees_what_is_written_and_a_reopened_ring_goes_on(tmp_path):
    SampleRing.create(tmp_path, 4, LAYOUT).write(slot(7))
    other = SampleRing.open(tmp_path)
    assert other.read(1, np.random.default_rng(0))["value"][0, 0] == 7
    other.write(slot(8))
    assert SampleRing.open(tmp_path).written == 2


def test_slot_being_written_is_not_drawn(tmp_path):
    ring = SampleRing.create(tmp_path, 2, LAYOUT)
    ring.write(slot(1))
    ring.write(slot(2))
    ring._sequence[0] = -1
    assert (ring.read(1, np.random.default_rng(0))["value"] == 2).all()


def test_missing_ring_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no sample ring"):
        SampleRing.open(tmp_path / "nowhere")


def test_batch_survives_the_ring(training_volume, tmp_path):
    config = SampleConfig(rows=32, columns=40, points=50, starts_per_xray=2, fine_share=0.0)
    batch = SampleMaker(config).make(training_volume, 2, torch.Generator().manual_seed(1))
    ring = SampleRing.create(tmp_path, 2, ring_layout(config))
    for each in slots_of(batch):
        ring.write(each)
    order = batch_of(ring.read(2, np.random.default_rng(0)))
    first = 0 if torch.equal(order.truth[0], batch.truth[0]) else 1
    rows = torch.arange(2) + 2 * first  # where the batch's first X-ray came out
    assert torch.equal(order.start[rows], batch.start[:2])
    assert torch.equal(order.points[rows], batch.points[:2])
    assert torch.equal(order.xray_index, batch.xray_index)
    assert torch.allclose(order.drr[rows], batch.drr[:2], atol=0.01)
    assert torch.allclose(order.flow()[rows], batch.flow()[:2], atol=1e-5)


def test_checkpoint_comes_back_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PIECE_BYTES", 10_000)
    tensors = {f"t{n}": torch.full((1000,), float(n)) for n in range(6)} | {"count": torch.tensor(3)}
    save_checkpoint(tmp_path / "c", tensors, {"step": 5})
    files = sorted((tmp_path / "c").glob("*.pt"))
    assert len(files) > 2 and all(f.stat().st_size < 15_000 for f in files)
    loaded, description = load_checkpoint(tmp_path / "c")
    assert description["step"] == 5
    assert loaded.keys() == tensors.keys() and all(torch.equal(loaded[k], tensors[k]) for k in tensors)


def test_stop_between_the_renames_leaves_the_previous_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "c", {"t": torch.ones(1)}, {"step": 1})
    (tmp_path / "c").rename(tmp_path / "c.old")
    assert load_checkpoint(tmp_path / "c")[1]["step"] == 1
    save_checkpoint(tmp_path / "c", {"t": torch.ones(1)}, {"step": 2})
    assert load_checkpoint(tmp_path / "c")[1]["step"] == 2


def test_damaged_checkpoint_is_refused_in_words(tmp_path):
    save_checkpoint(tmp_path / "c", {"t": torch.ones(1)}, {"step": 1})
    (tmp_path / "c" / "tensors-00.pt").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path / "c")
    assert load_checkpoint(tmp_path / "none") is None
