"""A command of the program in a child process: its parent's end of stdin is its lifeline.

Where stdin ends, because the parent asks for it or is gone, the command is interrupted as by Ctrl-C: it writes what it
has and ends. So no study goes on without the application that started it.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading

from .. import cli


def main() -> None:
    """Run the command line in sys.argv; the process ends with its exit status."""
    threading.Thread(target=_watch, daemon=True).start()
    status = cli.main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The watcher may be reading; an orderly end would wait for what it holds.
    os._exit(status)


def _watch() -> None:
    while True:
        try:
            if not os.read(0, 4096):
                break
        except OSError:
            break
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGINT)  # wakes what the main thread waits for
    else:
        _thread.interrupt_main()
