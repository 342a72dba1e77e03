"""``deepreg2d3d evaluate``: the published protocol on test cases."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli_options
from .cli_protocol import run_protocol
from .exit_status import DONE

DESCRIPTION = """\
Registers every case from many starts and measures the results against the ground truth: success rate (mRPD of 2 mm or
less), capture range, mRPD, mTRE and seconds, with the published figures beside them.

Writes into --out: table.md, table.json, success.png, errors.png, and starts.csv with a row for each registration. The
same command goes on where an interrupted one stopped; further methods or starts are added to what is there."""
EPILOG = """\
examples:
  deepreg2d3d evaluate --cases cases --method dppc --starts 20 --out evaluation
  deepreg2d3d evaluate --cases cases --method deep-iterative dppc --views joint --starts 300 --out published
  deepreg2d3d evaluate --cases cases --weights job/models --out evaluation_job    what `train --export` wrote"""


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
    cli_options.add_weights(parser)
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
        help="starts for each case and view: picked evenly from those listed, beyond them drawn (default: all listed); "
        "a capture range needs 20 runs, of all cases and views together, in each 5 mm bin",
    )
    cli_options.add_seed(parser, "seed of the drawn starts")
    cli_options.add_device(parser)
    cli_options.add_jobs(parser)
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
        weights=options.weights,
    )
    status = run_protocol(options.out, lambda progress: evaluate(settings, progress.update))
    if status == DONE:
        print(f"plots: {options.out / 'success.png'} and {options.out / 'errors.png'}")
    return status
