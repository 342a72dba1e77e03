"""Long runs of the worker and of the panel: what memory grows, what hangs, what is left behind.

    python Testing/benchmarks/soak.py [--registrations 1000] [--renders 20000] [--cycles 200] [--minutes M]

The worker registers a small case again and again, mostly one view of it by the quickest preset, and renders it between,
while runs are cancelled at random moments and lines come that are no messages. The panel, in the stand-in Slicer, loads
the sample, registers it and closes the scene; its memory is what it keeps after the allocator has given back what is
free. Peers have nothing to compare. Targets: no growth above 50 MB after the first twentieth, no hang, no zombie.
Ctrl-C and --minutes end either part early; what was reached is reported.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from bench_tools import machine, parsed, parser_of, run, told, write_report
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.worker.client import EngineClient
from DeepReg2D3DLib.worker.session_files import camera_to_json
from DeepReg2D3DLib.worker.subprocess_transport import SubprocessTransport
from small_case import start_pose, write_small_case

HANG_SECONDS = 180.0
RENDERS_AT_ONCE = 3
CANCELLED = 0.2
"""Share of the registrations that are cancelled."""
VIEWS_CHANGE = 25
"""Registrations after which the X-rays are loaded anew."""
HOW = ((("dppc", "paper"), ("dppc", "fast"), ("deep-iterative", "paper"), ("dppc", "accurate")), (16, 2, 1, 1))
"""Methods with their presets, and how often each is taken."""
MALFORMED = (
    b"\n",
    b"{\n",
    b"[" * 5000 + b"\n",
    b"\xff\xfe\x00\n",
    b'{"v": 1}\n',
    b'{"v": 2, "type": "ping", "id": 1}\n',
    b'{"v": 1, "type": "magic", "id": 900001}\n',
    b'{"v": 1, "type": "render", "id": 900002, "ct_to_world": [[NaN]]}\n',
    b'{"v": 1, "type": "render", "id": 900003, "ct_to_world": [[1e999]]}\n',
    b'{"v": 1, "type": "load_ct", "id": 900004, "name": "", "array": {"file": "../x", "dtype": "i1", "shape": [9]}}\n',
    b'{"v": 1, "type": "release", "id": 900005, "files": ["/etc/passwd", "../x", ""]}\n',
    b'{"v": 1, "type": "read_pose", "id": 900006, "path": "/dev/zero"}\n',
    b'{"v": 1, "type": "resume", "id": 900007, "steps": 99999999999}\n',
    b'{"v": 1, "type": "ping", "id": "' + b"9" * 2_000_000 + b'"}\n',
)
"""Lines that are no messages, or ask for what must not be had."""


def megabytes(pid: int) -> float:
    """Resident memory of a process, by the system's ps."""
    found = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True)
    return int(found.stdout) / 1024 if found.stdout.strip() else 0.0


def give_back() -> None:
    """Let this process return to the system what its allocator holds free (glibc; elsewhere nothing happens).

    What a process has freed between what it keeps makes it look larger for good, by chance more or less each time.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def zombies() -> int:
    """Children of this process that have ended and were not waited for."""
    found = subprocess.run(["ps", "-eo", "ppid=,stat="], capture_output=True, text=True).stdout.split("\n")
    own = str(os.getpid())
    return sum(1 for line in found if line.split()[:1] == [own] and line.split()[1].startswith("Z"))


class Memory:
    """Resident MB of a process after every unit of its work."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def note(self, value: float) -> None:
        """MB after one unit more."""
        self.values.append(value)

    @property
    def last(self) -> float:
        return self.values[-1] if self.values else 0.0

    @property
    def settled(self) -> int:
        """Units after which everything that is kept has been made: a twentieth of what was done, 3 at least."""
        return max(3, len(self.values) // 20)

    @property
    def growth(self) -> float:
        """MB that the process has at its end above the most that it had until it had settled."""
        return max(0.0, self.last - max(self.values[: self.settled], default=0.0))

    @property
    def per_thousand(self) -> float:
        """MB gained in a thousand units, by the slope of a line through all values since it had settled."""
        later = self.values[self.settled :]
        return 1000 * statistics.linear_regression(range(len(later)), later).slope if len(later) > 2 else 0.0

    def told(self, what: str) -> dict[str, float]:
        """The numbers of a report."""
        return {
            f"{what}_mb": round(self.last, 1),
            f"{what}_growth_mb": round(self.growth, 1),
            f"{what}_mb_per_1000": round(self.per_thousand, 2),
        }


class Clock:
    """Until when a part goes on: its time is over, or somebody asked for the end (Ctrl-C, SIGTERM)."""

    asked = False

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes if minutes else float("inf")

    @property
    def is_over(self) -> bool:
        return Clock.asked or time.monotonic() > self.end

    @classmethod
    def listen(cls) -> None:
        """From now on a signal ends the part at hand and those to come, after the unit at hand."""

        def asked(*_: object) -> None:
            cls.asked = True

        signal.signal(signal.SIGINT, asked)
        signal.signal(signal.SIGTERM, asked)


class Worker:
    """A client whose answers are counted."""

    def __init__(self, case: Path) -> None:
        self.client = EngineClient(SubprocessTransport)
        self.rendered = self.finished = self.iterations = 0
        self.statuses: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.client.rendered.connect(self._on_rendered)
        self.client.iteration.connect(self._on_iteration)
        self.client.finished.connect(self._on_finished)
        self.client.error.connect(self._on_error)
        self.client.load_ct_file(case / "ct.nrrd", "CT")
        self.views = [
            {"name": v.name, "camera": camera_to_json(v.camera), "path": str(v.image), "image_kind": v.image_kind}
            for v in load_geometry(case / "geometry.json")
        ]
        self.see(self.views)
        if not self.client.wait_until(lambda: self.client.ct_info, HANG_SECONDS):
            raise SystemExit(f"the worker did not start: {self.client.state_text}")

    def see(self, views: list[dict[str, Any]]) -> bool:
        """Put these in place of the views; whether it did."""
        self.client.set_views(views)
        return self.wait(lambda: self.client.view_names == [view["name"] for view in views])

    def _on_rendered(self, result: Any) -> None:
        self.rendered += 1

    def _on_iteration(self, result: Any) -> None:
        self.iterations += 1

    def _on_finished(self, result: Any) -> None:
        self.finished += 1
        self.statuses[result.status] = self.statuses.get(result.status, 0) + 1

    def _on_error(self, text: str, detail: str) -> None:
        self.errors[text[:60]] = self.errors.get(text[:60], 0) + 1

    @property
    def pid(self) -> int:
        return int(self.client.info["pid"])

    def disturb(self, draw: random.Random) -> None:
        """Send a line that is no message."""
        self.client._transport.write(draw.choice(MALFORMED))

    def wait(self, condition: Callable[[], bool]) -> bool:
        return self.client.wait_until(condition, HANG_SECONDS)


def soak_worker(case: Path, registrations: int, renders: int, minutes: float, seed: int) -> dict[str, Any]:
    """Registrations with renders between them; numbers of what happened."""
    draw = random.Random(seed)
    worker = Worker(case)
    theirs, ours = Memory(), Memory()
    hangs = cancelled = disturbed = runs = asked = 0
    first_pid = worker.pid
    clock = Clock(minutes)
    each = -(-renders // registrations)
    for number in range(registrations):
        if clock.is_over:
            break
        if number % VIEWS_CHANGE == 0:
            views = worker.views if number // VIEWS_CHANGE % 5 == 4 else [draw.choice(worker.views)]
            hangs += not worker.see(views)
        wanted = worker.rendered + each
        while worker.rendered < wanted:
            before = worker.rendered
            for _ in range(draw.randint(1, RENDERS_AT_ONCE)):  # of those that wait, only the last is drawn
                pose, side = start_pose(draw.uniform(0, 30)).numpy(), draw.choice((64, 128, 256))
                worker.client.render(pose, max_side=side, pictures=draw.choice((["drr"], ["bone"])))
                asked += 1
            if not worker.wait(lambda before=before: worker.rendered > before):
                hangs += 1
                break
        if draw.random() < 0.5:
            worker.disturb(draw)
            disturbed += 1
        seen, ended = worker.iterations, worker.finished
        method, preset = draw.choices(*HOW)[0]
        worker.client.register(start_pose(draw.uniform(1, 8)).numpy(), method, preset)
        runs += 1
        if draw.random() < CANCELLED:
            steps = draw.randrange(4)
            worker.wait(lambda seen=seen, steps=steps: worker.iterations >= seen + steps)
            worker.client.cancel()
            cancelled += 1
        if not worker.wait(lambda ended=ended: worker.finished > ended):
            hangs += 1
            worker.client.restart()
        theirs.note(megabytes(worker.pid))
        ours.note(megabytes(os.getpid()))
        if number % 10 == 9:
            words = f"{number + 1} registrations, {worker.rendered} renders, {hangs} hangs"
            print(f"{words}: worker {theirs.last:.0f} MB, client {ours.last:.0f} MB", flush=True)
    folder = worker.client.folder.path
    crashed = worker.pid != first_pid
    worker.client.stop(wait_seconds=20)
    return {
        "registrations": runs, "renders": worker.rendered, "renders_asked": asked, "cancelled": cancelled,
        "malformed": disturbed, "hangs": hangs, "crashed": crashed, "zombies": zombies(),
        "folder_left": folder.exists(), "statuses": worker.statuses, "errors": worker.errors,
        **theirs.told("worker"), **ours.told("client"),
    }  # fmt: skip


def soak_panel(cycles: int, minutes: float) -> dict[str, Any]:
    """Load, register and close in the stand-in Slicer; every tenth time the module is unloaded, too."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    root = Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(root / "Testing" / "host"))
    import slicer_host

    reason = slicer_host.missing()
    if reason:
        return {"skipped": reason}
    host = slicer_host.start()
    import slicer

    own, held = Memory(), Memory()
    done = hangs = 0
    clock = Clock(minutes)
    widget = None
    for number in range(cycles):
        if clock.is_over:
            break
        if widget is None:
            widget = host.load_module(root / "DeepReg2D3D" / "DeepReg2D3D.py")
        logic = widget.logic
        logic.loadSample()  # the stand-in has no reader of volumes
        if not host.wait_for(lambda logic=logic: logic.session.inputs.ready, HANG_SECONDS):
            hangs += 1
        else:
            result = logic.register(method="dppc", preset="paper")
            hangs += result is None
        slicer.mrmlScene.Clear()
        host.process_events(0.05)
        done += 1
        if number % 10 == 9:
            host.unload_module(widget)
            widget = None
            host.process_events(0.05)
        held.note(megabytes(os.getpid()))
        give_back()
        own.note(megabytes(os.getpid()))
        print(f"{number + 1} cycles: panel {own.last:.0f} MB, {held.last:.0f} with what it holds free", flush=True)
    if widget is not None:
        host.unload_module(widget)
    return {"cycles": done, "hangs": hangs, "zombies": zombies(), **own.told("panel"), **held.told("held")}


def show(row: dict[str, Any]) -> None:
    """Print a result, a line a number."""
    print("\n".join(f"{key:20} {value}" for key, value in row.items()), flush=True)


def main() -> None:
    """Run both, print what happened, write the report."""
    parser = parser_of(__doc__, "soak_benchmark.json")
    parser.add_argument("--registrations", type=int, default=1000)
    parser.add_argument("--renders", type=int, default=20000)
    parser.add_argument("--cycles", type=int, default=200, help="of the panel; 0: the worker alone")
    parser.add_argument("--minutes", type=float, default=0.0, help="at most so long for each (0: as long as it takes)")
    parser.add_argument("--seed", type=int, default=0)
    options = parsed(parser)
    Clock.listen()
    facts = machine(options.device)
    print(told(facts))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        case = write_small_case(Path(folder) / "case")
        if options.registrations > 0:
            found = soak_worker(case, options.registrations, options.renders, options.minutes, options.seed)
            rows.append({"what": "worker", **found})
            show(rows[-1])
            write_report(options.json, "soak", machine=facts, rows=rows)
        if options.cycles > 0:
            rows.append({"what": "panel", **soak_panel(options.cycles, options.minutes)})
            show(rows[-1])
    write_report(options.json, "soak", machine=facts, rows=rows)


if __name__ == "__main__":
    run(main)
