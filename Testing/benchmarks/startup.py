"""How long it takes until something can be done: every figure beside the bare ``import torch``, in one run.

    python Testing/benchmarks/startup.py [--repeats 5] [--json FILE]

Starts processes one after the other, in turns: the interpreter alone, torch alone, our command's --help, everything a
registration needs, the worker until it says it is ready, and nanodrr where it is installed. The best of the repeats
counts, since files are read from the disk the first time. A ratio above 1 takes longer than torch alone.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_tools import LIBRARY, best_seconds, machine, parsed, parser_of, run, told, write_report
from DeepReg2D3DLib.worker.client import EngineClient
from DeepReg2D3DLib.worker.subprocess_transport import SubprocessTransport

TORCH = "import torch"
PROGRAMS = {
    "python alone": "pass",
    TORCH: "import torch",
    "deepreg2d3d --help": "from DeepReg2D3DLib.cli import main; main(['--help'])",
    "engine and networks": (
        "from DeepReg2D3DLib.engine import methods, registration, volume_io, xray_io; "
        "methods.get_method('deep-iterative')"
    ),
}
PEER = ("nanodrr", "import nanodrr.registration, nanodrr.data")
WORKER = "worker until ready"


def main() -> None:
    """Time every start, print a line each, write the report."""
    parser = parser_of(__doc__, "startup_benchmark.json")
    parser.add_argument("--repeats", type=int, default=5)
    options = parsed(parser)
    facts = machine(options.device)
    print(told(facts))
    starts: dict[str, Callable[[], None]] = {name: _started(code) for name, code in PROGRAMS.items()}
    starts[WORKER] = _worker_ready
    if importlib.util.find_spec("nanodrr"):
        starts[PEER[0]] = _started(PEER[1])
    else:
        print("nanodrr is not installed here and is left out")
    seconds = best_seconds(starts, options.device, options.repeats)
    rows = [{"what": name, "s": each, "over_torch": each / seconds[TORCH]} for name, each in seconds.items()]
    for row in rows:
        print(f"{row['what']:24} {row['s']:7.2f} s  {row['over_torch']:5.2f} of {TORCH}")
    if PEER[0] in seconds:
        print(f"engine and networks / nanodrr: {seconds['engine and networks'] / seconds[PEER[0]]:.2f}")
    write_report(options.json, "startup", machine=facts, rows=rows)
    print(f"written to {options.json}")


def _started(code: str) -> Callable[[], None]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(LIBRARY), os.environ.get("PYTHONPATH", "")])}

    def start() -> None:
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL)

    return start


def _worker_ready() -> None:
    client = EngineClient(SubprocessTransport)
    client.start()
    try:
        if not client.wait_until(lambda: client.state == "ready", 300):
            raise SystemExit(f"the worker did not get ready ({client.state_text})")
    finally:
        client.stop(wait_seconds=10)


if __name__ == "__main__":
    run(main)
