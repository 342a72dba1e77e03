"""``python -m DeepReg2D3DLib.worker --folder DIR``: the engine's process, spoken to in JSON lines."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from ..processor_sharing import wait_briefly
from .arrays import ArrayFolder
from .server import Engine, Server, own_streams

KERNELS = "64"
"""Compiled kernels that torch's oneDNN keeps. It makes one for every shape of image and keeps 1024 by default; nearly
every registration brings new shapes, and the worker would grow by some 40 MB."""


def threads_for(processors: int | None) -> int:
    """Compute threads: all processors but one, which stays free for the window that the user looks at."""
    return max(1, (processors or 1) - 1)


def _make_engine(folder: ArrayFolder) -> Engine:
    # torch is imported here, after the answering thread runs and the thread counts are set.
    from .session import EngineSession

    return EngineSession(folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the worker."""
    parser.add_argument("--folder", help="folder of the mapped arrays; a new one that is removed again by default")
    parser.add_argument("--token", default="", help="what owner.txt in the folder holds while this worker owns it")
    parser.add_argument("--threads", type=int, default=0, help="compute threads (default: all processors but one)")


def run(options: argparse.Namespace) -> int:
    """Serve stdin until it ends."""
    threads = str(options.threads if options.threads > 0 else threads_for(os.cpu_count()))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = threads
    os.environ.setdefault("DNNL_PRIMITIVE_CACHE_CAPACITY", KERNELS)
    wait_briefly()
    source, sink = own_streams()
    if options.folder is None:
        folder, token = ArrayFolder.create(), f"own-{os.getpid()}"
        folder.claim(token)
    else:
        folder, token = ArrayFolder(options.folder), options.token
    Server(_make_engine, folder, source, sink, token).serve()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker until its stdin ends."""
    parser = argparse.ArgumentParser(prog="deepreg2d3d worker", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
