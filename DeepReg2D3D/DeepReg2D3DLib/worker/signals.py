"""A signal in plain Python: Qt signals in Python classes aren't safe under Slicer's PythonQt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

_logger = logging.getLogger(__name__)


class Signal:
    """Calls every connected function on ``emit``, in the order of connection.

    A function that raises is logged and doesn't keep the others from being called: one broken listener must not stop
    the pose from being updated. Functions connected or disconnected during ``emit`` count from the next one on.
    """

    def __init__(self) -> None:
        self._slots: list[Callable[..., Any]] = []

    def connect(self, slot: Callable[..., Any]) -> Callable[..., Any]:
        """Call ``slot`` on each ``emit``; connecting it twice has no effect. Returns the slot."""
        if slot not in self._slots:
            self._slots.append(slot)
        return slot

    def disconnect(self, slot: Callable[..., Any]) -> None:
        """Stop calling ``slot``; no error where it wasn't connected."""
        if slot in self._slots:
            self._slots.remove(slot)

    def clear(self) -> None:
        """Disconnect everything."""
        self._slots.clear()

    def emit(self, *args: Any) -> None:
        """Call every connected function with ``args``."""
        for slot in tuple(self._slots):
            try:
                slot(*args)
            except Exception:
                _logger.exception("A listener of a signal failed: %r", slot)
