"""A worker looks again at the result of a run that ended by itself; whatever else is asked for comes first."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from DeepReg2D3DLib.worker.client import EngineClient
from DeepReg2D3DLib.worker.subprocess_transport import SubprocessTransport

FAKE = Path(__file__).with_name("fake_worker.py")
POSE = np.eye(4)
PATIENCE = 25.0
"""Seconds for what comes at once on a quiet machine; the long look of the fake engine takes 30 s."""
LOOKING = "Looking at the result again..."


@pytest.fixture
def client():
    """A client whose worker holds a CT; what it signals is in lists."""
    made = EngineClient(SubprocessTransport, lambda: [sys.executable, "-u", str(FAKE)])
    made.ended, made.looked, made.told, made.drawn, made.errors = [], [], [], [], []
    made.finished.connect(made.ended.append)
    made.checked.connect(lambda run, report: made.looked.append((run, report)))
    made.progress.connect(lambda text, fraction: made.told.append(text))
    made.rendered.connect(made.drawn.append)
    made.error.connect(lambda text, detail: made.errors.append(text))
    made.load_ct_file("ct.nrrd", "CT")
    yield made
    made.stop(wait_seconds=5)


@pytest.fixture
def looking(client):
    """A client whose worker is in the middle of a long look; the run's name."""
    run = client.register(POSE, method="looks long")
    assert client.wait_until(lambda: LOOKING in client.told, PATIENCE)
    assert [result.status for result in client.ended] == ["converged"] and not client.looked  # told before
    assert client.state == "ready"
    return run


def test_what_was_found_follows_the_result(client):
    run = client.register(POSE, method="good")
    assert client.wait_until(lambda: client.looked, PATIENCE)
    assert client.ended[0].report == {"method": "fake"}
    assert client.looked == [(run, {"method": "fake", "looks": 1})]


def test_another_run_begins_at_once_and_its_result_alone_is_looked_at(client, looking):
    pid = client.info["pid"]
    second = client.register(POSE, method="good")
    assert client.wait_until(lambda: client.looked, PATIENCE)
    assert [run for run, _report in client.looked] == [second] != [looking]
    assert client.info["pid"] == pid and not client.errors


def test_a_request_in_the_middle_is_answered_and_the_look_begins_anew(client, looking):
    answers = []
    client.read_pose("0", answers.append)
    assert client.wait_until(lambda: answers and not client.looked, PATIENCE)
    assert client.wait_until(lambda: client.looked, PATIENCE)
    assert client.looked == [(looking, {"method": "fake", "looks": 2})] and client.told[-1] == ""


def test_pictures_are_drawn_in_the_middle(client, looking):
    client.render(POSE)
    assert client.wait_until(lambda: client.drawn, PATIENCE)
    assert not client.looked and client.told[-1] == LOOKING  # which goes on


def test_nothing_is_found_of_inputs_that_are_replaced(client, looking):
    done = []
    client.load_ct_file("other.nrrd", "other", on_done=done.append)
    assert client.wait_until(lambda: done, PATIENCE) and "" in client.told
    assert not client.wait_until(lambda: client.looked, 1.0)


def test_a_cancel_in_the_middle_leaves_the_look_and_the_next_run_alone(client, looking):
    client.interrupt()
    client.register(POSE, method="good")
    assert client.wait_until(lambda: len(client.ended) == 2, PATIENCE)
    assert client.ended[1].status == "converged"


@pytest.mark.parametrize("method", ["endless", "fails"])
def test_a_run_that_did_not_end_by_itself_is_not_looked_at(client, method):
    seen = []
    client.iteration.connect(seen.append)
    client.register(POSE, method=method)
    assert client.wait_until(lambda: len(seen) >= 3, PATIENCE)
    client.cancel()
    assert client.wait_until(lambda: client.ended, PATIENCE)
    assert not client.wait_until(lambda: client.looked, 1.0)


def test_a_look_that_fails_is_told_once_and_the_worker_goes_on(client):
    client.register(POSE, method="cannot look")
    assert client.wait_until(lambda: client.errors, PATIENCE)
    assert "nothing to see" in client.errors[0] and client.ended[0].status == "converged"
    answers = []
    client.read_pose("0", answers.append)
    assert client.wait_until(lambda: answers, PATIENCE)
    assert not client.wait_until(lambda: len(client.errors) > 1 or client.looked, 1.0)
