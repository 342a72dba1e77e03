"""Many registrations on one command line: in parallel, resumable, in shards that share one output folder."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import __version__
from .batch_list import BatchItem
from .engine.atomic import make_folder, write_json, write_text
from .engine.device import resolve_device
from .engine.errors import DeepReg2D3DError, InputError
from .engine.folder_lock import folder_lock
from .engine.json_file import read_json
from .engine.weights import MANIFEST, adapted_weights
from .evaluation.fingerprint import digest
from .evaluation.protocol import CLASSICAL, share_cores
from .evaluation.report_parts import without_paths
from .evaluation.worker_pool import work_off
from .resources import models_dir

ROW = "batch.json"
FIELDS = ("name", "status", "confidence", "similarity", "iterations", "seconds", "message")
REFUSED = "refused"
_TELLING = 4


@dataclass(frozen=True)
class BatchSettings:
    """How a batch runs. shard: (i, n), the i-th of n parts, from 1. weights: as for ``RunOptions``."""

    out: Path
    method: str
    preset: str
    device: str = "auto"
    jobs: int | None = None
    shard: tuple[int, int] = (1, 1)
    weights: Path | None = None


@dataclass(frozen=True)
class _Task:
    item: BatchItem
    settings: BatchSettings
    fingerprint: str


def run_batch(
    items: list[BatchItem], settings: BatchSettings, progress: Callable[[int, int, str], None]
) -> list[dict[str, Any]]:
    """Register the items of the shard that are not done yet; returns the rows of all that are done in ``out``.

    Each item gets a folder as ``register`` writes it, with log.txt and batch.json. What is done already, from the same
    files with the same options, is not done again; what was refused is tried again. summary.csv and summary.json hold
    the rows of every shard so far.
    """
    first, count = settings.shard
    mine = items[first - 1 :: count]
    make_folder(settings.out)
    tasks = [_Task(item, settings, fingerprint(item, settings)) for item in mine]
    waiting = [task for task in tasks if not _done(task)]
    jobs, threads = share_cores(settings.jobs, resolve_device(settings.device).type, len(waiting))
    done = len(mine) - len(waiting)
    try:
        for result in work_off(waiting, _register_item, lambda task: task.item.ct, jobs, threads):
            row = result.result
            if row is None:
                item = result.task.item
                row = _row(item.name, "failed", message=without_paths([result.error or ""], _labels(item))[0])
                _write_row(result.task, row)
            done += 1
            progress(done, len(mine), f"{row['name']}: {row['status']}" + (row["message"] and f" ({row['message']})"))
    finally:
        # Shards that end together write one after the other, or the rows of the last one might be missing.
        with folder_lock(settings.out, wait=True, name=".summary-in-use"):
            rows = collected_rows(settings.out)
            write_text(settings.out / "summary.csv", as_csv(rows))
            write_json(settings.out / "summary.json", rows)
    return rows


def fingerprint(item: BatchItem, settings: BatchSettings) -> str:
    """Changes when an input file, an option that matters, the program or its networks do."""
    stamps = []
    for path in item.files():
        try:
            found = path.stat()
        except OSError:
            continue
        stamps.append((str(path), found.st_size, found.st_mtime_ns))
    content = [repr(asdict(item)), settings.method, settings.preset, repr(stamps), __version__]
    if settings.method != CLASSICAL:
        content.append(digest([models_dir() / MANIFEST]))
    if settings.weights is not None:
        content.append(repr(sorted(adapted_weights(settings.weights).items())))
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


def collected_rows(out: Path) -> list[dict[str, Any]]:
    """The rows of all items in ``out``, by name; files that can't be read are passed over."""
    rows = []
    for path in sorted(out.glob(f"*/{ROW}")):
        try:
            row = read_json(path)["row"]
            rows.append({field: row[field] if field in ("name", "status") else row.get(field, "") for field in FIELDS})
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return rows


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as a CSV table with a line of names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _done(task: _Task) -> bool:
    return _row_of(task) is not None


def _row_of(task: _Task) -> dict[str, Any] | None:
    """The row of an item that is done, from the same files with the same options."""
    try:
        found = read_json(task.settings.out / task.item.name / ROW)
        same = found["fingerprint"] == task.fingerprint and found["row"]["status"] not in (REFUSED, "failed")
        return {field: found["row"][field] for field in FIELDS} if same else None
    except (ValueError, KeyError, TypeError):
        return None


def _row(name: str, status: str, **numbers: Any) -> dict[str, Any]:
    return {field: "" for field in FIELDS} | {"name": name, "status": status} | numbers


def _write_row(task: _Task, row: dict[str, Any]) -> None:
    folder = task.settings.out / task.item.name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ROW, {"fingerprint": task.fingerprint, "row": row})


def _register_item(task: _Task) -> dict[str, Any]:
    """One item, in a child process; its output goes to log.txt."""
    folder = task.settings.out / task.item.name
    try:
        # Another process with the same table may be at this item: what it finds is this one's result, too.
        with folder_lock(folder, wait=True, name=".batch-in-use"):
            done = _row_of(task)
            return _register_alone(task, folder) if done is None else done
    except InputError as error:
        return _row(task.item.name, REFUSED, message=str(error))


def _register_alone(task: _Task, folder: Path) -> dict[str, Any]:
    import torch

    from .first_pose import StartRequest
    from .progress import Progress, collected_warnings
    from .registration_run import RunOptions, load_inputs, run_registration

    item, settings = task.item, task.settings
    files = _labels(item) | {f"result of {item.name}": folder}
    text = io.StringIO()
    try:
        with redirect_stdout(text), Progress(text) as progress:
            options = RunOptions(settings.method, settings.preset, settings.device, settings.weights)
            with collected_warnings(progress) as warned:
                init = "auto" if item.start is not None else item.init
                request = StartRequest(init, None if item.start is not None else item.landmarks)
                inputs = load_inputs(item.ct, item.geometry, item.xrays or None, request, tell=progress.note)
                files |= inputs.files
            if item.start is not None:
                start = torch.tensor(item.start, dtype=torch.float64)
                inputs = replace(inputs, start=start, automatic=False)
            run_registration(inputs, options, folder, progress, warned=warned)
        report = read_json(folder / "report.json")
        last = report["iterations"][-1]
        row = _row(
            item.name,
            report["status"],
            confidence="" if report["confidence"] is None else round(report["confidence"], 4),
            similarity=round(last["similarity"], 4),
            iterations=len(report["iterations"]) - 1,
            seconds=round(report["seconds"]["register"], 2),
        )
    except DeepReg2D3DError as error:
        message = str(error)
        for words in getattr(error, "private", ()):
            message = message.replace(f"'{words}'", "'...'")
        row = _row(item.name, REFUSED, message=without_paths([message], files)[0])
    except OSError as error:
        message = without_paths([error.strerror or str(error)], files)[0]
        row = _row(item.name, REFUSED, message=f"{message} while its results were written")
    finally:
        # Names of files may be those of patients, and results are passed on.
        write_text(folder / "log.txt", without_paths([text.getvalue()], files)[0])
    _write_row(task, row)
    return row


def _labels(item: BatchItem) -> dict[str, Path]:
    """What a file is -> its path, for ``without_paths``; less the short names inside folders, such as '12', which name
    nobody and would be found in many a sentence."""
    named = item.labelled_files()
    found = item.all_labelled_files().items()
    return {label: path for label, path in found if label in named or len(path.name) >= _TELLING}


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of "i/n". Raises InputError."""
    first, slash, count = text.partition("/")
    if slash and first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count):
        return int(first), int(count)
    raise InputError(f"--shard {text}: expected i/n with i from 1 to n, for example 2/8.")
