"""The client over QProcess, in a real Qt event loop: what Slicer uses."""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

QtCore = pytest.importorskip("PySide6.QtCore", reason="needs PySide6-Essentials")

from DeepReg2D3DLib.worker import link  # noqa: E402
from DeepReg2D3DLib.worker.client import EngineClient  # noqa: E402
from DeepReg2D3DLib.worker.transports import QProcessTransport  # noqa: E402

FAKE = Path(__file__).with_name("fake_worker.py")


@pytest.fixture
def qt():
    """A flat module like Slicer's ``qt``."""
    application = QtCore.QCoreApplication.instance() or QtCore.QCoreApplication([])
    yield SimpleNamespace(
        QProcess=QtCore.QProcess, QTimer=QtCore.QTimer, QCoreApplication=QtCore.QCoreApplication, keep=application
    )


@pytest.fixture
def client(qt):
    client = EngineClient(lambda: QProcessTransport(qt), lambda: [sys.executable, "-u", str(FAKE)])
    client.finished_runs, client.iterations = [], []
    client.finished.connect(client.finished_runs.append)
    client.iteration.connect(client.iterations.append)
    yield client
    client.stop(wait_seconds=5)


def alive(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def test_a_run_streams_through_the_event_loop(client):
    client.load_ct_file("ct.nrrd", "CT")
    client.register(np.eye(4), method="good")
    assert client.wait_until(lambda: client.finished_runs, 20)
    assert [item.index for item in client.iterations] == list(range(6))
    assert client.iterations[4].views[0].drr.mean() == 4


def test_the_event_loop_keeps_ticking_during_a_run(client, qt):
    ticks = []
    timer = qt.QTimer()
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    client.load_ct_file("ct.nrrd", "CT")
    assert client.wait_until(lambda: client.state == "ready", 20)
    timer.start(5)
    client.register(np.eye(4), method="good")
    assert client.wait_until(lambda: client.finished_runs, 20)
    timer.stop()
    assert len(ticks) >= 10


def test_a_stuck_worker_is_ended_by_timers_and_comes_back(client, monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.worker.client.CANCEL_SECONDS", 0.3)
    monkeypatch.setattr(link, "TERMINATE_SECONDS", 0.3)
    client.load_ct_file("ct.nrrd", "CT")
    client.register(np.eye(4), method="stuck")
    assert client.wait_until(lambda: len(client.iterations) == 3, 20)
    first = client.info["pid"]
    client.cancel()
    assert client.wait_until(lambda: client.finished_runs, 10)
    assert client.wait_until(lambda: client.state == "ready" and client.info["pid"] != first, 20)
    assert not alive(first)


def test_stop_ends_the_process_and_removes_the_folder(client):
    client.load_ct_file("ct.nrrd", "CT")
    assert client.wait_until(lambda: client.state == "ready", 20)
    pid, folder = client.info["pid"], client.folder.path
    client.stop()
    assert client.wait_until(lambda: client.state == "stopped", 10)
    assert not alive(pid) and not folder.exists()
    client.load_ct_file("ct.nrrd", "CT")  # and it can be started again
    assert client.wait_until(lambda: client.state == "ready", 20)


def test_closing_the_application_waits_for_the_end_of_the_process(client):
    client.load_ct_file("ct.nrrd", "CT")
    client.register(np.eye(4), method="stuck")
    assert client.wait_until(lambda: len(client.iterations) == 3, 20)
    pid = client.info["pid"]
    client.stop(wait_seconds=3)
    assert not alive(pid) and client.state == "stopped"


class SignalOfQt:
    """A signal of Slicer's binding: its slots are Qt's and keep what they are bound to."""

    def __init__(self):
        self.slots = []

    def connect(self, slot):
        self.slots.append(slot)


class ProcessOfQt5:
    """A process as Qt 5 has it, apart from its Python wrapper: it emits ``finished`` twice."""

    def __init__(self):
        names = ("readyReadStandardOutput", "readyReadStandardError", "finished", "errorOccurred")
        self.signals = {name: SignalOfQt() for name in names}
        self.alive = True

    def end(self):
        for _overload in range(2):
            assert self.alive, "the process was deleted in its own signal"
            for slot in list(self.signals["finished"].slots):
                slot(0)

    def delete(self):
        self.alive = False
        self.signals.clear()


class WrapperOfSlicer:
    """What a script holds of a process without a parent: as it goes, it takes the process along."""

    CrashExit, FailedToStart = 1, 0
    started: ClassVar[list] = []

    def __init__(self):
        self.process = ProcessOfQt5()
        self.started.append(self.process)
        vars(self).update(self.process.signals)

    def __del__(self):
        self.process.delete()

    def start(self, *_args):
        pass

    def deleteLater(self):
        pass  # comes with the next round of events

    def readAllStandardOutput(self):
        return QtCore.QByteArray()

    readAllStandardError = readAllStandardOutput

    def exitStatus(self):
        return 0

    exitCode = exitStatus


def test_a_process_outlives_its_own_signal():
    ends = []
    transport = QProcessTransport(SimpleNamespace(QProcess=WrapperOfSlicer))
    transport.exited = lambda code, crashed: ends.append((code, crashed))
    transport.start("program", [])
    process = WrapperOfSlicer.started.pop()
    del transport  # who started it has forgotten it
    process.end()
    assert ends == [(0, False)]
    process.delete()


def test_a_program_that_does_not_exist_is_a_failed_start(qt):
    client = EngineClient(lambda: QProcessTransport(qt), lambda: ["/no/such/program"])
    client.start()
    assert client.wait_until(lambda: client.state == "failed", 5)
    assert "could not be started" in client.state_text
    client.stop(wait_seconds=1)
