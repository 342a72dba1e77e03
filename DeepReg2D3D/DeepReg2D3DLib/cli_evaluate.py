"""``deepreg2d3d evaluate``: the published protocol on test cases."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli_options
from .exit_status import DONE, INTERRUPTED
from .progress import Progress, collected_warnings

DESCRIPTION = """\
Registers every case from many starts and measures the results against the ground truth: success rate (mRPD of 2 mm or
less), capture range, mRPD, mTRE and seconds, with the published figures beside them.

Writes into --out: table.md, table.json, success.png, errors.png, and starts.csv with a row for each registration. The
same command goes on where an interrupted one stopped; further methods or starts are added to what is there."""
EPILOG = """\
examples:
  deepreg2d3d evaluate --cases cases --method dppc --starts 20 --out evaluation
  deepreg2d3d evaluate --cases cases --method deep-iterative dppc --views joint --starts 300 --out published"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``evaluate``."""
    parser.add_argument(
        "--cases",
        type=Path,
        required=True,
        metavar="DIR",
        help="a case folder (it holds case.json), or a folder of them",
    )
    cli_options.add_method(parser, several=True)
    cli_options.add_preset(parser)
    parser.add_argument(
        "--views",
        choices=("each", "joint"),
        default="each",
        help="each view alone, or all of a case at once (default: each)",
    )
    parser.add_argument(
        "--starts",
        type=cli_options.positive_count,
        metavar="N",
        help="starts for each case and view: picked evenly from those listed, beyond them drawn (default: all listed)",
    )
    parser.add_argument(
        "--seed", type=cli_options.seed, default=0, metavar="S", help="seed of the drawn starts (default: 0)"
    )
    cli_options.add_device(parser)
    parser.add_argument(
        "--jobs",
        type=cli_options.positive_count,
        metavar="J",
        help="registrations at a time (default: one for each core; one on a GPU)",
    )
    cli_options.add_out_folder(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    from .evaluation.protocol import EvaluationSettings, evaluate

    settings = EvaluationSettings(
        cases=options.cases,
        out=options.out,
        methods=tuple(dict.fromkeys(options.method)),
        preset=options.preset,
        views=options.views,
        starts=options.starts,
        seed=options.seed,
        device=options.device,
        jobs=options.jobs,
    )
    with Progress() as progress:
        try:
            with collected_warnings(progress):
                evaluate(settings, progress.update)
        except KeyboardInterrupt:
            progress.note(f"interrupted; the rows so far are in {options.out}, and the same command goes on.")
            return INTERRUPTED
    print((options.out / "table.md").read_text(encoding="utf-8"))
    print(f"plots: {options.out / 'success.png'} and {options.out / 'errors.png'}")
    return DONE
