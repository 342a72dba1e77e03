"""How the client talks to the worker's process: through Qt in Slicer, through ``subprocess`` without Qt.

Everything here runs in the thread that made the transport; callbacks are called from its event loop or ``pump``.
"""

from __future__ import annotations

import heapq
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Don't make it."""


class Transport(Protocol):
    """A child process with pipes. The client sets the four callbacks before ``start``."""

    received: Callable[[bytes], None]
    """Bytes from the child's stdout."""
    logged: Callable[[bytes], None]
    """Bytes from the child's stderr."""
    exited: Callable[[int, bool], None]
    """The child ended: exit status, and whether it crashed or was killed. Called once."""
    failed: Callable[[str], None]
    """The child couldn't be started; the text says why."""

    def start(self, program: str, arguments: Sequence[str]) -> None: ...
    def write(self, data: bytes) -> None: ...
    def close_input(self) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def wait(self, seconds: float) -> bool:
        """Block until the child has ended, at most so long; True where it has."""

    def pump(self, seconds: float) -> None:
        """Let callbacks and timers happen, for at most about so long."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer: ...

    @property
    def pid(self) -> int:
        """Process id, 0 where there is none."""


def _ignore(*_: Any) -> None:
    pass


class _Callbacks:
    def __init__(self) -> None:
        self.received: Callable[[bytes], None] = _ignore
        self.logged: Callable[[bytes], None] = _ignore
        self.exited: Callable[[int, bool], None] = _ignore
        self.failed: Callable[[str], None] = _ignore


class _HeapTimer:
    def __init__(self, due: float, order: int, call: Callable[[], None]) -> None:
        self.due, self.order, self.call = due, order, call
        self.cancelled = False

    def __lt__(self, other: _HeapTimer) -> bool:
        return (self.due, self.order) < (other.due, other.order)

    def cancel(self) -> None:
        self.cancelled = True


class SubprocessTransport(_Callbacks):
    """Without Qt: reader threads fill a queue, ``pump`` empties it. Not for Slicer, where Python threads starve."""

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[bytes] | None = None
        self._events: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._timers: list[_HeapTimer] = []
        self._open_pipes = 0
        self._reported = False

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def start(self, program: str, arguments: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen([program, *arguments], stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as error:
            self.call_later(0, lambda text=str(error): self.failed(text))
            return
        self._open_pipes = 2
        for name, stream in (("received", self._process.stdout), ("logged", self._process.stderr)):
            threading.Thread(target=self._read, args=(name, stream), daemon=True).start()

    def _read(self, name: str, stream: Any) -> None:
        while data := stream.read1(1 << 16):
            self._events.put((name, data))
        stream.close()
        self._events.put(("closed", b""))

    def write(self, data: bytes) -> None:
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (OSError, ValueError, AttributeError):
            pass  # the child is gone; ``exited`` tells

    def close_input(self) -> None:
        try:
            self._process.stdin.close()
        except (OSError, AttributeError):
            pass

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def wait(self, seconds: float) -> bool:
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def call_later(self, seconds: float, call: Callable[[], None]) -> _HeapTimer:
        timer = _HeapTimer(time.monotonic() + seconds, len(self._timers), call)
        heapq.heappush(self._timers, timer)
        return timer

    def pump(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            while self._timers and self._timers[0].due <= time.monotonic():
                timer = heapq.heappop(self._timers)
                if not timer.cancelled:
                    timer.call()
            wait = end - time.monotonic()
            if self._timers:
                wait = min(wait, self._timers[0].due - time.monotonic())
            try:
                name, data = self._events.get(timeout=max(wait, 0.0))
            except queue.Empty:
                name, data = "", b""
            if name == "closed":
                self._open_pipes -= 1
            elif name:
                getattr(self, name)(data)
            self._report_exit()
            if (name and self._events.empty()) or time.monotonic() >= end:
                return

    def _report_exit(self) -> None:
        if self._process is None or self._reported or self._open_pipes > 0:
            return
        code = self._process.poll()
        if code is not None:
            self._reported = True
            self.close_input()
            self.exited(code, code < 0)


class QProcessTransport(_Callbacks):
    """Through QProcess, with the ``qt`` module given (Slicer's, or one that looks like it)."""

    # Those whose process lives: one that is still ending outlives its owner's interest.
    _living: ClassVar[set[QProcessTransport]] = set()

    def __init__(self, qt: Any) -> None:
        super().__init__()
        self._qt = qt
        self._process: Any = None
        self._ended: Any = None
        self._timers: set[_QtTimer] = set()
        self._reported = False

    @property
    def pid(self) -> int:
        try:
            return int(self._process.processId())
        except (AttributeError, TypeError, ValueError):
            return 0

    def start(self, program: str, arguments: Sequence[str]) -> None:
        # Kept as an attribute: a QObject without a parent dies with its Python wrapper.
        self._process = self._qt.QProcess()
        self._process.readyReadStandardOutput.connect(self._read_output)
        self._process.readyReadStandardError.connect(self._read_error)
        self._process.finished.connect(self._on_finished)
        self._process.errorOccurred.connect(self._on_error)
        self._living.add(self)
        self._process.start(program, list(arguments))

    def _read_output(self) -> None:
        if self._process is not None:
            self.received(_bytes(self._process.readAllStandardOutput()))

    def _read_error(self) -> None:
        if self._process is not None:
            self.logged(_bytes(self._process.readAllStandardError()))

    def _on_finished(self, *_: Any) -> None:
        if not self._reported:
            self._read_output()
            self._read_error()
            self._reported = True
            process = self._let_go()
            crashed = process.exitStatus() == self._qt.QProcess.CrashExit
            self.exited(int(process.exitCode()), crashed)

    def _on_error(self, error: Any) -> None:
        # Every other error ends in ``finished``.
        if error == self._qt.QProcess.FailedToStart and not self._reported:
            self._reported = True
            self.failed(str(self._let_go().errorString()))

    def _let_go(self) -> Any:
        """The process, which has ended and is deleted after its present signal.

        Its wrapper is kept: dying with the slot, it would take the process along in the middle of ``finished``, of
        which Qt 5 emits a second one.
        """
        process, self._process = self._process, None
        self._ended = process
        self._living.discard(self)
        process.deleteLater()
        return process

    def write(self, data: bytes) -> None:
        if self._process is not None and not self._reported:
            self._process.write(data)

    def close_input(self) -> None:
        if self._process is not None:
            self._process.closeWriteChannel()

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def wait(self, seconds: float) -> bool:
        if self._process is None or self._reported:
            return True
        return bool(self._process.waitForFinished(int(seconds * 1000))) or self._reported

    def call_later(self, seconds: float, call: Callable[[], None]) -> _QtTimer:
        return _QtTimer(self._qt, seconds, call, self._timers)

    def pump(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            self._qt.QCoreApplication.processEvents()
            if time.monotonic() >= end:
                return
            time.sleep(0.002)


class _QtTimer:
    def __init__(self, qt: Any, seconds: float, call: Callable[[], None], alive: set[_QtTimer]) -> None:
        self._call, self._alive = call, alive
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._fire)
        alive.add(self)
        self._timer.start(int(seconds * 1000))

    def _fire(self) -> None:
        self._end()
        self._call()

    def cancel(self) -> None:
        if self in self._alive:
            self._timer.stop()
            self._end()

    def _end(self) -> None:
        # Not by dropping the wrapper: a QTimer that dies in its own timeout can crash PythonQt.
        self._alive.discard(self)
        self._timer.deleteLater()


def _bytes(data: Any) -> bytes:
    """The bytes of a QByteArray."""
    value = data.data()
    return value if isinstance(value, bytes) else bytes(value)
