"""``deepreg2d3d train``: from a folder of CTs to network weights."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import cli_options
from .exit_status import DONE, INTERRUPTED

DESCRIPTION = """\
Trains a method's networks on simulated X-rays of CTs (and of phantoms, where no CTs are given): first the flow, then,
with --set stage=joint, the weights of its correspondences by the poses that come out.

Writes into --out: config.json, log.jsonl, curves.png, checkpoint/ and volumes/. The same command goes on where a job
stopped, whenever that was. The first lines with numbers appear within two minutes. On a CPU one process makes samples
and the rest of the cores train; on a GPU everything happens there.

Weights are written at the end, and only with --export NAME, into OUT/models: the folder for `--weights` of the other
commands. NAME must be METHOD-flow after training the flow (deep-iterative-flow), and METHOD after joint training
(deep-iterative), which enters METHOD-flow and METHOD-weights. The manifest there names the files of --cts.

--recipe paper is the paper's training, scaled down. The paper trained the flow for 50 epochs and then everything for up
to 100 more, on real X-rays of 43 patients; how many make an epoch it doesn't tell. Here --minutes or --steps is the
length of either stage, and the X-rays are simulated from 96 volumes (your CTs, varied copies of them, phantoms). A step
sees 16 starts, like the paper's batch: in 1000 steps as many as a job keeps at a time, 4 about each of 4000 X-rays."""
EPILOG = """\
examples:
  deepreg2d3d train --cts my-cts --minutes 120 --export deep-iterative-flow --out job
  deepreg2d3d evaluate --cases cases --weights job/models --out evaluation_job
  deepreg2d3d train --cts my-cts --minutes 25 --device cuda --set xrays=64 --set sample.rows=128 --out job
  deepreg2d3d train --cts my-cts --minutes 60 --out longer --set begin_with=deep-iterative-flow --set learning_rate=5e-4
  deepreg2d3d train --cts my-cts --recipe paper --minutes 600 --device cuda --out paper
  deepreg2d3d train --cts my-cts --minutes 30 --out joint --set stage=joint --set flow_from=job \\
      --export deep-iterative --models Resources/Models"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``train``."""
    parser.add_argument("--cts", type=Path, metavar="DIR", help="folder of CTs (default: phantoms alone)")
    parser.add_argument("--skeletons", type=Path, metavar="DIR", help="folder of bone meshes (.npz) for phantoms")
    parser.add_argument("--minutes", type=float, metavar="M", help="time budget of this call")
    parser.add_argument("--steps", type=cli_options.positive_count, metavar="N", help="step budget of this call")
    parser.add_argument(
        "--decay",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of the budget in which the learning rate falls, at its end (default: 0.2; 0 to go on later)",
    )
    parser.add_argument(
        "--recipe",
        choices=("ours", "paper"),
        default="ours",
        help="settings to begin with: ours, or those of the paper as far as it tells them (default: ours)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="changes",
        help="change one setting, as config.json names it: architecture=raft, sample.start.wide_share=0.5",
    )
    parser.add_argument(
        "--makers",
        type=cli_options.positive_count,
        default=8,
        metavar="N",
        help="processes that render samples on a GPU (default: 8)",
    )
    parser.add_argument(
        "--samples-of",
        type=Path,
        metavar="JOB",
        help="folder of a running job whose samples to use: networks side by side on the same samples",
    )
    parser.add_argument("--export", metavar="NAME", help="enter the averaged weights under this name in --models")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder for --export (default: OUT/models)")
    cli_options.add_device(parser)
    cli_options.add_out_folder(parser)


def run(options: argparse.Namespace) -> int:
    """Train, draw the curves, export."""
    import torch

    from .engine.device import resolve_device
    from .engine.errors import InputError
    from .training.config import RECIPES
    from .training.curves import plot_curves
    from .training.job import JobOptions, configured, cpu_threads, export_weights, run_job

    if options.minutes is None and options.steps is None:
        raise InputError("Give a budget: --minutes or --steps.")
    if options.minutes is not None and not 0 < options.minutes < 1e6:
        raise InputError(f"--minutes is a time above 0, found {options.minutes:g}.")
    if not 0 <= options.decay <= 1:
        raise InputError(f"--decay is a share between 0 and 1, found {options.decay}.")
    config = configured(RECIPES[options.recipe], dict(_parsed(change) for change in options.changes))
    device = resolve_device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(cpu_threads())
    job = JobOptions(
        out=options.out,
        cts=options.cts,
        skeletons=options.skeletons,
        device=device,
        minutes=options.minutes,
        steps=options.steps,
        decay_share=options.decay,
        makers=options.makers,
        samples_of=options.samples_of,
    )

    def report(entry: dict[str, object]) -> None:
        print(json.dumps(entry), file=sys.stderr, flush=True)
        if "validation" in entry:
            plot_curves(options.out)

    try:
        trainer = run_job(config, job, report)
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from the checkpoint in {options.out}.", file=sys.stderr)
        return INTERRUPTED
    plot_curves(options.out)
    if options.export:
        volumes = (options.samples_of or options.out) / "volumes"
        for path in export_weights(trainer, options.export, options.models or options.out / "models", volumes):
            print(path)
    print(options.out)
    return DONE


def _parsed(change: str) -> tuple[str, object]:
    from .engine.errors import InputError

    name, equals, value = change.partition("=")
    if not equals:
        raise InputError(f"--set {change}: expected NAME=VALUE.")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
