"""The worker: reads requests from stdin, lets the engine compute, writes answers to stdout.

One thread computes, in the order of arrival; a second one reads stdin, so that ping, cancel and the end of stdin are
seen while the first is busy. A registration advances by one iteration whenever no other request waits; renders take
turns with iterations, and with the parts of a search that keeps an iteration or a first pose waiting.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

from ..engine.watch import watched_by
from .arrays import ArrayFolder, ArrayWriter
from .mailbox import Mailbox
from .messages import MAX_LINE_BYTES, VERSION, MessageError, Request, encode, parse_request, request_id

Answer = Mapping[str, Any]
STOPPED = "Stopped by the user."
REPLACING = ("load_ct", "set_views", "set_region")
"""Requests that end a run, for what it registers is replaced."""
QUIET_SECONDS = 0.3
"""A result is looked at again once nothing was asked for in so long: its pictures come first."""


class Engine(Protocol):
    """What the server asks of an engine. Answers are dicts of JSON values and numpy arrays."""

    def info(self) -> Answer:
        """Devices, versions, the CT and the views that are loaded."""

    def handle(self, request: Request, progress: Callable[[str, float | None], None]) -> Answer:
        """Answer any request but those on runs. Raises with a message for the user."""

    def register(self, fields: Mapping[str, Any]) -> Iterator[Answer]:
        """The iterations of a run, entry 0 the start; each has at least ``index``, ``pose``, ``final``, ``status``."""

    def kept(self) -> Answer | None:
        """One more iteration where the run, stopped now, should go back to the end of an earlier attempt."""
        ...

    def report(self) -> Answer:
        """What is to be told of the run that just ended."""

    def check(self) -> None:
        """Look again at the result of the run that just ended; ``report`` then tells what was found."""

    def fall_back_to_cpu(self) -> bool:
        """Leave the GPU after it ran out of memory; False where it wasn't in use."""


class _Cancelled(BaseException):
    """What the engine computes is to end: the user asked for it, or a run's inputs are about to be replaced.

    No error, so that whoever copes with errors inside lets it pass.
    """


class _Run:
    """A registration that is under way or paused."""

    def __init__(self, request: Request, iterations: Iterator[Answer]) -> None:
        self.request = request
        self.name: str = request.fields["run"]
        self.iterations = iterations
        self.steps_left: int | None = request.fields.get("steps")
        self.paused = False
        self.count = 0
        self.pose: Any = request.fields["ct_to_world"]
        self.started = time.perf_counter()


def words_for(error: BaseException) -> str:
    """One line for the user. Our own errors speak for themselves; others are named as internal."""
    text = " ".join(str(error).split()) or type(error).__name__
    if any(cls.__name__ == "DeepReg2D3DError" for cls in type(error).__mro__):
        return text
    if isinstance(error, MemoryError) or "not enough memory" in text or "can't allocate memory" in text:
        return "There is not enough memory for this CT; crop it or close other programs."
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"The engine needs {error.name.partition('.')[0]}, which is not installed in this Python."
    if isinstance(error, OSError):
        return text
    return f"Internal error ({type(error).__name__}): {text[:300]}"


def out_of_gpu_memory(error: BaseException) -> bool:
    """True for torch's OutOfMemoryError, known by its name so that torch needn't be imported here.

    CUDA's libraries have errors of their own for it, known by their text.
    """
    if any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__):
        return True
    text = str(error)
    return "CUDA error: out of memory" in text or ("_STATUS_ALLOC_FAILED" in text and "CU" in text)


class Server:
    """Serves one client over a pair of byte streams until the input ends or ``shutdown`` comes."""

    def __init__(
        self,
        make_engine: Callable[[ArrayFolder], Engine],
        folder: ArrayFolder,
        source: BinaryIO,
        sink: BinaryIO,
        token: str = "",
    ) -> None:
        self._make_engine = make_engine
        self._folder = folder
        self._source = source
        self._sink = sink
        self._token = token
        self._arrays = ArrayWriter(folder, prefix=f"out{os.getpid()}_")
        self._lock = threading.Lock()
        self._mailbox = Mailbox()
        self._run: _Run | None = None
        self._unchecked: _Run | None = None  # the last run, while its result is to be looked at again
        self._engine: Engine | None = None
        self._busy = "starting"

    # --- answers ---------------------------------------------------------------------------------------------------

    def send(self, kind: str, number: int | None = None, /, **fields: Any) -> None:
        """Write one message; arrays in ``fields`` go into a mapped file. Both threads may call it."""
        with self._lock:
            content = self._arrays.outside(fields, with_pictures=not (kind == "iteration" and self._arrays.behind))
            try:
                line = encode(kind, number, **content)
            except MessageError as error:
                line = encode("error", number, text=f"Internal error: {error}.", detail="")
            try:
                self._sink.write(line)
                self._sink.flush()
            except (OSError, ValueError):
                self._leave()

    def _fail(self, number: int | None, error: BaseException) -> None:
        detail = "".join(traceback.format_exception(type(error), error, error.__traceback__))[-20000:]
        print(detail, file=sys.stderr, flush=True)
        self.send("error", number, text=words_for(error), detail=detail)

    def _leave(self) -> None:
        """End the process at once, whatever the other thread is doing: nobody is there to read its answer."""
        self._folder.remove_if_mine(self._token)
        os._exit(0)

    # --- the reading thread ----------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while line := self._source.readline(MAX_LINE_BYTES + 1):
                if len(line) > MAX_LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = self._source.readline(MAX_LINE_BYTES)
                    self.send("error", None, text=f"A line of more than {MAX_LINE_BYTES} bytes was ignored.", detail="")
                elif line.strip():
                    self._receive(line)
        except (OSError, ValueError):
            pass
        finally:
            self._leave()

    def _receive(self, line: bytes) -> None:
        try:
            request = parse_request(line)
        except MessageError as error:
            self.send("error", request_id(line), text=f"A line was ignored: {error}.", detail="")
            return
        if request.type == "ping":
            self.send("pong", request.id)
        elif request.type == "state":
            self.send("state", request.id, busy=self._busy, run=self._run.name if self._run else None)
        elif request.type == "release":
            with self._lock:
                for name in request.fields["files"]:
                    self._arrays.release(name)
        elif request.type == "cancel":
            for dropped in self._mailbox.cancel():
                self.send("done", dropped.id, request="register", run=dropped.fields["run"])
                self._finished(_Run(dropped, iter(())), "cancelled", STOPPED, {})
            self.send("done", request.id, request="cancel")
        elif request.type == "shutdown":
            self._leave()
        else:
            replaced = self._mailbox.put(request)
            if replaced is not None:
                self.send("superseded", replaced.id)

    # --- the computing thread --------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Answer requests; returns never (the process ends with its input)."""
        threading.Thread(target=self._read, name="stdin", daemon=True).start()
        try:
            self._engine = self._make_engine(self._folder)
        except Exception as error:
            self._fail(None, error)
            self.send("failed", None, text=words_for(error))
            threading.Event().wait()  # the reading thread ends the process with its input
        self._busy = ""
        self.send("ready", None, version=VERSION, pid=os.getpid(), **self._engine.info())
        step_next = False
        while not self._mailbox.closed:
            running = self._run is not None and not self._run.paused
            quiet = QUIET_SECONDS if self._unchecked is not None else None
            request = self._mailbox.take(wait=not running, render=not (running and step_next), seconds=quiet)
            # A cancel that arrived with nothing to cancel is forgotten here, or it would end the next run.
            if self._mailbox.take_cancel() and self._run is not None:
                self._go_back(self._run)
                self._end_run("cancelled", STOPPED)
            if request is not None:
                self._answer(request)
                step_next = request.type == "render"
            elif self._run is not None and not self._run.paused:
                self._step(self._run)
                step_next = False
            elif self._unchecked is not None:
                self._look_again(self._unchecked)

    def _answer(self, request: Request) -> None:
        self._busy = request.type
        try:
            if request.type == "register":
                self._start_run(request)
            elif request.type == "resume":
                self._resume(request)
            else:
                if request.type in REPLACING:
                    self._unchecked = None
                    if self._run is not None:
                        self._end_run("cancelled", "Stopped: the CT, its region or the X-rays were replaced.")
                with self._watched(lambda: self._mailbox.cancel_asked):
                    self._compute(request)
        except _Cancelled:
            self.send("error", request.id, text=STOPPED, detail="")
        except Exception as error:
            self._fail(request.id, error)
        finally:
            self._busy = "register" if self._run is not None else ""

    def _compute(self, request: Request) -> None:
        def progress(text: str, fraction: float | None = None) -> None:
            self.send("progress", request.id, text=text, fraction=fraction)

        try:
            answer = self._engine.handle(request, progress)
        except Exception as error:
            if not (out_of_gpu_memory(error) and self._engine.fall_back_to_cpu()):
                raise
            self._tell_fallback()
            answer = self._engine.handle(request, progress)
        self.send("done" if request.type != "render" else "rendered", request.id, request=request.type, **answer)

    def _tell_fallback(self) -> None:
        self.send(
            "warning", None, text="The GPU ran out of memory: the engine goes on with the CPU.", **self._engine.info()
        )

    def _start_run(self, request: Request) -> None:
        if self._run is not None:
            self._end_run("cancelled", "Stopped: another registration was started.")
        run = _Run(request, self._engine.register(request.fields))
        self.send("done", request.id, request="register", run=run.name)
        self._run, self._unchecked = run, None

    def _resume(self, request: Request) -> None:
        if self._run is None:
            self.send("error", request.id, text="There is no registration to go on with.", detail="")
            return
        self._run.paused = False
        self._run.steps_left = request.fields.get("steps")
        self.send("done", request.id, request="resume", run=self._run.name)

    def _step(self, run: _Run) -> None:
        """One iteration of the run: the generator's next record, sent to the client."""
        self._busy = "register"
        try:
            iteration = self._next(run)
        except _Cancelled:
            return  # what ends the run is still in the mailbox, and does so as between two iterations
        except Exception as error:
            if out_of_gpu_memory(error) and self._engine.fall_back_to_cpu():
                self._tell_fallback()
                # From the last good pose, whatever device was asked for; the iterations go on counting.
                again = {"ct_to_world": run.pose, "device": "cpu", "continued": run.count > 0}
                run.iterations = self._engine.register({**run.request.fields, **again})
                return
            self._fail(None, error)
            self._end_run("failed", words_for(error))
            return
        if iteration is None:
            self._end_run("stopped", "")
            return
        run.pose = iteration["pose"]
        run.count += 1
        self.send("iteration", None, run=run.name, **iteration)
        if iteration["final"]:
            self._end_run(iteration["status"] or "stopped", "")
            self._unchecked = run
        elif run.steps_left is not None and iteration["index"] > 0:
            run.steps_left -= 1
            if run.steps_left <= 0:
                run.paused = True
                self.send("paused", None, run=run.name, pose=run.pose)

    def _look_again(self, run: _Run) -> None:
        """Second looks at the result of a run that ended; whatever else is asked for comes first, and they begin anew
        afterwards."""
        self._busy = "check"
        try:
            with self._watched(lambda: not self._mailbox.is_empty, "Looking at the result again"):
                self._engine.check()
            self._unchecked = None
            self.send("checked", None, run=run.name, report=self._engine.report())
        except _Cancelled:
            pass
        except Exception as error:
            self._unchecked = None
            self._fail(None, error)
        finally:
            self._busy = ""

    def _go_back(self, run: _Run) -> None:
        """A stopped run that looked elsewhere already ends where it was trusted most."""
        iteration = self._engine.kept()
        if iteration is not None:
            run.pose = iteration["pose"]
            run.count += 1
            self.send("iteration", None, run=run.name, **iteration)

    def _next(self, run: _Run) -> Answer | None:
        """The next iteration."""
        with self._watched(lambda: self._mailbox.cancel_asked or self._mailbox.waits(REPLACING)):
            return next(run.iterations, None)

    @contextmanager
    def _watched(self, ends: Callable[[], bool], work: str = "") -> Iterator[None]:
        """Between two parts of what takes long inside: tell the client once (in the words of ``work``, where they are
        given), draw what it waits for, end it where ``ends()`` says so."""
        told = ""

        def watch(words: str) -> None:
            nonlocal told
            if ends():
                raise _Cancelled
            words = work or words
            if words != told:
                told = words
                self.send("progress", None, text=f"{words}...", fraction=None)
            request = self._mailbox.take_render()
            if request is not None:
                self._draw_meanwhile(request)

        try:
            with watched_by(watch):
                yield
        finally:
            if told:
                self.send("progress", None, text="", fraction=1.0)

    def _draw_meanwhile(self, request: Request) -> None:
        """Answer a render request in the middle of other work, which must not fail with it."""
        try:
            self._compute(request)
        except Exception as error:
            self._fail(request.id, error)

    def _end_run(self, status: str, text: str) -> None:
        run, self._run = self._run, None
        self._busy = ""
        close = getattr(run.iterations, "close", None)
        if close is not None:
            close()
        self._finished(run, status, text, self._engine.report())

    def _finished(self, run: _Run, status: str, text: str, report: Answer) -> None:
        self.send(
            "finished",
            None,
            run=run.name,
            status=status,
            text=text,
            pose=run.pose,
            iterations=max(run.count - 1, 0),
            seconds=time.perf_counter() - run.started,
            report=report,
        )


def own_streams() -> tuple[BinaryIO, BinaryIO]:
    """stdin, and a private copy of stdout; file descriptor 1 then points at stderr.

    What libraries (and C code) print would otherwise land between the lines of the protocol.
    """
    protocol = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return sys.stdin.buffer, os.fdopen(protocol, "wb")
