"""``deepreg2d3d batch``: many registrations, in parallel and in shards."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli_options
from .exit_status import DONE, INTERRUPTED, UNRELIABLE
from .progress import Progress

DESCRIPTION = """\
Registers every row of a table, or every case folder of a folder, and writes for each a folder as `register` does, and
summary.csv and summary.json over all. The same command goes on where an interrupted one stopped, tries what was refused
again, and does anew what has changed: files, options, this program or its networks.

The table is a CSV file whose first line names its columns: ct, xrays (separated by semicolons), geometry, init (a pose
file, or auto), landmarks, name. Paths are relative to the table. A case folder begins at its start.json or start.tfm,
else at the first start that its case.json lists, else at the automatic start.

On a cluster, run the command with --shard i/n for i from 1 to n, on any nodes that share the output folder.

The exit status is 3 where a row of the summary is unreliable, refused or failed."""
EPILOG = """\
examples:
  deepreg2d3d batch --list patients.csv --method dppc --out results
  deepreg2d3d batch --list cases --out results --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``batch``."""
    parser.add_argument(
        "--list", type=Path, required=True, metavar="FILE|DIR", help="a CSV table, or a folder of case folders"
    )
    cli_options.add_method(parser)
    cli_options.add_weights(parser)
    cli_options.add_preset(parser)
    cli_options.add_device(parser)
    cli_options.add_jobs(parser)
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="do only the I-th of N parts (default: all)")
    cli_options.add_out_folder(parser)


def run(options: argparse.Namespace) -> int:
    """Register them all and print the summary."""
    from .batch import BatchSettings, as_csv, parse_shard, run_batch
    from .batch_list import read_batch
    from .registration_run import RunOptions

    shard = parse_shard(options.shard)
    RunOptions(options.method, options.preset, options.device, options.weights)  # refuses what none could use
    items = read_batch(options.list)
    settings = BatchSettings(
        options.out, options.method, options.preset, options.device, options.jobs, shard, options.weights
    )
    with Progress() as progress:
        try:
            rows = run_batch(items, settings, progress.update)
        except KeyboardInterrupt:
            progress.note(f"interrupted; the same command goes on. Done so far: {options.out / 'summary.csv'}")
            return INTERRUPTED
    print(as_csv(rows), end="")
    print(options.out / "summary.csv")
    return DONE if all(row["status"] in ("converged", "stopped") for row in rows) else UNRELIABLE
