"""The ``deepreg2d3d`` command: its sub-commands, exit statuses, and errors in one line.

Nothing that computes is imported before a command runs, so that ``--help`` is immediate.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from . import __version__
from .engine.errors import DeepReg2D3DError
from .exit_status import BAD_INPUT, INTERNAL_ERROR, INTERRUPTED
from .processor_sharing import wait_briefly

COMMANDS = {
    "demo": ("cli_demo", "register a built-in phantom; needs no files"),
    "register": ("cli_register", "find where a CT lies in one or more X-ray images"),
    "landmarks": ("cli_landmarks", "a pose from points of the CT and their clicks in the X-rays"),
    "track": ("cli_track", "follow a CT through the frames of a fluoroscopy run"),
    "case": ("cli_case", "write a case folder, anonymised, to be handed on or evaluated"),
    "batch": ("cli_batch", "register many CTs and X-rays, from a table or a folder of cases"),
    "drr": ("cli_drr", "render digitally reconstructed radiographs of a CT"),
    "geometry": ("cli_geometry", "tell and convert where source and detector were: DICOM, RTK, matrices, OpenCV"),
    "simulate": ("cli_simulate", "make realistic X-ray images of a CT, as a test case"),
    "adapt": ("cli_adapt", "fine-tune the installed networks on simulated X-rays of one CT (optional)"),
    "train": ("cli_train", "train networks on simulated X-rays of CTs"),
    "study": ("cli_study", "measure methods on your own CT and X-rays, with a report"),
    "evaluate": ("cli_evaluate", "measure methods on test cases: success rate, capture range, errors"),
    "benchmark": ("cli_benchmark", "measure how fast this machine registers"),
    "worker": ("cli_worker", "serve the engine over stdin and stdout, as 3D Slicer uses it"),
}
"""Name -> (module with ``add_arguments(parser)`` and ``run(options) -> int``, what it does in a line)."""

_DESCRIPTION = """\
2D/3D registration: finds where a CT lies in the frame of X-ray images (six degrees of freedom).
Research software, not a medical device: verify every result by eye."""
_EPILOG = """\
begin with:
  deepreg2d3d demo                 see it work, without any files (under a minute)
  deepreg2d3d register --help      register your own CT and X-rays

exit status:
  0  done                          3    finished, but judged unreliable
  2  an input cannot be used       130  interrupted; what was finished is written
  1  internal error"""


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}. See '{self.prog} --help'.\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="deepreg2d3d", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"deepreg2d3d {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True, parser_class=Parser)
    for name, (module_name, summary) in COMMANDS.items():
        module = importlib.import_module(f".{module_name}", __package__)
        command = commands.add_parser(
            name, help=summary, description=module.DESCRIPTION, epilog=module.EPILOG, formatter_class=raw
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status (0, 1, 2, 3 or 130)."""
    wait_briefly()
    try:
        options = build_parser().parse_args(arguments)
    except SystemExit as end:  # --help, --version and wrong arguments
        return end.code if isinstance(end.code, int) else BAD_INPUT
    try:
        with _ended_like_interrupted(options.command != "worker"):
            return options.run(options)
    except KeyboardInterrupt:
        _complain("interrupted.")
        return INTERRUPTED
    except DeepReg2D3DError as error:
        _complain(str(error))
        return BAD_INPUT
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERNAL_ERROR
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        _complain(f"{named}{error.strerror or error}.")
        return BAD_INPUT
    except MemoryError:
        _complain("not enough memory for this CT; close other programs, or resample the CT to larger voxels.")
        return INTERNAL_ERROR
    except Exception:
        traceback.print_exc()
        _complain("internal error; please report the lines above with the command you typed.")
        return INTERNAL_ERROR


@contextmanager
def _ended_like_interrupted(wanted: bool) -> Iterator[None]:
    """Let SIGTERM, by which batch systems end a job, do what Ctrl-C does: what was finished is written."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(message: str) -> None:
    line = " ".join(message.split())
    print(f"deepreg2d3d: {line}", file=sys.stderr)
