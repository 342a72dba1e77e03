"""What all benchmarks share: their options, the clock, the machine they ran on, and how they write what they found.

Importing it puts this checkout's DeepReg2D3DLib on the path, so that a benchmark starts with plain ``python``.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parents[1] / "DeepReg2D3D"
sys.path[:0] = [path for path in (str(HERE), str(LIBRARY)) if path not in sys.path]
DATA = HERE.parents[2] / "shared" / "data"
"""Real CTs and cases beside the checkout, where there are any."""

from DeepReg2D3DLib.processor_sharing import wait_briefly  # noqa: E402

if "DEEPREG2D3D_BENCHMARK_POLICY" not in os.environ:
    wait_briefly()  # as the program does, before torch is imported

import torch  # noqa: E402
from DeepReg2D3DLib.engine.atomic import write_json  # noqa: E402
from DeepReg2D3DLib.engine.device import resolve_device  # noqa: E402
from DeepReg2D3DLib.engine.errors import InputError  # noqa: E402


def parser_of(description: str | None, report: str) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark: --device, --threads and --json (default: ``report``)."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda, for ours and the peer alike")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads, for ours and the peer alike")
    parser.add_argument("--json", type=Path, default=Path(report), help="where the numbers go")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, with the device resolved and the threads set."""
    options = parser.parse_args()
    if options.threads < 1:
        parser.error("--threads must be 1 or more")
    torch.set_num_threads(options.threads)
    try:
        options.device = resolve_device(options.device)
    except InputError as error:
        parser.error(str(error))
    return options


def run(main: Callable[[], None]) -> None:
    """Run a benchmark; a bad input is one line and exit status 2."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def wait_for(device: torch.device) -> None:
    """Let a GPU finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """``seconds`` and ``cpu_seconds`` (of this process, all threads) of a ``with`` block, the GPU's work included."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = self.cpu_seconds = math.nan

    def __enter__(self) -> Stopwatch:
        wait_for(self.device)
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_) -> None:
        wait_for(self.device)
        self.seconds = time.perf_counter() - self._began[0]
        self.cpu_seconds = time.process_time() - self._began[1]


def best_seconds(run: dict[str, Callable[[], Any]], device: torch.device, repeats: int) -> dict[str, float]:
    """Best seconds of each function. They take turns, after one call each that doesn't count: whatever else runs on
    the machine only adds, and adds to all."""
    times: dict[str, list[float]] = {name: [] for name in run}
    for function in run.values():
        function()
    for _ in range(repeats):
        for name, function in run.items():
            with Stopwatch(device) as watch:
                function()
            times[name].append(watch.seconds)
    return {name: min(each) for name, each in times.items()}


def growth(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Exponent p of the line through log cost over log size: 1 where the cost grows in proportion to the size."""
    x, y = [math.log(size) for size in sizes], [math.log(max(cost, 1e-9)) for cost in costs]
    middle_x, middle_y = statistics.fmean(x), statistics.fmean(y)
    spread = sum((each - middle_x) ** 2 for each in x)
    if spread == 0:
        return math.nan
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / spread


def median(values: Sequence[float]) -> float:
    """Median of the numbers that are numbers; NaN where there are none."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def case_and_view(task: Any) -> tuple[str, int]:
    """For ``work_off``: tasks of one ``folder`` and ``view`` share what is kept in memory."""
    return str(task.folder), task.view


def machine(device: torch.device) -> dict[str, Any]:
    """The machine and its state, for the report: other work on it makes every number an upper bound."""
    facts: dict[str, Any] = {
        "cpu": f"{platform.machine()} {platform.system()}, {os.cpu_count()} CPUs",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": device.type,
    }
    if hasattr(os, "getloadavg"):
        facts["load_average_1_min"] = round(os.getloadavg()[0], 2)
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def told(facts: dict[str, Any]) -> str:
    """One line about the machine."""
    load = facts.get("load_average_1_min")
    where = facts.get("gpu", facts["cpu"])
    busy = "" if load is None else f", load {load} at the start (above 0: times are upper bounds)"
    return f"{where}; {facts['threads']} threads; torch {facts['torch']}{busy}"


def write_report(path: Path, name: str, **content: Any) -> None:
    """Write the JSON of a benchmark; NaN becomes null."""
    write_json(path, {"format": f"deepreg2d3d-benchmark-{name}", "version": 1, **_finite(content)})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
