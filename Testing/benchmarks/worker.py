"""Times of the worker on this machine: until it is ready, a round trip, live DRRs a second, a whole registration.

    PYTHONPATH=DeepReg2D3D python Testing/benchmarks/worker.py [CT]

Without a CT the sample's phantom is used. Targets on 2 cores: ready in 8 s, 10 live DRRs of 256 x 256 a second.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from DeepReg2D3DLib.worker.client import EngineClient
from DeepReg2D3DLib.worker.transports import SubprocessTransport


def main() -> None:
    """Measure and print one line a figure."""
    start = time.perf_counter()
    client = EngineClient(SubprocessTransport)
    client.error.connect(lambda text, detail: print("error:", text, file=sys.stderr))
    client.start()
    wait(client, lambda: client.state == "ready")
    threads = client.info["threads"]
    print(f"ready after             {time.perf_counter() - start:8.2f} s   ({client.state_text} Threads: {threads}.)")
    trip = 1000 * statistics.median(round_trip(client) for _ in range(200))
    print(f"round trip              {trip:8.2f} ms  (ping, median)")
    seconds, sample = timed(client, lambda done: client.make_sample(done))
    print(f"sample                  {seconds:8.2f} s")
    load(client, sample)
    for picture in ("drr", "bone"):
        for views in (["AP"], ["AP", "Lateral"]):
            live(client, sample, views, picture)
    latencies = register(client, sample)
    print(f"message of an iteration {1000 * statistics.median(latencies):8.2f} ms  (in the client, arrays read)")
    begin = time.perf_counter()
    client.stop(wait_seconds=10)
    print(f"stopped after           {time.perf_counter() - begin:8.2f} s")


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


def load(client: EngineClient, sample: dict) -> None:
    """The sample's CT, or the file that the command line names, and the sample's X-rays."""
    loaded: list[dict] = []
    client.ct_loaded.connect(loaded.append)
    start = time.perf_counter()
    if len(sys.argv) > 1:
        client.load_ct_file(sys.argv[1], "CT")
    else:
        ct = sample["ct"]
        client.load_ct_array(client.folder.write("ct.bin", ct["array"]), ct["ijk_to_ct"], ct["name"])
    wait(client, lambda: loaded)
    print(f"CT loaded               {time.perf_counter() - start:8.2f} s   {loaded[0]['shape']}")
    client.set_views([{**view, "image_kind": "line_integral"} for view in sample["views"]])
    wait(client, lambda: client.view_names)


def live(client: EngineClient, sample: dict, views: list[str], picture: str) -> None:
    """As a drag asks: a new pose as soon as a picture came."""
    times: list[float] = []

    def again(*_) -> None:
        times.append(time.perf_counter())
        if len(times) <= 40:
            pose = np.array(sample["truth"])
            pose[0, 3] += 0.5 * len(times)
            client.render(pose, max_side=256, views=views, pictures=[picture])

    client.rendered.connect(again)
    again()
    wait(client, lambda: len(times) > 40)
    client.rendered.disconnect(again)
    # The first ones choose the resolution.
    rate = (len(times) - 11) / (times[-1] - times[10])
    print(f"live {picture:4}, {len(views)} of 256²  {rate:8.1f} /s  ({rate * len(views):.1f} DRRs a second)")


def register(client: EngineClient, sample: dict) -> list[float]:
    """Both presets from the sample's start; returns the time of the client's own work for each message."""
    latencies: list[float] = []
    received = client._received

    def measured(data: bytes) -> None:
        begin = time.perf_counter()
        received(data)
        latencies.append(time.perf_counter() - begin)

    client._transport.received = measured
    for preset in ("fast", "accurate"):
        results, iterations = [], []
        for signal, found in ((client.finished, results), (client.iteration, iterations)):
            signal.clear()
            signal.connect(found.append)
        begin = time.perf_counter()
        client.register(sample["start"], method="dppc", preset=preset)
        wait(client, lambda results=results: results)
        seconds = time.perf_counter() - begin
        print(f"registration, {preset:8}  {seconds:8.2f} s   ({results[0].status}, {len(iterations) - 1} iterations)")
    return latencies


if __name__ == "__main__":
    main()
