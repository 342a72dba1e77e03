"""Compute threads that share the processors: our waiting beside OpenMP's own and beside threads that never wait awake.

    python Testing/benchmarks/threads.py [--cases DIR] [--threads 2] [--json FILE]

Registers one start of a case in child processes: one process alone, and two at a time, as when a second program
computes. The policies take turns. Ratios are to ours, above 1 where ours is faster. Only CPU threads are looked at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch
from bench_tools import DATA, Stopwatch, machine, parsed, parser_of, run, told, write_report
from DeepReg2D3DLib.processor_sharing import SPINS
from registration import ours_of, read_case

POLICIES = {
    "ours": {"GOMP_SPINCOUNT": str(SPINS)},
    "OpenMP's own": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}


def main() -> None:
    """Start the children, print a line for each number of processes, write the report."""
    parser = parser_of(__doc__, "threads_benchmark.json")
    parser.add_argument("--cases", type=Path, default=DATA / "cases" / "thorax_b", help="one case folder")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--repeats", type=int, default=3, help="registrations in a process; the best counts")
    parser.add_argument("--child", action="store_true", help="internal: register in this process")
    options = parsed(parser)
    if options.child:
        print(json.dumps(_registered(options)))
        return
    facts = machine(torch.device("cpu"))
    print(told(facts))
    rows = []
    for processes in (1, 2):
        for threads in sorted({1, options.threads}):
            row: dict[str, Any] = {"processes": processes, "threads": threads}
            for name, variables in POLICIES.items():
                found = _children(options, processes, threads, variables)
                row[name] = {key: max(each[key] for each in found) for key in found[0]}
            rows.append(row)
            print(_line(row), flush=True)
    write_report(options.json, "threads", machine=facts, spins=SPINS, preset=options.preset, rows=rows)
    print(f"written to {options.json}")


def _registered(options) -> dict[str, float]:
    """Best seconds and CPU seconds of one registration, after one that doesn't count."""
    case, volume, xrays = read_case(options.cases)
    solve = ours_of(volume, "deep-iterative", options.preset, torch.device("cpu"))
    start = case.starts[len(case.starts) // 3][1]
    solve(xrays[0], start)
    found = []
    for _ in range(options.repeats):
        with Stopwatch(torch.device("cpu")) as watch:
            solve(xrays[0], start)
        found.append({"s": watch.seconds, "cpu_s": watch.cpu_seconds})
    return min(found, key=lambda each: each["s"])


def _children(options, processes: int, threads: int, variables: dict[str, str]) -> list[dict[str, float]]:
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment |= variables | {"OMP_NUM_THREADS": str(threads), "DEEPREG2D3D_BENCHMARK_POLICY": "given"}
    command = [sys.executable, __file__, "--child", "--cases", str(options.cases), "--preset", options.preset]
    command += ["--threads", str(threads), "--repeats", str(options.repeats)]
    children = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    answers = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise SystemExit("a child process failed; its message is above")
    return [json.loads(answer.splitlines()[-1]) for answer in answers]


def _line(row: dict[str, Any]) -> str:
    text = f"{row['processes']} processes, {row['threads']} threads each:"
    for name in POLICIES:
        text += f"  {name} {row[name]['s']:.2f} s"
        if name != "ours":
            text += f" ({row[name]['s'] / row['ours']['s']:.2f} of ours)"
    return text


if __name__ == "__main__":
    run(main)
