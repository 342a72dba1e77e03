"""Commands in the background: their progress, their end, and that they end with their parent."""

import json
import os
import subprocess
import time

import pytest
from DeepReg2D3DLib.worker import program
from DeepReg2D3DLib.worker.launch import program_command
from DeepReg2D3DLib.worker.program import ProgramRun
from DeepReg2D3DLib.worker.subprocess_transport import SubprocessTransport


class Listener:
    """A run with its transport at hand, and all that it told."""

    def __init__(self) -> None:
        self.transport = None
        self.run = ProgramRun(self._make)
        self.steps, self.notes, self.ends = [], [], []
        self.run.progress.connect(lambda *step: self.steps.append(step))
        self.run.note.connect(self.notes.append)
        self.run.finished.connect(lambda *end: self.ends.append(end))

    def _make(self):
        self.transport = SubprocessTransport()
        return self.transport

    def wait(self, condition, seconds=120.0) -> bool:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self.transport.pump(0.1)
        return condition()


@pytest.fixture
def listener():
    made = Listener()
    yield made
    made.run.close()


def test_a_refusal_ends_with_its_words(listener, tmp_path):
    listener.run.start(["track", "--ct", str(tmp_path / "none.nrrd"), "--xray", str(tmp_path), "--out", str(tmp_path)])
    assert listener.run.running
    with pytest.raises(RuntimeError):
        listener.run.start(["--version"])
    assert listener.wait(lambda: bool(listener.ends))
    status, words = listener.ends[0]
    assert status == 2 and "holds no images" in words and not listener.run.running


def test_a_program_that_is_not_there_is_told(listener, monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.worker.launch.python_program", lambda: "/nowhere/python")
    listener.run.start(["--version"])
    assert listener.wait(lambda: bool(listener.ends))
    assert listener.ends[0][0] == -1


def test_a_study_tells_its_steps_and_stops_when_asked(listener, small_case, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "GRACE_SECONDS", 240.0)  # on a busy machine
    files = ["--ct", str(small_case / "ct.nrrd"), "--geometry", str(small_case / "geometry.json")]
    how = ["--method", "dppc", "--preset", "paper", "--device", "cpu", "--jobs", "2", "--starts", "40", "--limit", "10"]
    out = tmp_path / "study"
    listener.run.start(["study", *files, "--reference", str(small_case / "pose.json"), *how, "--out", str(out)])
    assert listener.wait(lambda: bool(listener.steps), 300), listener.run.lines
    listener.run.stop()
    assert listener.wait(lambda: bool(listener.ends), 300)
    assert listener.ends[0][0] == 130 and "same command goes on" in listener.ends[0][1]
    done, total, text = listener.steps[0]
    assert (done, total) == (1, 40) and "mRPD" in text
    assert "Interrupted" in (out / "study.html").read_text(encoding="utf-8")
    assert json.loads((out / "table.json").read_text())["missing_runs"] >= 30


@pytest.mark.skipif(os.name != "posix", reason="needs a pipe that is closed by hand")
def test_it_ends_with_its_parent(tmp_path):
    command = program_command(["worker"])  # waits on stdin, as long as there is one
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert child.poll() is None
    child.stdin.close()
    assert child.wait(60) is not None
