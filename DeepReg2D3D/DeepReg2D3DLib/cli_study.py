"""``deepreg2d3d study``: the published protocol on one's own CT, X-rays and reference pose."""

from __future__ import annotations

import argparse

from . import cli_options
from .cli_case import add_files
from .cli_protocol import run_protocol
from .exit_status import DONE
from .progress import Progress

DESCRIPTION = """\
Measures how well a CT registers to X-rays of your own: from many random starts up to a distance, against a pose that
counts as the truth. That is a registration accepted by eye, a calibrated acquisition, or, without --reference, what the
markers of --landmarks give.

Writes into --out: study.html (all in one file, to print, with pictures of up to 24 failures), table.md, table.json,
starts.csv, poses.jsonl, success.png, errors.png, with --landmarks fiducials.csv (every marker's distance from its
click, with and without the registration), and the anonymised inputs as a case folder. The same command goes on where an
interrupted one stopped; more --starts or --method are added to what is there."""
EPILOG = """\
examples:
  deepreg2d3d study --ct ct.nrrd --geometry geometry.json --reference accepted.tfm --starts 240 --limit 60 --out study
  deepreg2d3d study --ct dicom/ --xray a.dcm b.dcm --landmarks markers.json --method deep-iterative dppc --out study"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``study``."""
    add_files(parser)
    parser.add_argument(
        "--starts",
        type=cli_options.positive_count,
        default=100,
        metavar="N",
        help="random starts for each method and view, spread evenly over the 5 mm bins (default: 100; a capture range "
        "needs 20 runs in each bin: 240 up to 60 mm)",
    )
    parser.add_argument(
        "--limit", type=float, default=60.0, metavar="MM", help="how far the starts reach, in mm of mTRE (default: 60)"
    )
    parser.add_argument(
        "--views",
        choices=("each", "joint"),
        help="each view alone, as in the paper, or all at once (default: all at once, as register does)",
    )
    cli_options.add_method(parser, several=True)
    cli_options.add_weights(parser)
    cli_options.add_preset(parser)
    cli_options.add_seed(parser, "seed of the starts")
    cli_options.add_device(parser)
    cli_options.add_jobs(parser)
    cli_options.add_out_folder(parser)


def run(options: argparse.Namespace) -> int:
    """Run the study and print its table."""
    from .evaluation.study_report import FILE_NAME
    from .study import StudyFiles, StudySettings, run_study

    files = StudyFiles(options.ct, options.geometry, options.xray, options.frame, options.reference, options.landmarks)

    def work(progress: Progress) -> None:
        settings = StudySettings(
            out=options.out,
            methods=tuple(dict.fromkeys(options.method)),
            starts=options.starts,
            limit=options.limit,
            preset=options.preset,
            views=options.views,
            seed=options.seed,
            device=options.device,
            jobs=options.jobs,
            weights=options.weights,
            told=progress.update,
            note=progress.note,
        )
        run_study(files, settings)

    status = run_protocol(options.out, work)
    if status == DONE:
        print(f"report: {options.out / FILE_NAME}")
    return status
