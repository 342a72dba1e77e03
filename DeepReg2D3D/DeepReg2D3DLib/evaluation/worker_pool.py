"""Child processes that work off a list of tasks; one that dies costs its task, not the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

_ENDED = (-signal.SIGTERM, -signal.SIGINT)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


@dataclass(frozen=True)
class Done:
    """A task that came to its end: ``result``, or ``error`` in words where the handler raised or the process died."""

    task: Any
    result: Any = None
    error: str | None = None


class _Worker:
    def __init__(self, handler: Callable[[Any], Any], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, handler), daemon=True)
        with _quiet_start(threads):
            self.process.start()
        theirs.close()
        self.group: Hashable = None
        self.task: Any = None

    def give(self, task: Any, group: Hashable) -> None:
        self.task, self.group = task, group
        with suppress(OSError):  # a process that has died shows when its answer is collected
            self.connection.send(task)

    def collect(self) -> Done:
        try:
            result, error = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            if self.process.exitcode in _ENDED:  # the task has not failed: it is still to be done
                raise KeyboardInterrupt from None
            return Done(self.task, error=f"the process died (exit code {self.process.exitcode}; out of memory?)")
        return Done(self.task, result, error)

    def end(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def work_off(
    tasks: Sequence[Any],
    handler: Callable[[Any], Any],
    group_of: Callable[[Any], Hashable],
    jobs: int,
    threads: int = 1,
) -> Iterator[Done]:
    """Yield every task as it is done by one of ``jobs`` processes; closing the iterator ends them.

    A process that is ended from outside, as a batch system ends a job, raises KeyboardInterrupt.

    handler: a function of a module (the children import it). A process keeps to one group of tasks as long as there
    are any, so that the handler may keep what it loaded for the group. threads: for numerical libraries, per process.
    """
    waiting: dict[Hashable, list[Any]] = {}
    for task in tasks:
        waiting.setdefault(group_of(task), []).append(task)
    workers: dict[Connection, _Worker] = {}

    def employ(worker: _Worker) -> None:
        group = worker.group if worker.group in waiting else max(waiting, key=lambda g: len(waiting[g]))
        task = waiting[group].pop(0)
        if not waiting[group]:
            del waiting[group]
        worker.give(task, group)

    try:
        for _ in range(min(jobs, len(tasks))):
            worker = _Worker(handler, threads)
            workers[worker.connection] = worker
            employ(worker)
        while workers:
            for connection in wait(list(workers)):
                worker = workers[connection]
                done = worker.collect()
                if not worker.process.is_alive() or not waiting:
                    workers.pop(connection).end()
                    if waiting:
                        worker = _Worker(handler, threads)
                        workers[worker.connection] = worker
                if waiting:
                    employ(worker)
                yield done
    finally:
        for worker in workers.values():
            worker.end()


def _serve(connection: Connection, handler: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (handler(task), None)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            answer = (None, f"{type(error).__name__}: {error} ({where.name})")
        try:
            connection.send(answer)
        except OSError:
            return  # The parent is gone: nobody is left to tell.


@contextmanager
def _quiet_start(threads: int) -> Iterator[None]:
    """Children inherit the number of threads, and that Ctrl-C is the parent's business, from their first moment."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    try:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread, where alone signals are handled
        handler = None
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
