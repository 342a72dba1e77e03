"""The client's end of the pipe: starts, watches and ends the worker's process, and matches answers with requests.

Only stdlib and numpy; everything happens in the thread of the transport's event loop.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..i18n import tr as _
from . import launch
from .arrays import ArrayError, ArrayFolder, remove_abandoned
from .messages import MAX_LINE_BYTES, MessageError, encode, parse_answer
from .signals import Signal
from .transports import Timer, Transport

_logger = logging.getLogger(__name__)

CANCEL_SECONDS = 3.0
TERMINATE_SECONDS = 2.0
# A worker that dies this often within a minute isn't started again by itself.
MAX_CRASHES = 3
_LOG_TAIL = 8000


def _busy_texts() -> dict[str, str]:
    """What the engine is said to do, by request; asked for when it is said, as the language may change."""
    return {
        "load_ct": _("Loading the CT..."),
        "set_views": _("Loading the X-rays..."),
        "set_region": _("Preparing the region..."),
        "read_xray": _("Reading the X-ray..."),
        "read_geometry": _("Reading the geometry..."),
        "make_sample": _("Making the sample..."),
        "bone_surface": _("Making the bone surface..."),
        "initial_pose": _("Looking for a first pose..."),
        "register": _("Registering..."),
    }


_WORK = frozenset(_busy_texts())
Done = Callable[[dict], None]
Refused = Callable[[str], None]


def _call(function: Callable[[Any], None], value: Any) -> None:
    """Call back; what goes wrong there must not keep the next message from being read."""
    try:
        function(value)
    except Exception:
        _logger.exception("A callback of the engine's client failed: %r", function)


class _Pending:
    def __init__(self, kind: str, on_done: Done | None, on_error: Refused | None) -> None:
        self.kind, self.on_done, self.on_error = kind, on_done, on_error


class WorkerLink:
    """One worker process. ``state`` is stopped, starting, ready, busy or failed; ``state_text`` is for people.

    make_transport: makes the transport for each start of the process. command: program and arguments to start; the
    array folder and the token are put behind them. By default the worker of this package.
    """

    def __init__(
        self, make_transport: Callable[[], Transport], command: Callable[[], Sequence[str]] | None = None
    ) -> None:
        self._make_transport = make_transport
        self._command = command or launch.worker_command
        self._transport: Transport | None = None
        self._arrays: ArrayFolder | None = None
        self._buffer = b""
        self._log_tail = ""
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._ladder: Timer | None = None
        self._closing = False
        self._became_ready = False
        self._gave_up = ""
        self._interrupted = False
        self._crashes: list[float] = []
        self.state, self.state_text = "stopped", _("The engine is not started.")
        self.info: dict[str, Any] = {}
        self.state_changed = Signal()
        self.ready = Signal()
        self.log = Signal()
        self.progress = Signal()
        self.error = Signal()

    # --- life ------------------------------------------------------------------------------------------------------

    @property
    def is_started(self) -> bool:
        """True while there is a process (it may still be starting)."""
        return self._transport is not None

    @property
    def folder(self) -> ArrayFolder:
        """The folder of the mapped arrays; made on first use, gone after ``stop``; ``start`` before you write to it."""
        if self._arrays is None:
            remove_abandoned()
            self._arrays = ArrayFolder.create()
        return self._arrays

    def start(self) -> None:
        """Start the process; no effect where it runs. ``ready`` follows."""
        if self._transport is not None and not self._closing:
            return
        if self._transport is not None:  # still ending, and removing its folder: the new one gets another
            self._end()
        token = os.urandom(16).hex()
        self.folder.claim(token)
        self._buffer, self._log_tail, self._gave_up = b"", "", ""
        self._closing = self._became_ready = self._interrupted = False
        transport = self._transport = self._make_transport()
        transport.received = self._received
        transport.logged = self._logged
        transport.exited = self._exited
        transport.failed = self._start_failed
        program, *arguments = self._command()
        self._set_state("starting", _("Starting engine..."))
        transport.start(program, [*arguments, "--folder", str(self.folder.path), "--token", token])
        self._on_start()

    def stop(self, wait_seconds: float = 0.0) -> None:
        """End the process and remove the array folder.

        With ``wait_seconds`` it is waited for and killed if it lives longer (the application closes); without, the same
        happens through the event loop.
        """
        self._closing = True
        self._cancel_ladder()
        self._pending.clear()
        self._on_lost(_("The engine was shut down."), "cancelled")
        transport = self._transport
        if transport is None:
            self._end()
            return
        transport.close_input()
        if wait_seconds > 0:
            if not transport.wait(wait_seconds):
                self._kill()
                transport.wait(TERMINATE_SECONDS)
            self._end()
        else:
            self._ladder = transport.call_later(TERMINATE_SECONDS, self._terminate)

    def restart(self) -> None:
        """Kill the process and start it again, with the CT and the X-rays it had."""
        if self._transport is None:
            self.start()
        else:
            self._crashes.clear()
            self._kill()

    def interrupt(self) -> None:
        """Give up what the engine computes; what was asked for is answered with an error.

        An engine that doesn't give up in ``CANCEL_SECONDS`` is ended and started again with the CT and X-rays it had.
        """
        if self._transport is None or not self._became_ready:
            return
        awaited = list(self._pending)
        self._send("cancel", None, None, {})

        def insist() -> None:
            if any(number in self._pending for number in awaited):
                self._interrupted = True
                self._kill()

        self._transport.call_later(CANCEL_SECONDS, insist)

    def wait_until(
        self, condition: Callable[[], bool], seconds: float = 60.0, pump: Callable[[], None] | None = None
    ) -> bool:
        """Let events happen until ``condition()``; False when it took too long.

        ``pump`` stands for the transport's own: Slicer's ``slicer.app.processEvents``.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            if pump is not None:
                pump()
            elif self._transport is not None:
                self._transport.pump(0.01)
            else:
                return condition()
        return True

    # --- requests --------------------------------------------------------------------------------------------------

    def request(self, kind: str, on_done: Done | None = None, on_error: Refused | None = None, /, **fields: Any) -> int:
        """Send a request; ``on_done(answer)`` or ``on_error(text)`` is called once. Starts the process if need be.

        Without ``on_error`` a refusal is emitted as ``error(text, detail)``. Arrays in answers are numpy arrays.
        """
        self.start()
        return self._send(kind, on_done, on_error, fields)

    def _send(self, kind: str, on_done: Done | None, on_error: Refused | None, fields: Mapping[str, Any]) -> int:
        number = next(self._ids)
        try:
            line = encode(kind, number, **fields)
        except MessageError as error:
            self._refuse(_Pending(kind, on_done, on_error), str(error), "")
            return number
        self._pending[number] = _Pending(kind, on_done, on_error)
        self._transport.write(line)
        self._show_work()
        return number

    def _refuse(self, pending: _Pending, text: str, detail: str) -> None:
        if pending.on_error is not None:
            _call(pending.on_error, text)
        else:
            self.error.emit(text, detail)

    # --- answers ---------------------------------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
            if line.strip():
                self._line(line)
        if len(self._buffer) > MAX_LINE_BYTES:
            self.log.emit("A line without an end from the engine was ignored.")
            self._buffer = b""

    def _line(self, line: bytes) -> None:
        if self._closing or self._arrays is None:
            return  # nobody waits for it, and its arrays may be gone
        message: dict[str, Any] = {}
        try:
            message = parse_answer(line)
            message, files = self._arrays.inside(message)
        except (MessageError, ArrayError, KeyError, TypeError, ValueError, OSError) as error:
            self.log.emit(f"A line from the engine was ignored: {error}")
            pending = self._pending.pop(message.get("id"), None)
            if pending is not None:  # whoever asked must not wait for ever
                self._refuse(pending, _("An answer of the engine could not be read."), str(error))
                self._on_refused(pending.kind)
            return
        if files:  # copied: the worker may use the file again
            self._transport.write(encode("release", 0, files=files))
        kind, number = message["type"], message.get("id")
        if kind == "ready":
            self._became_ready = True
            self._learn(message)
            self.ready.emit(self.info)
        elif kind == "failed":
            self._gave_up = str(message.get("text", ""))
            self._transport.close_input()
        elif kind == "progress":
            self.progress.emit(message["text"], message["fraction"])
        elif kind == "warning":
            self._learn(message)
            self.error.emit(message["text"], "")
        elif number is None and kind == "error":
            self.error.emit(message["text"], message["detail"])
        else:
            self._answered(kind, number, message)
        if self._transport is not None:
            self._show_work()

    def _answered(self, kind: str, number: int | None, message: dict[str, Any]) -> None:
        pending = self._pending.pop(number, None)
        if kind == "error":
            if pending is not None:
                self._refuse(pending, message["text"], message["detail"])
                self._on_refused(pending.kind)
            return
        self._on_message(kind, message)
        if pending is not None and pending.on_done is not None and kind != "superseded":
            _call(pending.on_done, message)

    def _learn(self, message: Mapping[str, Any]) -> None:
        known = ("device", "device_name", "gpus", "threads", "versions", "pid")
        self.info = self.info | {key: message[key] for key in known if key in message}

    def _logged(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        self._log_tail = (self._log_tail + text)[-_LOG_TAIL:]
        self.log.emit(text)

    # --- for the subclass ------------------------------------------------------------------------------------------

    def _on_start(self) -> None:
        """The process is being started: what it should have is sent here."""

    def _on_message(self, kind: str, message: dict[str, Any]) -> None:
        """An answer or a message that answers nothing."""

    def _on_refused(self, kind: str) -> None:
        """A request of this kind was answered with an error."""

    def _on_lost(self, text: str, status: str) -> None:
        """The process is gone (or going): nothing that was asked for will come."""

    def _on_end(self) -> None:
        """The process was ended on purpose; the array folder is about to go."""

    def _is_registering(self) -> bool:
        return False

    # --- state -----------------------------------------------------------------------------------------------------

    def _set_state(self, state: str, text: str) -> None:
        if (state, text) != (self.state, self.state_text):
            self.state, self.state_text = state, text
            self.state_changed.emit(state, text)

    def _show_work(self) -> None:
        """Ready or busy, by what is being waited for; pictures for dragging don't count as work."""
        if not self._became_ready or self._closing:
            return
        work = [pending.kind for pending in self._pending.values() if pending.kind in _WORK]
        if self._is_registering():
            work.append("register")
        if work:
            self._set_state("busy", _busy_texts()[work[0]])
        else:
            self._set_state("ready", _("Ready on {device}.").format(device=self.info.get("device_name", "CPU")))

    # --- the end of the process ------------------------------------------------------------------------------------

    def _cancel_ladder(self) -> None:
        if self._ladder is not None:
            self._ladder.cancel()
            self._ladder = None

    def _terminate(self) -> None:
        """Second rung: the worker didn't obey a message."""
        if self._transport is not None:
            self._transport.terminate()
            self._ladder = self._transport.call_later(TERMINATE_SECONDS, self._kill)

    def _kill(self) -> None:
        """Last rung. Slicer's launcher may stand between us and the worker, so the worker's own id is used as well."""
        if self._transport is None:
            return
        direct, own = self._transport.pid, int(self.info.get("pid") or 0)
        self._transport.kill()
        if self._became_ready and own and own != direct:
            try:
                os.kill(own, getattr(signal, "SIGKILL", signal.SIGTERM))
            except OSError:
                pass

    def _start_failed(self, text: str) -> None:
        self._transport = None
        self._give_up(_("The engine could not be started: {reason}").format(reason=text))

    def _exited(self, code: int, crashed: bool) -> None:
        self._cancel_ladder()
        self._transport = None
        if self._closing:
            self._end()
        elif not self._became_ready:
            reason = self._last_words() or f"exit {code}"
            self._give_up(self._gave_up or _("The engine could not be started: {reason}").format(reason=reason))
        elif self._interrupted:
            self._interrupted = False
            text = _("Stopped by the user.")
            self._set_state("failed", text)
            self._lose(text)
            self.start()
        else:
            self._crashed(code)

    def _crashed(self, code: int) -> None:
        now = time.monotonic()
        self._crashes = [moment for moment in self._crashes if now - moment < 60] + [now]
        if len(self._crashes) >= MAX_CRASHES:
            text = _("The engine stopped {count} times within a minute (exit {code}); see its log.")
            self._give_up(text.format(count=MAX_CRASHES, code=code))
            return
        text = _("The engine stopped unexpectedly (exit {code}) and was started again.").format(code=code)
        detail = self._log_tail
        self._set_state("failed", text)
        self._lose(text)
        self.error.emit(text, detail)
        self.start()

    def _lose(self, text: str) -> None:
        pending, self._pending = list(self._pending.values()), {}
        self._on_lost(text, "failed")
        for each in pending:
            if each.on_error is not None:
                _call(each.on_error, text)

    def _give_up(self, text: str) -> None:
        self._set_state("failed", text)
        self._lose(text)
        self.error.emit(text, self._log_tail)

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log_tail.splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""

    def _detach(self) -> None:
        """Have nothing to do any more with the process, which ends or has ended."""
        self._cancel_ladder()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.received = transport.logged = transport.exited = transport.failed = lambda *_: None
            transport.kill()

    def _end(self) -> None:
        """Nothing of ours is left: no process, no files."""
        self._detach()
        self._on_end()
        if self._arrays is not None:
            self._arrays.remove()
            self._arrays = None
        self._set_state("stopped", _("The engine is not started."))
