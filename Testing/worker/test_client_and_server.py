"""A real worker process behind the client, with an engine that misbehaves on demand."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from DeepReg2D3DLib.worker import link
from DeepReg2D3DLib.worker.arrays import ArrayFolder
from DeepReg2D3DLib.worker.client import EngineClient
from DeepReg2D3DLib.worker.subprocess_transport import SubprocessTransport

FAKE = Path(__file__).with_name("fake_worker.py")
CAMERA = {
    "name": "AP",
    "columns": 4,
    "rows": 3,
    "intrinsics": [[1000, 0, 1.5], [0, 1000, 1], [0, 0, 1]],
    "world_to_camera": np.eye(4).tolist(),
    "pixel_spacing_mm": [1, 1],
}


def shifted(x: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


class Recorder:
    """Everything that a client signals."""

    def __init__(self, client: EngineClient) -> None:
        self.events: list[tuple[str, tuple]] = []
        for name in "ct_loaded views_loaded rendered iteration paused finished error state_changed log".split():
            getattr(client, name).connect(lambda *args, name=name: self.events.append((name, args)))

    def of(self, name: str) -> list:
        return [args[0] if len(args) == 1 else args for event, args in self.events if event == name]


PATIENCE = 60.0
"""Seconds to wait for what comes at once on a quiet machine: a busy machine is no failure."""


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.worker.client.CANCEL_SECONDS", PATIENCE)
    client = EngineClient(SubprocessTransport, lambda: [sys.executable, "-u", str(FAKE)])
    client.seen = Recorder(client)
    yield client
    folder = client.folder.path
    pid = client.info.get("pid")
    client.stop(wait_seconds=5)
    assert not folder.exists()
    assert pid is None or not alive(pid)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def test_iterations_arrive_with_their_arrays(client):
    client.load_ct_file("ct.nrrd", "CT")
    run = client.register(shifted(0), method="good")
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    iterations = client.seen.of("iteration")
    assert [item.index for item in iterations] == list(range(6))
    assert [item.views[0].drr[0, 0] for item in iterations] == list(range(6))
    assert np.isnan(iterations[0].similarity)
    assert iterations[2].views[0].flow.shape == (100, 2)
    result = client.seen.of("finished")[0]
    assert (result.run, result.status, result.iterations) == (run, "converged", 5)
    assert result.pose[0, 3] == 5
    assert result.report == {"method": "fake"}
    assert client.state == "ready"


def test_cancel_ends_the_run_between_iterations_and_keeps_the_last_pose(client):
    client.load_ct_file("ct.nrrd", "CT")
    client.register(shifted(0), method="endless")
    assert client.wait_until(lambda: len(client.seen.of("iteration")) >= 3, PATIENCE)
    client.cancel()
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    result = client.seen.of("finished")[0]
    assert result.status == "cancelled"
    np.testing.assert_array_equal(result.pose, client.seen.of("iteration")[-1].pose)
    client.register(shifted(0), method="good")
    assert client.wait_until(lambda: len(client.seen.of("finished")) == 2, PATIENCE)
    assert client.seen.of("finished")[1].status == "converged"


def test_a_cancelled_run_that_looked_elsewhere_goes_back_to_where_it_was_trusted_most(client):
    client.load_ct_file("ct.nrrd", "CT")
    client.register(shifted(3), method="looks elsewhere")
    assert client.wait_until(lambda: len(client.seen.of("iteration")) >= 3, PATIENCE)
    client.cancel()
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    last, result = client.seen.of("iteration")[-1], client.seen.of("finished")[0]
    assert result.status == "cancelled"
    np.testing.assert_array_equal(last.pose, shifted(3))  # shown, and so in the scene
    np.testing.assert_array_equal(result.pose, shifted(3))
    indices = [each.index for each in client.seen.of("iteration")]
    assert indices == list(range(len(indices)))


def test_cancel_ends_a_long_search_within_an_iteration_and_what_it_does_is_told(client):
    told = []
    client.progress.connect(lambda text, fraction: told.append((text, fraction)))
    client.load_ct_file("ct.nrrd", "CT")
    client.register(shifted(0), method="looks")
    assert client.wait_until(lambda: ("Looking about...", None) in told, PATIENCE)
    pid, began = client.info["pid"], time.monotonic()
    client.cancel()
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    assert time.monotonic() - began < link.CANCEL_SECONDS
    result = client.seen.of("finished")[0]
    assert result.status == "cancelled" and client.info["pid"] == pid  # it obeyed; nobody had to end it
    np.testing.assert_array_equal(result.pose, client.seen.of("iteration")[-1].pose)
    assert told.count(("Looking about...", None)) == 1 and told[-1] == ("", 1.0)
    client.register(shifted(0), method="good")
    assert client.wait_until(lambda: len(client.seen.of("finished")) == 2, PATIENCE)
    assert client.seen.of("finished")[1].status == "converged"


@pytest.mark.parametrize("work", ["run", "first pose"])
def test_pictures_are_drawn_in_the_middle_of_a_long_search(client, work):
    told, refusals = [], []
    client.progress.connect(lambda text, fraction: told.append(text))
    client.load_ct_file("ct.nrrd", "CT")
    if work == "run":
        client.register(shifted(0), method="looks")
    else:
        client.initial_pose(lambda answer: None, kind="auto", on_error=refusals.append)
    assert client.wait_until(lambda: "Looking about..." in told, PATIENCE)
    before = len(client.seen.of("iteration"))
    for x in range(20):
        client.render(shifted(x))
    assert client.wait_until(lambda: any(r.pose[0, 3] == 19 for r in client.seen.of("rendered")), PATIENCE)
    assert len(client.seen.of("rendered")) <= 2  # of those that waited the newest alone
    assert len(client.seen.of("iteration")) == before and "" not in told and not refusals  # it still looks
    client.cancel() if work == "run" else client.interrupt()


def test_a_picture_that_fails_in_the_middle_of_a_search_leaves_the_search_alone(client):
    told, failed = [], []
    client.progress.connect(lambda text, fraction: told.append(text))
    client.load_ct_file("ct.nrrd", "CT")
    client.register(shifted(0), method="looks")
    assert client.wait_until(lambda: "Looking about..." in told, PATIENCE)
    client.render(shifted(0), views=["none such"], on_error=failed.append)
    assert client.wait_until(lambda: failed, PATIENCE)
    assert not client.seen.of("finished") and "" not in told
    client.cancel()
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    assert client.seen.of("finished")[0].status == "cancelled"


def test_replaced_inputs_end_a_long_search_at_once(client):
    told = []
    client.progress.connect(lambda text, fraction: told.append(text))
    client.load_ct_file("ct.nrrd", "CT")
    client.register(shifted(0), method="looks")
    assert client.wait_until(lambda: "Looking about..." in told, PATIENCE)
    began = time.monotonic()
    client.set_views([{"name": "AP", "camera": CAMERA, "image": np.full((3, 4), 2.0)}])
    assert client.wait_until(lambda: client.seen.of("views_loaded"), PATIENCE)
    assert time.monotonic() - began < 15  # the search alone takes 30 s
    result = client.seen.of("finished")[0]
    assert result.status == "cancelled" and "replaced" in result.text


def test_a_search_for_a_first_pose_is_given_up_and_the_engine_stays(client, monkeypatch):
    monkeypatch.setattr(link, "CANCEL_SECONDS", PATIENCE)
    told, refusals = [], []
    client.progress.connect(lambda text, fraction: told.append(text))
    client.load_ct_file("ct.nrrd", "CT")
    client.initial_pose(lambda answer: refusals.append("answered"), kind="auto", on_error=refusals.append)
    assert client.wait_until(lambda: "Looking about..." in told, PATIENCE)
    pid = client.info["pid"]
    client.interrupt()
    assert client.wait_until(lambda: refusals and client.state == "ready", PATIENCE)
    assert refusals == ["Stopped by the user."] and client.info["pid"] == pid and told[-1] == ""
    client.register(shifted(0), method="good")  # what was given up gives up nothing that comes later
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    assert client.seen.of("finished")[0].status == "converged"


def test_work_that_cannot_be_given_up_is_ended_with_the_engine(client, monkeypatch):
    monkeypatch.setattr(link, "CANCEL_SECONDS", 0.3)
    refusals = []
    client.load_ct_file("ct.nrrd", "CT")
    assert client.wait_until(lambda: client.seen.of("ct_loaded"), PATIENCE)
    pid = client.info["pid"]
    client.read_pose("3600", lambda answer: refusals.append("answered"), on_error=refusals.append)
    client.interrupt()
    assert client.wait_until(lambda: len(client.seen.of("ct_loaded")) == 2, PATIENCE)
    assert refusals == ["Stopped by the user."] and client.info["pid"] != pid and not alive(pid)


def test_cancel_before_the_run_began_drops_it(client):
    client.load_ct_file("ct.nrrd", "CT")
    client.read_pose("0.5", lambda answer: None)
    client.register(shifted(7), method="endless")
    client.cancel()
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    assert client.seen.of("finished")[0].status == "cancelled"
    assert client.seen.of("iteration") == []


def test_a_stuck_worker_is_terminated_and_started_again_with_its_ct(client, monkeypatch):
    monkeypatch.setattr(link, "CANCEL_SECONDS", 0.3)
    monkeypatch.setattr("DeepReg2D3DLib.worker.client.CANCEL_SECONDS", 0.3)
    client.load_ct_file("ct.nrrd", "CT")
    client.set_views([{"name": "AP", "camera": CAMERA, "image": np.full((3, 4), 2.0)}])
    client.register(shifted(0), method="stuck")
    assert client.wait_until(lambda: len(client.seen.of("iteration")) == 3, PATIENCE)
    first = client.info["pid"]
    client.cancel()
    assert client.wait_until(lambda: len(client.seen.of("views_loaded")) == 2 and client.info["pid"] != first, PATIENCE)
    assert not alive(first)
    assert client.seen.of("ct_loaded")[1]["reloaded"] is True
    assert client.seen.of("views_loaded")[1]["means"] == [2.0]
    assert client.seen.of("finished")[0].pose[0, 3] == 2


@pytest.mark.parametrize("how", ["crash", "killed"])
def test_after_a_crash_the_last_pose_stays_and_the_worker_comes_back(client, how):
    client.load_ct_file("ct.nrrd", "CT")
    client.register(shifted(0), method="crash" if how == "crash" else "endless")
    assert client.wait_until(lambda: len(client.seen.of("iteration")) >= 3, PATIENCE)
    if how == "killed":
        os.kill(client.info["pid"], 9)
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    result = client.seen.of("finished")[0]
    assert result.status == "failed"
    assert result.pose[0, 3] == client.seen.of("iteration")[-1].pose[0, 3]
    assert "stopped unexpectedly" in client.seen.of("error")[0][0]
    assert client.wait_until(lambda: len(client.seen.of("ct_loaded")) == 2, PATIENCE)
    assert client.wait_until(lambda: client.state == "ready", PATIENCE)


def test_a_worker_that_dies_again_and_again_is_left_alone(client):
    client.load_ct_file("ct.nrrd", "CT")
    for _ in range(link.MAX_CRASHES):
        assert client.wait_until(lambda: client.state == "ready", PATIENCE)
        client.load_ct_file("ct.nrrd", "crash")
        assert client.wait_until(lambda: client.state != "busy", PATIENCE)
    assert client.wait_until(lambda: client.state == "failed", PATIENCE)
    assert not client.is_started
    assert "3 times" in client.state_text


def test_an_engine_that_cannot_be_made_says_why():
    client = EngineClient(SubprocessTransport, lambda: [sys.executable, "-u", str(FAKE), "--no-engine"])
    client.start()
    # Nothing to do for the worker but to wait for the end of its input.
    assert client.wait_until(lambda: client.state == "failed", PATIENCE)
    assert "torch" in client.state_text and "not installed" in client.state_text
    client.stop(wait_seconds=5)


def test_a_program_that_does_not_exist_is_a_failed_start():
    client = EngineClient(SubprocessTransport, lambda: ["/no/such/program"])
    client.start()
    assert client.wait_until(lambda: client.state == "failed", PATIENCE)
    assert "could not be started" in client.state_text
    client.stop(wait_seconds=1)


def test_of_many_renders_only_the_newest_is_answered(client):
    client.load_ct_file("ct.nrrd", "CT")
    for x in range(200):
        client.render(shifted(x))
    assert client.wait_until(
        lambda: client.seen.of("rendered") and client.seen.of("rendered")[-1].pose[0, 3] == 199, 20
    )
    results = client.seen.of("rendered")
    assert len(results) <= 3
    assert results[-1].views[0].drr[0, 0] == 199


def test_renders_are_answered_during_a_run_and_do_not_starve_it(client):
    client.load_ct_file("ct.nrrd", "CT")
    client.register(shifted(0), method="good")
    client.rendered.connect(lambda result: client.render(shifted(1)))
    client.render(shifted(0))
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    assert client.seen.of("finished")[0].status == "converged"
    assert len(client.seen.of("rendered")) >= 2


def test_steps_pause_and_resume(client):
    client.load_ct_file("ct.nrrd", "CT")
    client.register(shifted(0), method="good", steps=1)
    assert client.wait_until(lambda: client.seen.of("paused"), PATIENCE)
    assert [item.index for item in client.seen.of("iteration")] == [0, 1]
    assert client.run_paused and client.state == "ready"
    client.resume(steps=2)
    assert client.wait_until(lambda: len(client.seen.of("paused")) == 2, PATIENCE)
    assert [item.index for item in client.seen.of("iteration")] == [0, 1, 2, 3]
    client.resume()
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    assert client.seen.of("finished")[0].status == "converged"


def test_a_full_gpu_falls_back_to_the_cpu_and_the_run_goes_on(client):
    client.load_ct_file("ct.nrrd", "CT")
    client.register(shifted(0), method="memory")
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    assert client.seen.of("finished")[0].status == "converged"
    assert any("ran out of memory" in text for text, _ in client.seen.of("error"))
    assert client.info["device"] == "cpu"
    assert client.seen.of("finished")[0].pose[0, 3] == 2 + 5  # three records before, then from the last pose


def test_an_error_in_a_run_is_told_and_the_worker_goes_on(client):
    client.load_ct_file("ct.nrrd", "CT")
    client.register(shifted(0), method="fails")
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    result = client.seen.of("finished")[0]
    assert result.status == "failed" and "three is too many" in result.text
    assert result.pose[0, 3] == 2
    client.register(shifted(0), method="good")
    assert client.wait_until(lambda: len(client.seen.of("finished")) == 2, PATIENCE)


def test_a_refused_run_ends_as_failed(client):
    client.register(shifted(0), method="good")
    assert client.wait_until(lambda: client.seen.of("finished"), PATIENCE)
    assert client.seen.of("finished")[0].status == "failed"
    assert not client.is_running_registration


def test_big_arrays_travel_both_ways_and_prints_do_not_disturb(client):
    array = np.arange(4_000_000, dtype=np.int16).reshape(100, 200, 200)
    client.load_ct_array(client.folder.write("ct.bin", array), np.eye(4), "CT")
    assert client.wait_until(lambda: client.seen.of("ct_loaded"), PATIENCE)
    assert client.seen.of("ct_loaded")[0]["sum"] == array.sum(dtype=np.float64)
    answers = []
    client.bone_surface(answers.append)
    assert client.wait_until(lambda: answers, PATIENCE)
    np.testing.assert_array_equal(answers[0]["points"], np.arange(3_000_000, dtype=np.float32).reshape(-1, 3))
    assert answers[0]["triangles"].shape == (0, 3)
    assert client.wait_until(lambda: "C code" in "".join(client.seen.of("log")), PATIENCE)
    assert not any("ignored" in text for text in client.seen.of("log"))


def test_ping_is_answered_while_the_engine_computes(client):
    order = []
    client.read_pose("1.0", lambda answer: order.append("computed"))
    assert client.wait_until(lambda: client.state == "ready", PATIENCE)
    client.ping(lambda answer: order.append("pong"))
    assert client.wait_until(lambda: len(order) == 2, PATIENCE)
    assert order == ["pong", "computed"]


def test_files_of_replaced_views_are_removed(client):
    for value in (1.0, 2.0, 3.0):
        client.set_views([{"name": "AP", "camera": CAMERA, "image": np.full((3, 4), value)}])
        client.wait_until(
            lambda value=value: (
                client.seen.of("views_loaded")[-1:] and client.seen.of("views_loaded")[-1]["means"] == [value]
            ),
            20,
        )
    assert len(list(client.folder.path.glob("view*.bin"))) == 1


def test_stop_without_waiting_leaves_nothing(client):
    client.load_ct_file("ct.nrrd", "CT")
    assert client.wait_until(lambda: client.seen.of("ct_loaded"), PATIENCE)
    folder, pid = client.folder.path, client.info["pid"]
    client.stop()
    assert client.wait_until(lambda: client.state == "stopped", PATIENCE)
    assert not folder.exists() and not alive(pid)


def test_it_can_be_started_again_while_it_is_still_ending(client):
    client.set_views([{"name": "AP", "camera": CAMERA, "image": np.full((3, 4), 1.0)}])
    assert client.wait_until(lambda: client.view_names, PATIENCE)
    client.stop()
    client.set_views([{"name": "AP", "camera": CAMERA, "image": np.full((3, 4), 2.0)}])
    assert client.wait_until(lambda: len(client.seen.of("views_loaded")) == 2, PATIENCE)
    assert client.seen.of("views_loaded")[1]["means"] == [2.0]
    client.load_ct_file("ct.nrrd", "CT")
    client.render(shifted(3))
    assert client.wait_until(lambda: client.seen.of("rendered"), PATIENCE)
    assert client.seen.of("rendered")[0].views[0].drr[0, 0] == 3


def test_a_picture_that_is_lost_does_not_stop_the_next(client):
    client.load_ct_file("ct.nrrd", "CT")
    assert client.wait_until(lambda: client.seen.of("ct_loaded"), PATIENCE)
    client.render(shifted(1))
    lost = client._render_id
    gone = {"$array": {"file": "gone", "dtype": "int8", "shape": [9]}}
    client._received(json.dumps({"v": 1, "type": "rendered", "id": lost, "a": gone}).encode() + b"\n")
    client.render(shifted(2))
    assert client.wait_until(lambda: client.seen.of("rendered"), PATIENCE)
    assert client.wait_until(lambda: client.seen.of("rendered")[-1].pose[0, 3] == 2, PATIENCE)


# --- the protocol itself, without the client -------------------------------------------------------------------------


@pytest.fixture
def process():
    folder = ArrayFolder.create()
    folder.claim("token")
    process = subprocess.Popen(
        [sys.executable, "-u", str(FAKE), "--folder", str(folder.path), "--token", "token"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.folder = folder
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    folder.remove()


def next_message(process, kind=None):
    while True:
        message = json.loads(process.stdout.readline())
        if kind is None or message["type"] == kind:
            return message


def test_garbage_lines_are_answered_with_an_error_and_ignored(process):
    assert next_message(process)["type"] == "ready"
    for line in (
        b"hello\n",
        b"\xff\xfe\x00\n",
        b'{"v":1,"type":"fly","id":4}\n',
        b'{"v":99,"type":"ping","id":5}\n',
        b'{"v":1,"type":"render","id":6,"ct_to_world":[[NaN,0,0,0]]}\n',
        b'{"v":1,"type":"render","id":7,"ct_to_world":[[1,0,0,0]]}\n',
        b'{"v":1,"type":"load_ct","id":8,"name":"x","array":{"file":"../x","dtype":"int16","shape":[1]},"ijk_to_ct":null}\n',
        b'{"v":1,"type":"save_geometry","id":9,"path":"x","views":[1]}\n',
        b'{"v":1,"type":"bone_surface","id":10,"hu":1' + b"0" * 400 + b"}\n",
        b'{"v":' + b"[" * 800 + b"]" * 800 + b',"type":"ping","id":11}\n',
        b"[" * 50_000 + b"\n",
        b"x" * (3 << 20) + b"\n",
    ):
        process.stdin.write(line)
        process.stdin.flush()
        message = next_message(process)
        while message["type"] == "progress":
            message = next_message(process)
        assert message["type"] == "error", line[:80]
        assert "\n" not in message["text"] and message["text"]
    process.stdin.write(b'\n{"v":1,"type":"ping","id":9}\n')
    process.stdin.flush()
    assert next_message(process) == {"v": 1, "type": "pong", "id": 9}


def test_the_end_of_stdin_ends_a_computing_worker_at_once_and_removes_its_folder(process):
    next_message(process, "ready")
    process.stdin.write(b'{"v":1,"type":"read_pose","id":1,"path":"3600"}\n')
    process.stdin.flush()
    time.sleep(0.2)
    process.stdin.close()
    assert process.wait(5) == 0
    assert not process.folder.path.exists()


def test_a_replaced_worker_leaves_the_folder_of_its_successor(process):
    next_message(process, "ready")
    process.folder.claim("another token")
    process.stdin.close()
    assert process.wait(5) == 0
    assert process.folder.path.exists()


def test_a_worker_whose_parent_is_killed_ends(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-u', {str(FAKE)!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "p.stdout.readline()\nprint(p.pid, flush=True)\nsys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    end = time.monotonic() + 10
    while alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    parent.stdin.close()
    parent.stdout.close()
    assert not alive(child)
