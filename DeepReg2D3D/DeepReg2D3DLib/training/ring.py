"""A ring of ready-made training samples in memory-mapped files, filled by one process and read by another.

Rendering costs more than a training step on a CPU, so the maker renders in the background, the trainer draws slots at
random and augments them afresh, and the maker overwrites the oldest slot. A slot holds one X-ray with several starts.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np

from ..engine.atomic import write_json
from ..engine.errors import InputError
from ..engine.json_file import read_json

_FILE = "ring.json"


class SampleRing:
    """Fixed number of slots, each a dictionary of arrays of fixed shape.

    A slot's sequence number is -1 while it is written, so that a reader notices a torn slot and draws another.
    """

    def __init__(self, folder: Path, arrays: dict[str, np.memmap], sequence: np.memmap) -> None:
        self.folder = folder
        self._arrays = arrays
        self._sequence = sequence
        self.slots = len(sequence)
        self._next = int(self._sequence.max(initial=0)) if (self._sequence > 0).any() else 0

    @classmethod
    def create(cls, folder: Path, slots: int, layout: dict[str, tuple[tuple[int, ...], str]]) -> SampleRing:
        """Make the files, in the place of an older ring's. ``layout``: each array of a slot with its shape and dtype.

        The description comes last: where it is, the arrays are whole.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).unlink(missing_ok=True)
        sequence = np.memmap(folder / "sequence.bin", np.int64, "w+", shape=(slots,))
        arrays = {
            name: np.memmap(folder / f"{name}.bin", dtype, "w+", shape=(slots, *shape))
            for name, (shape, dtype) in layout.items()
        }
        ring = cls(folder, arrays, sequence)
        write_json(folder / _FILE, {"slots": slots, "arrays": ring.layout})
        return ring

    @classmethod
    def open(cls, folder: Path) -> SampleRing:
        """Open a ring that another process made. Raises InputError where there is none, or not all of it."""
        try:
            description = read_json(folder / _FILE)
            slots = description["slots"]
            for name, (shape, dtype) in {**description["arrays"], "sequence": ((), "int64")}.items():
                path = folder / f"{name}.bin"
                if path.stat().st_size != slots * math.prod(shape) * np.dtype(dtype).itemsize:
                    raise ValueError(f"{path.name} is not as long as {_FILE} says")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{folder} holds no sample ring ({error}).") from error
        arrays = {
            name: np.memmap(folder / f"{name}.bin", dtype, "r+", shape=(slots, *shape))
            for name, (shape, dtype) in description["arrays"].items()
        }
        return cls(folder, arrays, np.memmap(folder / "sequence.bin", np.int64, "r+", shape=(slots,)))

    @classmethod
    def open_or_create(cls, folder: Path, slots: int, layout: dict[str, tuple[tuple[int, ...], str]]) -> SampleRing:
        """The ring of a folder, of however many slots; made anew where it is not whole or has other arrays."""
        try:
            ring = cls.open(folder)
        except InputError:
            return cls.create(folder, slots, layout)
        return ring if ring.layout == layout else cls.create(folder, slots, layout)

    @property
    def layout(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of each array of a slot."""
        return {name: (array.shape[1:], array.dtype.name) for name, array in self._arrays.items()}

    @property
    def filled(self) -> int:
        """Number of slots that hold a sample."""
        return int((self._sequence > 0).sum())

    @property
    def written(self) -> int:
        """Number of slots written since the ring was made."""
        return int(max(self._sequence.max(), 0))

    def write(self, sample: dict[str, np.ndarray]) -> None:
        """Put a sample in the place of the oldest."""
        slot = self._next % self.slots
        self._sequence[slot] = -1
        for name, array in self._arrays.items():
            array[slot] = sample[name]
        self._next += 1
        self._sequence[slot] = self._next

    def read(self, count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``count`` slots drawn at random, stacked. Waits for a first sample."""
        while True:
            ready = np.flatnonzero(self._sequence > 0)
            if len(ready) >= min(count, self.slots):
                break
            time.sleep(0.2)
        drawn = random.choice(ready, size=count, replace=len(ready) < count)
        before = self._sequence[drawn].copy()
        stacked = {name: array[drawn] for name, array in self._arrays.items()}
        torn = before != self._sequence[drawn]
        if torn.any():
            return self.read(count, random)
        return stacked
