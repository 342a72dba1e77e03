"""A long command of the program (a study, a run of frames) in the background, from Slicer's process."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .launch import program_command
from .signals import Signal
from .transports import Transport

_PROGRESS = re.compile(r"^\[(\d+)/(\d+)\] (.*)$")
GRACE_SECONDS, KILL_SECONDS = 60.0, 5.0
_KEPT = 200


class ProgramRun:
    """One command at a time.

    Attributes:
        progress: signal (done, total, text), a step was done.
        note: signal (text), another line of the command's progress.
        finished: signal (exit status, last words): 0 done, 2 bad input, 3 in doubt, 130 interrupted; -1 not started.
    """

    def __init__(self, make_transport: Callable[[], Transport]) -> None:
        self._make_transport = make_transport
        self.progress, self.note, self.finished = Signal(), Signal(), Signal()
        self.lines: list[str] = []
        self._transport: Transport | None = None
        self._rest = b""
        self._timers: list = []

    @property
    def running(self) -> bool:
        return self._transport is not None

    def start(self, arguments: Sequence[str]) -> None:
        """Start a command line (as after ``deepreg2d3d``). Raises RuntimeError while another one runs."""
        if self.running:
            raise RuntimeError("A command runs already.")
        self.lines, self._rest = [], b""
        transport = self._transport = self._make_transport()
        transport.logged = self._on_bytes
        transport.exited = self._on_exit
        transport.failed = lambda text: self._end(-1, text)
        program, *rest = program_command(arguments)
        transport.start(program, rest)

    def stop(self) -> None:
        """Interrupt it: it writes what it has, and ends; after a while it is made to."""
        transport = self._transport
        if transport is None or self._timers:
            return
        transport.close_input()
        self._timers = [
            transport.call_later(GRACE_SECONDS, transport.terminate),
            transport.call_later(GRACE_SECONDS + KILL_SECONDS, transport.kill),
        ]

    def close(self) -> None:
        """End it at once; nothing is told. What it had written stays."""
        transport, self._transport = self._transport, None
        self._drop_timers()
        if transport is not None:
            transport.logged = transport.exited = transport.failed = lambda *_: None
            transport.close_input()
            transport.terminate()
            if not transport.wait(2.0):
                transport.kill()

    def _on_bytes(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip("\r")
            if not text.strip():
                continue
            self.lines = [*self.lines[1 - _KEPT :], text]
            step = _PROGRESS.match(text)
            if step:
                self.progress.emit(int(step[1]), int(step[2]), step[3])
            else:
                self.note.emit(text)

    def _on_exit(self, status: int, crashed: bool) -> None:
        if self._rest:
            self._on_bytes(b"\n")
        words = [line for line in self.lines if not _PROGRESS.match(line)]
        self._end(-1 if crashed and status <= 0 else status, words[-1] if words else "")

    def _end(self, status: int, text: str) -> None:
        self._transport = None
        self._drop_timers()
        self.finished.emit(status, text)

    def _drop_timers(self) -> None:
        timers, self._timers = self._timers, []
        for timer in timers:
            timer.cancel()
