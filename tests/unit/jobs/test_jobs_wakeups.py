"""Wake-ups within a process and between replicas."""

from uuid import UUID

import pytest

from services.jobs import endings
from services.jobs.job import Failure, JobId
from services.jobs.peers import MAX_JOBS, decode, encode
from services.jobs.wakeups import Change, Signal, Wakeups, change_of
from tests.unit.jobs.job_values import job_id, lease

FAILURE = Failure(kind="E", message="m")


class TestChangeOf:
    def test_success(self) -> None:
        """A job that succeeded is news for its watchers only."""
        change = change_of([endings.succeeded(lease(), "1", sequence=1)])

        assert Change(jobs=frozenset({job_id()})) == change

    def test_ready_at_once(self) -> None:
        """A job that was given back or lost its worker is work."""
        change = change_of(
            [endings.released(lease(1)), endings.lost(lease(2), max_crashes=5, random=0.5)]
        )

        assert Change(jobs=frozenset({job_id(1), job_id(2)}), work=True) == change

    def test_due_later(self) -> None:
        """Of jobs that are tried again later, the first says when to look."""
        later = [
            endings.failed(lease(number), FAILURE, asked_wait=wait, random=0, sequence=1)
            for number, wait in ((1, 9.0), (2, 4.0))
        ]

        assert change_of(later).due_in == 4.0

    def test_dead_letter(self) -> None:
        """A dead letter is no work, whatever wait was asked for."""
        dead = endings.failed(lease(allowed=1), FAILURE, asked_wait=0.0, random=0, sequence=1)

        assert Change(jobs=frozenset({job_id()})) == change_of([dead])


class TestBetweenReplicas:
    @pytest.mark.parametrize(
        ("change", "heard"),
        [
            (Change(work=True), Change(work=True, remote=True)),
            (Change(jobs=frozenset({job_id()})), Change(jobs=frozenset({job_id()}), remote=True)),
            (Change(anything=True), Change(anything=True, remote=True)),
        ],
    )
    def test_heard(self, change: Change, heard: Change) -> None:
        """What one replica says is what another hears."""
        assert heard == decode("other", encode("one", change))

    def test_own_words(self) -> None:
        """A replica does not listen to itself."""
        assert decode("one", encode("one", Change(work=True))) is None

    @pytest.mark.parametrize(("count", "anything"), [(MAX_JOBS, False), (MAX_JOBS + 1, True)])
    def test_bounded(self, count: int, anything: bool) -> None:
        """A text is never longer than PostgreSQL takes; of too many jobs it names none."""
        jobs = frozenset(JobId(UUID(int=number)) for number in range(count))

        text = encode("0123456789ab", Change(jobs=jobs, work=True))

        heard = decode("other", text)
        assert len(text) < 8000
        assert heard is not None
        assert (anything, 0 if anything else count) == (heard.anything, len(heard.jobs))


class TestWakeups:
    def test_everybody_hears(self) -> None:
        """A change goes to all who listen."""
        wakeups, heard = Wakeups(), list[Change]()
        wakeups.subscribe(heard.append)
        wakeups.subscribe(heard.append)
        wakeups.announce(Change(work=True))

        assert [Change(work=True)] * 2 == heard


class TestSignal:
    async def test_before_the_wait(self) -> None:
        """A signal that comes before the wait is not lost, and several are one."""
        signal = Signal()
        signal.set()
        signal.set()

        assert await signal.wait(within=1)
        assert not await signal.wait(within=0)

    async def test_no_signal(self) -> None:
        """Without a signal the wait ends after its time, also when that is over already."""
        assert not await Signal().wait(within=-1)
