"""Timers for code that knows no Qt."""

from __future__ import annotations

import qt


class _Handle:
    """A call that is still to come."""

    def __init__(self, timers: Timers, timer, call) -> None:
        self._timers, self._timer, self._call = timers, timer, call

    def cancel(self) -> None:
        """Takes the call back; harmless once it was made."""
        if self._call is not None:
            self._call = None
            self._timers.stop(self._timer)

    def fire(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


class Timers:
    """Single-shot calls. QTimers are kept and used again: one that dies in its own timeout can crash PythonQt."""

    def __init__(self) -> None:
        self._idle: list = []
        self._busy: list[list] = []  # [timer, handle]; PythonQt wrappers needn't be hashable

    def call_later(self, seconds: float, call) -> _Handle:
        """Calls `call()` once after `seconds`; the handle's cancel() takes it back."""
        timer = self._idle.pop() if self._idle else self._make()
        handle = _Handle(self, timer, call)
        for entry in self._busy:
            if entry[0] is timer:
                entry[1] = handle
                break
        else:
            self._busy.append([timer, handle])
        timer.setInterval(max(0, int(seconds * 1000)))
        timer.start()
        return handle

    def stop(self, timer) -> None:
        timer.stop()
        self._release(timer)

    def close(self) -> None:
        """Takes back every call."""
        for timer, _handle in self._busy:
            timer.stop()
        self._busy = []

    def _make(self):
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.timeout.connect(lambda: self._on_timeout(timer))
        return timer

    def _on_timeout(self, timer) -> None:
        handle = self._release(timer)
        if handle is not None:
            handle.fire()

    def _release(self, timer):
        for index, (busy, handle) in enumerate(self._busy):
            if busy is timer:
                del self._busy[index]
                self._idle.append(timer)
                return handle
        return None
