"""How long the panel holds Slicer's main thread: events, overlay updates and drags, in the stand-in host with real Qt.

    python Testing/benchmarks/main_thread.py [--view 512] [--modes blend edges ...] [--json FILE]

Loads the sample, drags the overlay, and registers once with each kind of overlay. An event is everything that Qt
delivers at once: a click, a timer, a line of the engine. What the host takes to make views is left out, and views are
drawn apart, as neither is ours. Seconds on the wall and on the processor are both told: the latter leave out what other
programs take. The module's files are compiled first, as they are from Slicer's second start on; torch, which this
program loads and Slicer does not, is kept out of Python's garbage collections. There is no peer. Targets: no event of
ours above 50 ms, no overlay update above 30 ms, 10 drawn overlays a second while dragging.
"""

from __future__ import annotations

import compileall
import gc
import importlib
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_tools import machine, parsed, parser_of, run, told, write_report

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing" / "host"))
EVENT_MS, UPDATE_MS, DRAWN_PER_SECOND = 50.0, 30.0, 10.0
DRAG_SECONDS, DRAG_RATE = 4.0, 60.0
MODES = ("blend", "edges", "checkerboard", "difference", "flicker")
MARKED = (
    ("mrml.session", "Session", "sync"),
    ("mrml.session", "Session", "_show_views"),
    ("mrml.session", "Session", "_attach_to_views"),
    ("mrml.session", "Session", "_fit_views"),
    ("mrml.engine_inputs", "EngineInputs", "send_now"),
    ("mrml.engine_inputs", "EngineInputs", "_slab"),
    ("mrml.input_files", "InputFiles", "_ct_node"),
    ("mrml.threed", "ThreeDScene", "set_beams"),
    ("mrml.threed", "ThreeDScene", "_on_mesh"),
)
"""Methods that name the event that they are called in."""


class Clock:
    """Wall and processor milliseconds of what happens, by what it belongs to."""

    def __init__(self) -> None:
        self.phase = ""
        self.events: dict[str, list[tuple[float, float, str]]] = {}
        self.depth = 0
        self.marks: list[str] = []
        self.hosts = [0.0, 0.0]  # wall and processor milliseconds of the host within the present event

    def event(self, call, label) -> Any:
        """Time the delivery of one event; an event within an event belongs to the outer one."""
        if self.depth:
            return call()
        self.depth, self.marks, self.hosts = 1, [], [0.0, 0.0]
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return call()
        finally:
            self.depth = 0
            spent = 1000 * (time.perf_counter() - wall), 1000 * (time.thread_time() - cpu)
            spent = tuple(whole - host for whole, host in zip(spent, self.hosts, strict=True))
            self.events.setdefault(self.phase, []).append((*spent, f"{label()} {' '.join(self.marks)}".strip()))

    def host_does(self, owner, name: str) -> None:
        """Leave a method of the host out: it does what is Slicer's or VTK's work."""
        original = getattr(owner, name)

        def call(*args, **named):
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return original(*args, **named)
            finally:
                self.hosts[0] += 1000 * (time.perf_counter() - wall)
                self.hosts[1] += 1000 * (time.thread_time() - cpu)

        setattr(owner, name, call)

    def timed(self, owner, name: str, times: list[tuple[float, float]]):
        """Time a method of a class from now on; its name marks the event that it is called in."""
        original = getattr(owner, name)

        def call(*args, **named):
            self.marks.append(name)
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return original(*args, **named)
            finally:
                times.append((1000 * (time.perf_counter() - wall), 1000 * (time.thread_time() - cpu)))

        setattr(owner, name, call)


def application(clock: Clock):
    """A Qt application that times each event; made before the host, which takes the one that is there."""
    from PySide6 import QtWidgets

    class Timed(QtWidgets.QApplication):
        def notify(self, receiver, event):
            kind = type(event).__name__
            return clock.event(
                lambda: QtWidgets.QApplication.notify(self, receiver, event),
                lambda: f"{type(receiver).__name__} {kind}",
            )

    return Timed(["Slicer"])


def summary(times: list[tuple[float, float]]) -> dict[str, float]:
    """Median, 95th percentile and longest of (wall, processor) times."""
    if not times:
        return {}
    found = {"count": len(times)}
    for index, name in enumerate(("wall", "cpu")):
        ordered = sorted(each[index] for each in times)
        found[f"{name}_median_ms"] = statistics.median(ordered)
        found[f"{name}_95_ms"] = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
        found[f"{name}_longest_ms"] = ordered[-1]
    return found


def told_times(what: str, found: dict[str, float], limit: float) -> str:
    """One line of a summary."""
    if not found:
        return f"{what:34} none"
    over = "" if found["cpu_longest_ms"] <= limit else f"  above {limit:g} ms"
    return (
        f"{what:34}{found['count']:6}{found['cpu_median_ms']:9.1f}{found['cpu_95_ms']:9.1f}{found['cpu_longest_ms']:9.1f}"
        f"{found['wall_longest_ms']:9.1f}{over}"
    )


def drag(host, logic, clock: Clock) -> tuple[float, list[tuple[float, float]]]:
    """Drag the overlay in the first X-ray view at 60 moves a second: overlays drawn a second, times of the moves."""
    import slicer

    node = logic.session.layout.slice_node(0)
    interactor = slicer.app.layoutManager().sliceWidget(node.GetLayoutName()).sliceView().interactor()
    moves: list[tuple[float, float]] = []
    x, y = (size // 2 for size in interactor.GetSize())
    interactor.SetEventInformation(x, y)
    interactor.LeftButtonPressEvent()
    drawn, begin = logic.session.live.drawn, time.perf_counter()
    step = 0
    while time.perf_counter() - begin < DRAG_SECONDS:
        step += 1
        interactor.SetEventInformation(x + 20 - abs(step % 80 - 40), y + step % 20)
        wall, cpu = time.perf_counter(), time.thread_time()
        interactor.MouseMoveEvent()
        moves.append((1000 * (time.perf_counter() - wall), 1000 * (time.thread_time() - cpu)))
        host.process_events(1 / DRAG_RATE)
    seconds = time.perf_counter() - begin
    count = (logic.session.live.drawn - drawn) / max(1, len(logic.session.live.overlays))
    interactor.LeftButtonReleaseEvent()
    host.process_events(1.0)
    return count / seconds, moves


def render_ms(logic) -> float:
    """Median wall milliseconds to draw one X-ray view, VTK's part."""
    import slicer

    times = []
    for _ in range(5):
        for index in range(len(logic.session.xrays)):
            name = logic.session.layout.slice_node(index).GetLayoutName()
            view = slicer.app.layoutManager().sliceWidget(name).sliceView()
            view.before_picture()
            begin = time.perf_counter()
            view.renderWindow().Render()
            times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


def main() -> None:
    """Measure, print, write the report."""
    parser = parser_of(__doc__, "main_thread_benchmark.json")
    parser.add_argument("--view", type=int, default=512, help="size of each view, pixels")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--method", default="dppc")
    parser.add_argument("--slowest", type=int, default=3, help="events to name for each part")
    options = parsed(parser)
    import slicer_host

    if reason := slicer_host.missing():
        print(f"skipped: {reason}")
        return
    facts = machine(options.device)
    print(told(facts))
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    clock = Clock()
    kept = application(clock)
    host = slicer_host.start()
    from slicer_host import views

    views.SIZE = (options.view, options.view)
    report: dict[str, Any] = {"view_px": options.view, "parts": {}}
    clock.phase = "import the module (when Slicer starts)"
    sys.path.insert(0, str(ROOT / "DeepReg2D3D"))
    compileall.compile_dir(ROOT / "DeepReg2D3D", quiet=1)
    gc.freeze()
    clock.event(lambda: importlib.import_module("DeepReg2D3D"), lambda: "module")
    imported = summary([(wall, cpu) for wall, cpu, _label in clock.events.pop(clock.phase)])
    clock.phase = "open the panel"
    widget = clock.event(lambda: host.load_module(ROOT / "DeepReg2D3D" / "DeepReg2D3D.py"), lambda: "load")
    from DeepReg2D3DLib.gui.choices import Method, OverlayMode, Preset
    from DeepReg2D3DLib.mrml.overlays import XRayOverlay
    from DeepReg2D3DLib.mrml.run_control import RunControl

    clock.host_does(host.layout_manager, "sliceWidget")  # it makes the views when they are asked for
    updates: list[tuple[float, float]] = []
    iterations: list[tuple[float, float]] = []
    clock.timed(XRayOverlay, "set_frame", updates)
    widget.logic.client.iteration.disconnect(widget.logic.session.run._on_iteration)
    clock.timed(RunControl, "_on_iteration", iterations)
    widget.logic.client.iteration.connect(widget.logic.session.run._on_iteration)
    logic = widget.logic
    for module, cls, name in MARKED:
        clock.timed(getattr(importlib.import_module(f"DeepReg2D3DLib.{module}"), cls), name, [])
    widget.parent.resize(520, 1400)
    widget.parent.show()
    host.process_events(0.5)
    report["parts"]["import"] = {"events": imported}
    print(f"{'milliseconds':34}{'count':>6}{'median':>9}{'95 %':>9}{'longest':>9}{'on wall':>9}")

    def part(name: str, **more: Any) -> None:
        times = clock.events.pop(clock.phase, [])
        entry = {"events": summary([(wall, cpu) for wall, cpu, _label in times]), **more}
        entry["slowest"] = [
            {"cpu_ms": cpu, "wall_ms": wall, "what": label}
            for wall, cpu, label in sorted(times, key=lambda each: -each[1])[: options.slowest]
        ]
        report["parts"][name] = entry
        print(told_times(f"{name}: events", entry["events"], EVENT_MS), flush=True)
        for slow in entry["slowest"]:
            print(f"    {slow['cpu_ms']:.1f} ms {slow['what']}")
        for kind, limit in (("overlay_update", UPDATE_MS), ("iteration", UPDATE_MS), ("move", EVENT_MS)):
            if kind in entry:
                print(told_times(f"{name}: {kind.replace('_', ' ')}", entry[kind], limit), flush=True)

    print(told_times("import (when Slicer starts)", imported, EVENT_MS))
    part("open the panel")
    clock.phase = "sample"
    logic.parameters.method, logic.parameters.preset = Method(options.method), Preset.FAST
    logic.loadSample(wait=False)
    if not host.wait_for(lambda: logic.session.inputs.ready and logic.session.live.drawn > 1, 600):
        raise SystemExit("the sample did not come")
    host.process_events(3.0)
    part("sample", overlay_update=summary(updates))
    start = logic.pose()
    for name in options.modes:
        clock.phase = name
        logic.parameters.overlayMode = OverlayMode(name)
        logic.setPose(start)
        host.process_events(2.0)
        updates.clear()
        clock.events.clear()
        rate, moves = drag(host, logic, clock)
        dragged = summary(updates)
        part(f"drag, {name}", move=summary(moves), overlay_update=dragged, drawn_per_second=rate)
        print(f"    {rate:.1f} overlays drawn a second (asked: {DRAWN_PER_SECOND:g})")
        logic.setPose(start)
        host.process_events(2.0)
        clock.events.clear()
        updates.clear()
        iterations.clear()
        logic.startRegistration()
        finished: list = []
        logic.session.run.finished.connect(finished.append)
        host.wait_for(lambda finished=finished: bool(finished), 600)
        logic.session.run.finished.disconnect(finished.append)
        host.process_events(1.0)
        shapes = sorted(
            {frame.drr.shape for each in logic.session.run.iterations for frame in each.views if frame.drr is not None}
        )
        part(
            f"registration, {name}",
            overlay_update=summary(updates),
            iteration=summary(iterations),
            frame_px=[list(map(int, shape)) for shape in shapes],
            render_ms=render_ms(logic),
        )
        render = report["parts"][f"registration, {name}"]["render_ms"]
        print(f"    frames of {shapes}; VTK draws a view in {render:.1f} ms")
    host.unload_module(widget)
    write_report(options.json, "main-thread", machine=facts, method=options.method, **report)
    print(f"written to {options.json}")
    del kept


if __name__ == "__main__":
    run(main)
