"""The ring of samples and the checkpoint: nothing torn, nothing lost."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.folder_lock import folder_lock
from DeepReg2D3DLib.training import checkpoint
from DeepReg2D3DLib.training.checkpoint import load_checkpoint, save_checkpoint
from DeepReg2D3DLib.training.config import SampleConfig
from DeepReg2D3DLib.training.maker import batch_of, ring_folder, ring_layout, slots_of
from DeepReg2D3DLib.training.ring import SampleRing
from DeepReg2D3DLib.training.samples import SampleMaker
from DeepReg2D3DLib.training.sources import MakerPlan, VolumeFolders, start_maker
from DeepReg2D3DLib.training.volume_set import VolumeSetSettings

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


def test_a_ring_that_could_not_be_made_whole_is_none(tmp_path):
    SampleRing.create(tmp_path, 3, LAYOUT)
    with pytest.raises(TypeError):
        SampleRing.create(tmp_path, 3, {**LAYOUT, "other": ((1,), "no type")})
    with pytest.raises(InputError, match="holds no sample ring"):
        SampleRing.open(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "short", "torn", "foreign", "other"])
def test_a_ring_is_made_anew_where_its_files_do_not_fit(damage, tmp_path):
    SampleRing.create(tmp_path, 3, LAYOUT).write(slot(7))
    assert SampleRing.open_or_create(tmp_path, 5, LAYOUT).slots == 3
    if damage == "missing":
        (tmp_path / "value.bin").unlink()
    elif damage == "short":
        (tmp_path / "sequence.bin").write_bytes(bytes(8))
    elif damage in ("torn", "foreign"):
        (tmp_path / "ring.json").write_text('{"slots": 3, "arr' if damage == "torn" else "[]")
    if damage != "other":
        with pytest.raises(InputError, match="holds no sample ring"):
            SampleRing.open(tmp_path)
    layout = {"value": ((4,), "float32")} if damage == "other" else LAYOUT
    ring = SampleRing.open_or_create(tmp_path, 5, layout)
    assert (ring.slots, ring.filled, ring.layout) == (5, 0, layout)
    assert SampleRing.open(tmp_path).layout == layout


def test_the_maker_of_a_killed_job_is_waited_for(tmp_path):
    folders = VolumeFolders(tmp_path / "volumes", None, None, VolumeSetSettings())
    plan = MakerPlan(tmp_path, folders, SampleConfig(rows=8, columns=8, points=4, starts_per_xray=1), 0)
    with ThreadPoolExecutor(1) as pool:
        with folder_lock(ring_folder(tmp_path)):
            waiting = pool.submit(start_maker, plan)
            time.sleep(0.5)
            assert not waiting.done() and not (ring_folder(tmp_path) / "ring.json").exists()
        process, ring = waiting.result(60)
    process.terminate()
    process.join()
    assert ring.filled == 0


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


def test_two_stops_between_the_renames_leave_a_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "c", {"t": torch.ones(1)}, {"step": 1})
    (tmp_path / "c").rename(tmp_path / "c.old")

    def stopped(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(tmp_path), "rename", stopped)
        save_checkpoint(tmp_path / "c", {"t": torch.ones(1)}, {"step": 2})
    assert load_checkpoint(tmp_path / "c")[1]["step"] == 1


def test_damaged_checkpoint_is_refused_in_words(tmp_path):
    save_checkpoint(tmp_path / "c", {"t": torch.ones(1)}, {"step": 1})
    (tmp_path / "c" / "tensors-00.pt").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path / "c")
    assert load_checkpoint(tmp_path / "none") is None
