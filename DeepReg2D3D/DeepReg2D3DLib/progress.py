"""Progress on stderr: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_BAR = 24


class Progress:
    """Says how far a long work has come. Use as a context, so that an unfinished bar is closed."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self._open = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def update(self, done: int, total: int, text: str) -> None:
        """``done`` of ``total`` steps are done; ``text`` says what the last one brought."""
        if not self.terminal:
            print(f"[{done}/{total}] {text}", file=self.stream, flush=True)
            return
        filled = round(_BAR * done / max(total, 1))
        line = f"[{'#' * filled}{'.' * (_BAR - filled)}] {done}/{total} {text}"
        width = shutil.get_terminal_size().columns - 1
        self.stream.write(f"\r\x1b[K{line[:width]}")
        self.stream.flush()
        self._open = True

    def working(self, text: str) -> None:
        """What goes on between two updates: shown on a terminal until the next one, left out of logs."""
        if self.terminal:
            self.stream.write(f"\r\x1b[K{text} ...")
            self.stream.flush()
            self._open = True

    def note(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(text, file=self.stream, flush=True)

    def _clear(self) -> None:
        if self._open:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._open = False


@contextmanager
def collected_warnings(progress: Progress) -> Iterator[list[str]]:
    """Python warnings of the block as texts, in the list given, each also told to ``progress`` at its end."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            yield texts
        finally:
            for warning in caught:
                text = str(warning.message)
                # What torch's own code remarks about itself is of no use to a reader.
                if text not in texts and "Triggered internally" not in text:
                    texts.append(text)
    for text in texts:
        progress.note(f"warning: {text}")
