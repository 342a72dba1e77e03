"""The worker on this machine: ready, a round trip, live DRRs as a drag asks for them, a whole registration, in one run.

    python Testing/benchmarks/worker.py [CT] [--device cuda] [--json FILE]

Without a CT the sample's phantom is used. Peers: for the round trip, a bare pipe of Python's multiprocessing; for live
DRRs, nanodrr in this very process with no boundary to cross (optional, pip install nanodrr); for the registration, the
same one without the worker. The worker chooses its threads itself: all processors but one. Targets on 2 cores: ready in
8 s, 10 live DRRs of 256 x 256 a second.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import numpy as np
import torch
from bench_tools import Stopwatch, machine, parsed, parser_of, run, told, write_report
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.methods import get_method
from DeepReg2D3DLib.engine.registration import RegistrationSetup, register
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.volume_io import load_volume
from DeepReg2D3DLib.engine.xray import XRay
from DeepReg2D3DLib.worker.client import EngineClient
from DeepReg2D3DLib.worker.session_files import camera_from_json
from DeepReg2D3DLib.worker.subprocess_transport import SubprocessTransport
from drr_peers import NanoDrr


def main() -> None:
    """Measure, print one line a figure, write the report."""
    parser = parser_of(__doc__, "worker_benchmark.json")
    parser.add_argument("ct", nargs="?", type=Path, help="CT file (default: the sample's phantom)")
    parser.add_argument("--method", default="deep-iterative")
    parser.add_argument("--live-size", type=int, default=256, help="pixels along the longer side of a live DRR")
    parser.add_argument("--presets", nargs="+", default=["fast", "accurate"])
    options = parsed(parser)
    if options.device.type == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the worker takes a GPU where it sees one
    facts = machine(options.device)
    print(told(facts))
    rows: list[dict[str, Any]] = []

    def note(what: str, value: float, unit: str, text: str = "", peer: float | None = None) -> None:
        row = {"what": what, "value": value, "unit": unit}
        if peer is not None:
            row |= {"peer": peer, "ratio": value / peer}
            text += f"  {value / peer:.2f} of the peer's {peer:.2f} {unit}"
        rows.append(row)
        print(f"{what:28}{value:9.2f} {unit:4}{text}", flush=True)

    start = time.perf_counter()
    client = EngineClient(SubprocessTransport)
    client.error.connect(lambda text, detail: print("error:", text, file=sys.stderr))
    client.start()
    wait(client, lambda: client.state == "ready")
    note("ready after", time.perf_counter() - start, "s", f"({client.state_text} Threads: {client.info['threads']}.)")
    trips = 1000 * statistics.median(round_trip(client) for _ in range(200))
    note("round trip", trips, "ms", "(ping, median)", peer=1000 * pipe_round_trip())
    seconds, sample = timed(client, lambda done: client.make_sample(done))
    note("sample", seconds, "s")
    note("CT loaded", load(client, sample, options.ct), "s")
    peer = nanodrr_rate(volume_of(sample, options.ct), sample, options.device, options.live_size)
    for picture in ("drr", "bone"):
        for views in (["AP"], ["AP", "Lateral"]):
            rate = live(client, sample, views, picture, options.live_size) * len(views)
            note(f"live {picture}, {len(views)} views", rate, "/s", f"(DRRs of {options.live_size} px)", peer)
    latencies: list[float] = []
    for preset in options.presets:
        seconds, text = registered(client, sample, options.method, preset, latencies)
        alone = seconds_alone(sample, options, preset)
        note(f"registration, {preset}", seconds, "s", text, peer=alone)
    note("message of an iteration", 1000 * statistics.median(latencies), "ms", "(in the client, arrays read)")
    begin = time.perf_counter()
    client.stop(wait_seconds=10)
    note("stopped after", time.perf_counter() - begin, "s")
    write_report(options.json, "worker", machine=facts, method=options.method, rows=rows)
    print(f"written to {options.json}")


def pipe_round_trip() -> float:
    """Median seconds of a message there and back over a pipe to a bare Python process."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_echo, args=(theirs,), daemon=True)
    process.start()
    times = []
    for number in range(200):
        begin = time.perf_counter()
        ours.send({"id": number})
        ours.recv()
        times.append(time.perf_counter() - begin)
    ours.send(None)
    process.join()
    return statistics.median(times)


def _echo(connection) -> None:
    while (message := connection.recv()) is not None:
        connection.send(message)


def volume_of(sample: dict, ct: Path | None) -> Volume:
    """The CT that is loaded."""
    if ct is not None:
        return load_volume(ct)
    array = np.array(sample["ct"]["array"])
    return Volume(torch.from_numpy(array), torch.tensor(sample["ct"]["ijk_to_ct"], dtype=torch.float64))


def camera_of(view: dict) -> Camera:
    """The camera of one of the sample's views."""
    return camera_from_json(view["camera"] | {"name": view["name"]})


def nanodrr_rate(volume: Volume, sample: dict, device: torch.device, size: int) -> float | None:
    """DRRs a second of nanodrr in this process at the pose of the sample, or None without nanodrr."""
    try:
        peer = NanoDrr(
            volume.attenuation(), volume.ijk_to_ct, device=device, backend="auto" if device.type == "cuda" else "torch"
        )
    except ImportError as error:
        print(f"nanodrr is not installed here and is left out ({error})")
        return None
    camera = camera_of(sample["views"][0])
    scale = size / max(camera.size)
    small = camera.resized(round(scale * camera.columns), round(scale * camera.rows))
    pose = small.ct_to_camera(torch.tensor(sample["truth"], dtype=torch.float64))
    render = peer.prepare(pose, small.intrinsics, small.size)
    render()
    repeats = 5
    with Stopwatch(device) as watch:
        for _ in range(repeats):
            render().cpu()  # a picture is for the screen
    return repeats / watch.seconds


def seconds_alone(sample: dict, options, preset: str) -> float:
    """Seconds of the same registration in this process, without the worker, with as many threads as it takes."""
    setup = RegistrationSetup.prepare(volume_of(sample, options.ct), options.device)
    xrays = []
    for view in sample["views"]:
        image = torch.from_numpy(np.array(view["image"]))[None, None]
        xrays.append(
            XRay(image, torch.ones_like(image, dtype=torch.bool), camera_from_json(view["camera"]), view["name"])
        )
    method = get_method(options.method, options.device)
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    with Stopwatch(options.device) as watch:
        for _ in register(
            None, xrays, torch.tensor(sample["start"], dtype=torch.float64), method=method, preset=preset, setup=setup
        ):
            pass
    torch.set_num_threads(before)
    return watch.seconds


def wait(client: EngineClient, condition) -> None:
    if not client.wait_until(condition, 300):
        raise SystemExit(f"the worker did not answer in 300 s ({client.state_text})")


def timed(client: EngineClient, ask) -> tuple[float, dict]:
    answers: list[dict] = []
    start = time.perf_counter()
    ask(answers.append)
    wait(client, lambda: answers)
    return time.perf_counter() - start, answers[0]


def round_trip(client: EngineClient) -> float:
    return timed(client, client.ping)[0]


def load(client: EngineClient, sample: dict, ct: Path | None) -> float:
    """Seconds to load the sample's CT, or the file that the command line names; then its X-rays."""
    loaded: list[dict] = []
    client.ct_loaded.connect(loaded.append)
    start = time.perf_counter()
    if ct is not None:
        client.load_ct_file(str(ct), "CT")
    else:
        own = sample["ct"]
        client.load_ct_array(client.folder.write("ct.bin", own["array"]), own["ijk_to_ct"], own["name"])
    wait(client, lambda: loaded)
    seconds = time.perf_counter() - start
    client.set_views([{**view, "image_kind": "line_integral"} for view in sample["views"]])
    wait(client, lambda: client.view_names)
    return seconds


def live(client: EngineClient, sample: dict, views: list[str], picture: str, size: int) -> float:
    """Pictures a second, as a drag asks: a new pose as soon as a picture came."""
    times: list[float] = []

    def again(*_) -> None:
        times.append(time.perf_counter())
        if len(times) <= 40:
            pose = np.array(sample["truth"])
            pose[0, 3] += 0.5 * len(times)
            client.render(pose, max_side=size, views=views, pictures=[picture])

    client.rendered.connect(again)
    again()
    wait(client, lambda: len(times) > 40)
    client.rendered.disconnect(again)
    # The first ones choose the resolution.
    return (len(times) - 11) / (times[-1] - times[10])


def registered(
    client: EngineClient, sample: dict, method: str, preset: str, latencies: list[float]
) -> tuple[float, str]:
    """Seconds of a registration of both views, and how it went; adds the client's own time for each message."""
    received = client._received

    def measured(data: bytes) -> None:
        begin = time.perf_counter()
        received(data)
        latencies.append(time.perf_counter() - begin)

    client._transport.received = measured
    results, iterations = [], []
    for signal, found in ((client.finished, results), (client.iteration, iterations)):
        signal.clear()
        signal.connect(found.append)
    begin = time.perf_counter()
    client.register(sample["start"], method=method, preset=preset)
    wait(client, lambda: results)
    seconds = time.perf_counter() - begin
    return seconds, f"({results[0].status}, {len(iterations) - 1} iterations; with what is made once for the CT)"


if __name__ == "__main__":
    run(main)
