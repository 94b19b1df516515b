"""How soon the work went on after each fault."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.faults.jobs_suite.faults import Injury
from tests.faults.jobs_suite.ledger import Entry, What
from tests.faults.jobs_suite.records import Record
from tests.faults.jobs_suite.sampler import CAPS

WINDOW = 15.0
ABOUT_TO_END = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What faults of a kind cost, in seconds.

    Attributes:
        kind: Which faults.
        count: How many there were.
        silence: The longest time after one in which no job of anybody got any further.
        takeovers: For each job that a worker lost: from the fault until another began with it.

    """

    kind: str
    count: int
    silence: float
    takeovers: Sequence[float]

    @property
    def median(self) -> float | None:
        return statistics.median(self.takeovers) if self.takeovers else None

    @property
    def longest(self) -> float | None:
        return max(self.takeovers) if self.takeovers else None


def recoveries(
    injuries: Iterable[Injury], entries: Sequence[Entry], records: Mapping[str, Record]
) -> list[Recovery]:
    """Return what the faults cost, by their kinds."""
    kinds: dict[str, list[Injury]] = defaultdict(list)
    for injury in injuries:
        kinds[injury.kind].append(injury)
    by_job = lines_by_job(entries)
    moves = [entry.at for entry in entries if entry.what is not What.BEGIN]
    return [
        Recovery(
            kind=kind,
            count=len(of_kind),
            silence=max(_silence(injury.began, moves) for injury in of_kind),
            takeovers=sorted(
                each for injury in of_kind for each in takeovers(injury, by_job, records)
            ),
        )
        for kind, of_kind in sorted(kinds.items())
    ]


def lines_by_job(entries: Iterable[Entry]) -> Mapping[str, list[Entry]]:
    """Return the lines about each job, in their order."""
    by_job: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_job[entry.job_id].append(entry)
    return by_job


def _silence(began: float, moves: Sequence[float]) -> float:
    within = [began, *(at for at in moves if began < at < began + WINDOW)]
    return max((after - before for before, after in pairwise(within)), default=0.0)


def takeovers(
    injury: Injury, by_job: Mapping[str, list[Entry]], records: Mapping[str, Record]
) -> Iterable[float]:
    """Yield for each job that was lost by this how long it took until another began with it."""
    for job_id, epoch in injury.held.items():
        # What waits for a cap waits longer.
        if job_id not in records or records[job_id].function in CAPS:
            continue
        lines = by_job.get(job_id, [])
        later = [line.at for line in lines if line.what is What.TURN and line.epoch > epoch]
        if later and not _had_left(injury, (e for e in lines if e.epoch == epoch)):
            yield min(later) - injury.began


def _had_left(injury: Injury, lines: Iterable[Entry]) -> bool:
    """Tell whether a turn was about to end by itself when the fault took place."""
    soon = injury.began + ABOUT_TO_END
    return any(line.what is What.LEFT and line.at < soon for line in lines)
