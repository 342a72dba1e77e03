"""A registration whose GPU is full goes on with the CPU, from its last good pose. The full GPU is an injected error."""

from __future__ import annotations

import io
import json
import queue
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from DeepReg2D3DLib.engine.registration import Iteration
from DeepReg2D3DLib.worker import session as session_module
from DeepReg2D3DLib.worker.arrays import ArrayFolder
from DeepReg2D3DLib.worker.messages import Request
from DeepReg2D3DLib.worker.server import Server, _Run, out_of_gpu_memory
from DeepReg2D3DLib.worker.session import EngineSession

FULL_AT = 3


def iterations(start, device):
    """Six records that move by 1 mm each; on a GPU the memory is full at the fourth."""
    pose = start.clone()
    for index in range(6):
        if device != "cpu" and index == FULL_AT:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if index:
            pose = pose.clone()
            pose[0, 3] += 1
        final = index == 5
        yield Iteration(index, pose, 1.0, 10, 0.5, 0.1, (), final, "converged" if final else "")


@pytest.fixture
def session(tmp_path, monkeypatch):
    """A session on a "GPU" with a CT and a view, whose runs are `iterations`; devices that ran are in `.ran`."""
    made = EngineSession(ArrayFolder(tmp_path))
    made.ran = queue.SimpleQueue()
    made._volume, made._views, made._live = SimpleNamespace(name="CT"), {"AP": object()}, {}
    made._device = torch.device("cuda")

    def register(volume, xrays, pose, *, method, preset, device, setup):
        made.ran.put(device)
        return iterations(pose, device)

    monkeypatch.setattr(session_module, "register", register)
    monkeypatch.setattr(session_module, "resolve_device", torch.device)
    monkeypatch.setattr(session_module.RegistrationSetup, "prepare", lambda volume, device: device.type)
    monkeypatch.setattr(made, "_live_of", lambda volume: {})
    return made


def run_to_the_end(session, folder: Path, device: str) -> list[dict]:
    """What the server sends while it registers."""
    sink = io.BytesIO()
    server = Server(lambda folder: session, ArrayFolder(folder), io.BytesIO(), sink)
    server._engine = session
    fields = {
        "run": "run1", "ct_to_world": np.eye(4).tolist(), "method": "dppc", "preset": "fast", "device": device,
    }  # fmt: skip
    server._run = _Run(Request("register", 1, fields), session.register(fields))
    for _ in range(30):
        if server._run is None:
            break
        server._step(server._run)
    return [json.loads(line) for line in sink.getvalue().splitlines()]


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_the_run_goes_on_with_the_cpu_from_the_last_good_pose(session, tmp_path, device):
    messages = run_to_the_end(session, tmp_path, device)
    told = [m for m in messages if m["type"] == "warning"]
    assert len(told) == 1 and "ran out of memory" in told[0]["text"] and told[0]["device"] == "cpu"
    assert [session.ran.get() for _ in range(2)] == ["cuda", "cpu"] and session.ran.empty()
    # Counted on without a gap, the start not told twice: 0 to 2 on the GPU, then five steps more.
    records = [m for m in messages if m["type"] == "iteration"]
    assert [m["index"] for m in records] == list(range(FULL_AT + 5))
    assert [m["pose"][0][3] for m in records] == [float(n) for n in range(FULL_AT + 5)]
    finished = messages[-1]
    assert finished["type"] == "finished" and finished["status"] == "converged"
    assert len(finished["report"]["iterations"]) == FULL_AT + 5
    assert finished["report"]["device"] == "cpu"
    assert any("memory" in text for text in finished["report"]["warnings"])


def test_a_full_gpu_before_the_first_record_starts_anew_on_the_cpu(session, tmp_path, monkeypatch):
    def prepare(volume, device):
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return device.type

    monkeypatch.setattr(session_module.RegistrationSetup, "prepare", prepare)
    messages = run_to_the_end(session, tmp_path, "auto")
    assert [m["index"] for m in messages if m["type"] == "iteration"] == list(range(6))
    assert messages[-1]["status"] == "converged"


def test_the_next_run_is_counted_from_its_own_start(session, tmp_path):
    run_to_the_end(session, tmp_path, "auto")
    messages = run_to_the_end(session, tmp_path, "auto")
    assert [m["index"] for m in messages if m["type"] == "iteration"] == list(range(6))


def test_what_counts_as_a_full_gpu():
    assert out_of_gpu_memory(torch.OutOfMemoryError("any text"))
    assert out_of_gpu_memory(RuntimeError("CUDA error: out of memory"))
    assert out_of_gpu_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not out_of_gpu_memory(RuntimeError("CUDA error: invalid device ordinal"))
    assert not out_of_gpu_memory(MemoryError("out of memory"))
