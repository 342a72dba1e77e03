"""The worker's process through ``subprocess``, for programs without Qt."""

from __future__ import annotations

import heapq
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from .transports import ChildProcess


class _HeapTimer:
    def __init__(self, due: float, order: int, call: Callable[[], None]) -> None:
        self.due, self.order, self.call = due, order, call
        self.cancelled = False

    def __lt__(self, other: _HeapTimer) -> bool:
        return (self.due, self.order) < (other.due, other.order)

    def cancel(self) -> None:
        self.cancelled = True


class SubprocessTransport(ChildProcess):
    """Without Qt: reader threads fill a queue, ``pump`` empties it. Not for Slicer, where Python threads starve."""

    def __init__(self) -> None:
        super().__init__()
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
