"""Requests that wait for the engine: in order, but of the render requests only the newest."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection

from .messages import Request


class Mailbox:
    """Filled by the thread that reads stdin, emptied by the thread that computes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: deque[Request] = deque()
        self._render: Request | None = None
        self._cancel = False
        self._closed = False

    def put(self, request: Request) -> Request | None:
        """Add a request. Returns the render request that this one replaces, so that it can be answered."""
        with self._changed:
            replaced = None
            if request.type == "render":
                replaced, self._render = self._render, request
            else:
                self._requests.append(request)
            self._changed.notify()
            return replaced

    def cancel(self) -> list[Request]:
        """Ask the run that is going on to end. Returns the runs that hadn't begun: they are taken out."""
        with self._changed:
            dropped = [request for request in self._requests if request.type == "register"]
            self._requests = deque(r for r in self._requests if r.type not in ("register", "resume"))
            self._cancel = True
            self._changed.notify()
            return dropped

    @property
    def cancel_asked(self) -> bool:
        """Whether a cancel waits to be taken."""
        return self._cancel

    def waits(self, kinds: Collection[str]) -> bool:
        """Whether a request of one of these kinds waits."""
        with self._changed:
            return any(request.type in kinds for request in self._requests)

    @property
    def is_empty(self) -> bool:
        """Whether no request waits but one to render."""
        return not self._requests

    def take_render(self) -> Request | None:
        """The newest render request, ahead of the others; None where there is none."""
        with self._changed:
            request, self._render = self._render, None
            return request

    def take_cancel(self) -> bool:
        """Whether cancel was asked for since the last call."""
        with self._changed:
            cancel, self._cancel = self._cancel, False
            return cancel

    def close(self) -> None:
        """No more requests: what waits is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def closed(self) -> bool:
        """True after ``close``."""
        return self._closed

    def take(self, wait: bool, render: bool = True, seconds: float | None = None) -> Request | None:
        """The next request: ordinary ones first, then the newest render (left where ``render`` is False).

        Waits for one where ``wait``, for so many ``seconds`` at most; None where there is none, a cancel came or the
        mailbox was closed.
        """
        with self._changed:
            while True:
                if self._closed:
                    return None
                if self._requests:
                    return self._requests.popleft()
                if render and self._render is not None:
                    request, self._render = self._render, None
                    return request
                if not wait or self._cancel or not self._changed.wait(seconds):
                    return None
