"""What the fault suite takes for a broken promise, and what it does not."""

from dataclasses import replace
from typing import Any

import pytest

from mainstay.jobs import JobState
from tests.faults.jobs_suite import oracle
from tests.faults.jobs_suite.ledger import Entry, What
from tests.faults.jobs_suite.load import Sent
from tests.faults.jobs_suite.records import Record, Stored, StoredStep

STEP = StoredStep(key="one", kind="run", result="a", compensation=0, undone=None)
JOB = Record(
    job_id="j-1",
    tenant="acme",
    function="steps",
    state=JobState.SUCCEEDED,
    n=1,
    data='{"n": 1}',
    epoch=2,
    attempt=2,
    crashes=1,
    result={"n": 1, "steps": {"one": "a"}},
    failure_kind="",
    parent="",
    steps=(STEP,),
)
SENT = Sent(n=1, function="steps", tenant="acme", at=0.0, ends=JobState.SUCCEEDED)


def line(what: What, epoch: int, at: float, value: Any = None, job: Record = JOB) -> Entry:
    """Return what a worker noted of step `one`."""
    return Entry(
        at=at,
        worker="w",
        what=what,
        job_id=job.job_id,
        function=job.function,
        epoch=epoch,
        attempt=epoch,
        step="" if what in {What.TURN, What.LEFT} else "one",
        value=value,
    )


# A worker began the step and was lost; another ran it; the first woke up and ended its own.
TAKEOVER = [
    line(What.TURN, 1, 1.0, ""),
    line(What.BEGIN, 1, 1.1),
    line(What.TURN, 2, 5.0, ""),
    line(What.BEGIN, 2, 5.1),
    line(What.GOT, 2, 5.2, "a"),
    line(What.LEFT, 2, 5.3),
    line(What.END, 1, 9.0, "b"),
    line(What.LEFT, 1, 9.1, "CancelledError"),
]


def broken(
    entries: list[Entry] = TAKEOVER,
    accepted: dict[str, Sent] | None = None,
    *records: Record,
    **stored: Any,
) -> list[str]:
    """Return the names of the promises that were broken."""
    kept = {record.job_id: record for record in records or (JOB,)}
    everything = Stored(records=kept, **stored)
    found = oracle.judge({"j-1": SENT} if accepted is None else accepted, everything, entries)
    return [violation.promise for violation in found]


def running(number: int, *, epoch: int = 1, until: float = 2.0) -> tuple[Record, list[Entry]]:
    """Return a capped job that ran from 1 to `until`, all of them at the same time."""
    job = replace(JOB, job_id=f"c-{number}", function="capped", data=f"{number}", epoch=1)
    entries = [
        line(What.TURN, epoch, 1.0, "", job),
        line(What.BEGIN, epoch, 1.0, None, job),
        line(What.END, epoch, until, "a", job),
        line(What.GOT, epoch, until, "a", job),
        line(What.LEFT, epoch, until, None, job),
    ]
    return job, entries


class TestJudge:
    def test_a_takeover_breaks_nothing(self) -> None:
        """What a worker does that has lost its job, in its own epoch, is as it has to be."""
        assert [] == broken()

    @pytest.mark.parametrize(
        ("promise", "entries"),
        [
            (oracle.RERUN, [*TAKEOVER, line(What.BEGIN, 3, 6.0)]),
            (oracle.RERUN, [*TAKEOVER, line(What.BEGIN, 2, 6.0)]),
            (oracle.CHANGED, [*TAKEOVER, line(What.GOT, 2, 9.0, "b")]),
            (oracle.ASSIGNED, [*TAKEOVER, line(What.TURN, 2, 6.0, "")]),
            (oracle.ASSIGNED, [*TAKEOVER, line(What.TURN, 3, 6.0, "")]),
        ],
    )
    def test_lines_of_ledgers(self, promise: str, entries: list[Entry]) -> None:
        """A line too many in a ledger breaks the promise it is about."""
        assert [promise] == broken(entries)

    def test_lost(self) -> None:
        """A job that was acknowledged is stored, and over."""
        assert [oracle.LOST] == broken(TAKEOVER, {"j-1": SENT, "j-2": SENT})
        assert [oracle.LOST] == broken(left=["state queued"])

    def test_accepted_twice(self) -> None:
        """Two jobs of one payload are one too many."""
        assert [oracle.TWICE] == broken(TAKEOVER, None, JOB, replace(JOB, job_id="j-2"))

    def test_result_that_is_not_that_of_the_steps(self) -> None:
        """What a job returned is what its steps returned."""
        other = replace(JOB, result={"n": 1, "steps": {"one": "b"}})
        assert [oracle.CHANGED] == broken(TAKEOVER, None, other)

    def test_strays(self) -> None:
        """What is queued without a job that could run is in the wrong place."""
        assert [oracle.PLACES] == broken(strays=["job j-9 in ready"])

    def test_ends(self) -> None:
        """What has to end badly must not end well."""
        sent = replace(SENT, ends=JobState.DEAD_LETTERED)
        assert [oracle.ENDS] == broken(TAKEOVER, {"j-1": sent})


class TestCaps:
    def test_as_many_as_may(self) -> None:
        """Five at once are what the cap allows."""
        assert [] == self.judged(5)

    def test_one_too_many(self) -> None:
        """A sixth is not."""
        assert [oracle.CAPPED] == self.judged(6)

    def test_a_zombie_does_not_count(self) -> None:
        """Of a turn that did not end its job only what was acknowledged is sure."""
        job, entries = running(6)
        zombie = replace(job, epoch=2), [e for e in entries if e.what is not What.GOT]
        assert [] == self.judged(5, zombie)

    def judged(self, count: int, *more: tuple[Record, list[Entry]]) -> list[str]:
        """Return what so many jobs break that run at the same time."""
        jobs = [*(running(number) for number in range(count)), *more]
        entries = [entry for _, lines in jobs for entry in lines]
        return broken(entries, {}, *(job for job, _ in jobs))


class TestUndoing:
    @pytest.mark.parametrize(
        ("undone", "expected"),
        [
            ({"one": "3", "two": "2", "three": "1"}, []),
            ({"one": "1", "two": "2", "three": "3"}, [oracle.UNDONE]),
            ({"one": None, "two": "2", "three": "1"}, [oracle.UNDONE]),
        ],
    )
    def test_stored_order(self, undone: dict[str, str | None], expected: list[str]) -> None:
        """All finished steps are undone, the last one first."""
        steps = tuple(
            replace(STEP, key=key, compensation=2 if time else 1, undone=time)
            for key, time in undone.items()
        )
        saga = replace(JOB, function="saga", state=JobState.CANCELLED, steps=steps)
        assert expected == broken([], {}, saga)

    def test_undone_again(self) -> None:
        """Once another step is undone after it, a step is known to be undone."""
        steps = (STEP, replace(STEP, key="two"))
        job = replace(JOB, function="saga", state=JobState.ROLLING_BACK, steps=steps)
        lines = [
            replace(line(What.UNDO, epoch, at, "a", job), step=step)
            for step, epoch, at in (("two", 1, 1.0), ("one", 1, 2.0), ("two", 2, 3.0))
        ]
        assert [oracle.UNDONE] == broken(lines, {}, job)
