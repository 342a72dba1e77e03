"""Progress as a bar on a terminal and as lines elsewhere."""

import io
import warnings

from DeepReg2D3DLib.progress import Progress, collected_warnings


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.update(1, 2, "first")
        progress.note("a note")
    assert stream.getvalue() == "[1/2] first\na note\n"


def test_a_bar_on_a_terminal_is_redrawn_and_taken_away():
    stream = Terminal()
    with Progress(stream) as progress:
        progress.update(1, 2, "first")
        progress.update(2, 2, "second")
    text = stream.getvalue()
    assert "\n" not in text and text.count("\r") == 3 and text.endswith("\x1b[K")
    assert "[############............] 1/2 first" in text


def test_what_goes_on_in_between_is_shown_on_a_terminal_only():
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        with Progress(stream) as progress:
            progress.working("looking for a better start")
            progress.update(1, 2, "first")
    assert log.getvalue() == "[1/2] first\n"
    assert terminal.getvalue().startswith("\r\x1b[Klooking for a better start ...\r\x1b[K[")


def test_warnings_are_collected_once_and_told():
    stream = io.StringIO()
    with Progress(stream) as progress, collected_warnings(progress) as texts:
        for _ in range(3):
            warnings.warn("the spacing looks odd", stacklevel=1)
        warnings.warn("something of torch (Triggered internally at x.h:3)", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert texts == ["the spacing looks odd"]
    assert stream.getvalue() == "warning: the spacing looks odd\n"
