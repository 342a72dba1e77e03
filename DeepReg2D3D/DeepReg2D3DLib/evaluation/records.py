"""starts.csv: one row a registration, written as soon as it is done, so that an interrupted evaluation goes on."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from ..engine.atomic import cut_torn_line
from ..engine.errors import InputError


@dataclass(frozen=True)
class Record:
    """One registration of an evaluation; the fields are the columns of starts.csv, in their order.

    view: a view's name, or 'joint'. Final errors are NaN, in the file empty, where the run crashed or was refused
    (status 'failed'). confidence: 0 to 1, NaN where nothing was judged. seconds: of the registration alone.
    """

    case: str
    view: str
    method: str
    preset: str
    start_id: str
    initial_mtre_mm: float
    final_mtre_mm: float
    final_mrpd_mm: float
    success: int
    seconds: float
    iterations: int
    status: str
    confidence: float

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What tells one registration from another."""
        return self.case, self.view, self.method, self.preset, self.start_id


JOINT = "joint"
"""The view of a row that registered all views of its case at once."""
COLUMNS = tuple(field.name for field in fields(Record))
_TYPES = {field.name: {"str": str, "float": float, "int": int}[str(field.type)] for field in fields(Record)}


class RecordFile:
    """starts.csv in a folder. Every row is on the disk before the next registration counts as begun."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Record]:
        """The rows so far; a last line that an interruption cut short is taken out of the file."""
        if not self.path.exists():
            return []
        cut_torn_line(self.path)
        whole = self.path.read_bytes()
        if not whole:
            return []
        try:
            rows = list(csv.reader(io.StringIO(whole.decode("utf-8"))))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path}: is not a table of an evaluation; choose another --out.") from error
        if tuple(rows[0]) != COLUMNS:
            raise InputError(f"{self.path}: its columns are not those of an evaluation; choose another --out.")
        records = []
        for number, row in enumerate(rows[1:], start=2):
            try:
                values = {name: _TYPES[name](text or "nan") for name, text in zip(COLUMNS, row, strict=True)}
            except ValueError as error:
                raise InputError(
                    f"{self.path}: line {number} cannot be read ({error}); choose another --out."
                ) from error
            records.append(Record(**values))
        return records

    def append(self, records: Iterable[Record]) -> None:
        """Add rows, and the header where the file is new, and wait until they are on the disk."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self.path.exists() or self.path.stat().st_size == 0:
            writer.writerow(COLUMNS)
        writer.writerows([_written(getattr(record, name)) for name in COLUMNS] for record in records)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())


def _written(value: str | float | int) -> str:
    if isinstance(value, float):
        return f"{value:.5f}" if math.isfinite(value) else ""
    return str(value)
