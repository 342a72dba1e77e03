"""How the client talks to the worker's process: through Qt (without Qt, see ``subprocess_transport``).

Everything here runs in the thread that made the transport; callbacks are called from its event loop or ``pump``.
"""

from __future__ import annotations

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


class ChildProcess:
    """What every transport has: a process, once it is started, and callbacks that do nothing until they are set."""

    def __init__(self) -> None:
        self.received: Callable[[bytes], None] = _ignore
        self.logged: Callable[[bytes], None] = _ignore
        self.exited: Callable[[int, bool], None] = _ignore
        self.failed: Callable[[str], None] = _ignore
        self._process: Any = None

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()


class QProcessTransport(ChildProcess):
    """Through QProcess, with the ``qt`` module given (Slicer's, or one that looks like it)."""

    # Those whose process lives: one that is still ending outlives its owner's interest.
    _living: ClassVar[set[QProcessTransport]] = set()

    def __init__(self, qt: Any) -> None:
        super().__init__()
        self._qt = qt
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
