"""Long work says what it is doing, and can be ended between two pieces of it.

``working_on`` is called many times a second where a single call may otherwise keep its caller waiting for long. Whoever
wants to know, or to end the work, calls it inside ``watched_by``: what the watcher raises ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watcher = Callable[[str], None]
LOOKING = "Looking for a better start"
"""What a search is working on, for people."""

_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


def working_on(words: str) -> None:
    """Tell the watcher, if there is one, in words for people."""
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher(words)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """What this thread works on inside is told to ``watcher``, always with the same words while it is the same."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)
