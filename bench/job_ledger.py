"""What workers note of every job, in memory that they share with the measurement.

A file that is mapped outlives a worker that is killed, and a note costs well below a microsecond.
"""

import mmap
import time
from array import array
from pathlib import Path
from typing import Self

_COLUMNS = 3
_WIDTH = 8  # of a double


class Ledger:
    """When each job last began and last ended, and how often it began; times are monotonic."""

    def __init__(self, path: Path) -> None:
        """Open what `create` made."""
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.jobs = len(self._map) // (_COLUMNS * _WIDTH)
        self._cells = memoryview(self._map).cast("d")

    @classmethod
    def create(cls, path: Path, jobs: int) -> Self:
        """Return an empty ledger of so many jobs."""
        path.write_bytes(bytes(_COLUMNS * _WIDTH * jobs))
        return cls(path)

    def begin(self, number: int) -> None:
        """Note that a job begins."""
        self._cells[2 * self.jobs + number] += 1
        self._cells[number] = time.monotonic()

    def end(self, number: int) -> None:
        """Note that a job has ended."""
        self._cells[self.jobs + number] = time.monotonic()

    def began(self, number: int) -> float:
        """Return when a job last began; 0 when it never did."""
        return self._cells[number]

    def ended(self, number: int) -> float:
        """Return when a job last ended; 0 when it never did."""
        return self._cells[self.jobs + number]

    def runs(self, number: int) -> int:
        """Return how often a job began."""
        return int(self._cells[2 * self.jobs + number])

    def count_begun(self) -> int:
        """Return how many jobs have begun."""
        return self._count(self._cells[: self.jobs])

    def count_ended(self) -> int:
        """Return how many jobs have ended."""
        return self._count(self._cells[self.jobs : 2 * self.jobs])

    def _count(self, column: "memoryview[float]") -> int:
        return self.jobs - array("d", column).count(0.0)

    def first_begin(self) -> float:
        """Return when the first of all jobs began."""
        return min(time for time in self._cells[: self.jobs] if time)

    def last_end(self) -> float:
        """Return when the last of all jobs ended."""
        return max(self._cells[self.jobs : 2 * self.jobs])
