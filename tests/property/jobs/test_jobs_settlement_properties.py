"""Reports that are repeated, reordered and cut into batches anyhow, against a plain model."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.jobs.endings import Ending, Lease
from services.jobs.job import Compensation, Failure, JobId, Progress
from services.jobs.reports import (
    AckState,
    Completed,
    Failed,
    News,
    Released,
    Report,
    StepCompensated,
    StepCompleted,
    Stopped,
    Suspended,
    WaitBegun,
)
from services.jobs.settlement import Closed, Held, plain_ends, settle
from services.jobs.states import TRANSITIONS, JobState
from services.jobs.turn import Turn
from services.jobs.waiting import EventWait, Invoke, SignalWait, Sleep
from tests.unit.jobs.job_values import job_id, lease, report

STEPS = st.builds(
    StepCompleted,
    key=st.sampled_from("abc"),
    result=st.sampled_from(["1", "2"]),
    compensable=st.booleans(),
)
WAITS = st.builds(
    WaitBegun,
    key=st.sampled_from("cde"),
    wait=st.sampled_from([Sleep(duration=1.0), SignalWait(name="go"), EventWait(name="e")]),
)
UNDONE = st.builds(StepCompensated, key=st.sampled_from("abc"))
PROGRESS = st.builds(Progress, fraction=st.floats(0, 1), message=st.just(""))
END: st.SearchStrategy[News] = st.sampled_from(
    [
        Completed(result="null"),
        Failed(failure=Failure(kind="E", message=""), retry_after=None),
        Failed(failure=Failure(kind="E", message="", permanent=True), retry_after=None),
        Released(),
        Stopped(),
        Suspended(keys=("d",)),
        Suspended(keys=("a", "e")),
    ]
)
BAD: st.SearchStrategy[News | None] = st.sampled_from(
    [
        None,
        StepCompleted(key="a", result="{"),
        StepCompleted(key="", result="1"),
        Completed(result="{"),
        Progress(fraction=2.0, message=""),
        Progress(fraction=0.5, message="", partial="{"),
        WaitBegun(key="d", wait=None),
        WaitBegun(key="d", wait=Sleep(duration=-1.0)),
        WaitBegun(key="d", wait=Invoke(function="unknown", data="{}")),
        Suspended(keys=()),
        Suspended(keys=("never",)),
    ]
)
GOES_ON = (StepCompleted, StepCompensated, WaitBegun, Progress)
KINDS = st.one_of(STEPS, WAITS, UNDONE, PROGRESS, END, BAD)
TURNS = st.sampled_from(
    [
        lease(),
        lease(cancel_rollback=True),
        lease(resumed=True),
        lease(rollback=True, rollback_attempt=1, rollback_outcome=JobState.CANCELLED),
    ]
)
REPORTS = st.lists(
    st.builds(
        report,
        KINDS,
        st.integers(1, 12),
        epoch=st.sampled_from([1, 1, 1, 2]),
    ),
    max_size=30,
)

NEWS = st.lists(KINDS, max_size=12)


class Stored:
    """What the database would hold of one job, batch after batch."""

    def __init__(self, turn: Lease) -> None:
        self.turn = turn
        self.lease: Lease | None = turn
        self.steps: dict[str, str] = {}
        self.waits: list[str] = []
        # A job that is rolled back has something to undo.
        self.compensations = (
            {"a": Compensation.DECLARED, "b": Compensation.DECLARED} if turn.rollback else {}
        )
        self.undone: list[str] = []
        self.endings: list[Ending] = []
        self.closed: dict[JobId, Closed] = {}

    def apply(self, batch: list[Report]) -> list[AckState]:
        """Settle a batch and store what follows."""
        held = Held(
            leases=[self.lease] if self.lease else [],
            finished={job_id(): set(self.steps)},
            waiting={job_id(): set(self.waits)},
            compensations={job_id(): self.compensations},
            closed=self.closed,
        )
        settlement = settle(batch, held, lambda: 0.5)
        for turn in settlement.turns:
            self._store(turn)
        return [ack.state for ack in settlement.acks]

    def _store(self, turn: Turn) -> None:
        for begun in turn.waits:
            assert begun.key not in {*self.waits, *self.steps}, "a step waits twice"
            self.waits.append(begun.key)
        for step in turn.steps:
            assert step.key not in self.steps, "a stored step was stored again"
            self.steps[step.key] = step.result
            if step.compensable:
                self.compensations[step.key] = Compensation.DECLARED
        for key in turn.undone:
            assert self.compensations[key] is Compensation.DECLARED, "a step was undone twice"
            self.compensations[key] = Compensation.DONE
            self.undone.append(key)
        if turn.ending is None:
            self.lease = replace(
                turn.lease, last_sequence=turn.last_sequence, steps_bytes=turn.steps_bytes
            )
        else:
            # The lease is told apart: how much of it was stored before depends on the batch.
            self.endings.append(replace(turn.ending, lease=self.turn))
            self.closed = {job_id(): Closed(epoch=turn.lease.epoch, sequence=turn.last_sequence)}
            self.lease = None

    @property
    def everything(self) -> tuple[Any, ...]:
        """Return all that is stored, to be compared."""
        return dict(self.steps), list(self.waits), list(self.undone), list(self.endings)


def in_batches(reports: list[Report], cuts: list[int]) -> list[list[Report]]:
    """Cut reports into batches."""
    batches, rest = [], reports
    for size in cuts:
        batches.append(rest[:size])
        rest = rest[size:]
    return [batch for batch in [*batches, rest] if batch]


class TestAnyHistory:
    @given(turn=TURNS, reports=REPORTS, cuts=st.lists(st.integers(1, 5), max_size=10))
    def test_batches_make_no_difference(
        self, turn: Lease, reports: list[Report], cuts: list[int]
    ) -> None:
        """However reports are cut into batches, the same is answered and stored."""
        at_once, cut = Stored(turn), Stored(turn)

        answers = at_once.apply(reports) if reports else []
        cut_answers = [state for batch in in_batches(reports, cuts) for state in cut.apply(batch)]

        assert answers == cut_answers
        assert at_once.everything == cut.everything

    @given(turn=TURNS, reports=REPORTS)
    def test_one_end(self, turn: Lease, reports: list[Report]) -> None:
        """A turn ends once, legally, and nothing is stored after its end."""
        stored = Stored(turn)
        answers = [stored.apply([each])[0] for each in reports]

        ends = [
            number
            for number, (each, answer) in enumerate(zip(reports, answers, strict=True))
            if answer is AckState.STORED and not isinstance(each.news, GOES_ON)
        ]
        assert len(stored.endings) == len(ends) <= 1
        if ends:
            assert AckState.STORED not in answers[ends[0] + 1 :]
        before = JobState.ROLLING_BACK if turn.rollback else JobState.RUNNING
        for ending in stored.endings:
            assert ending.state in TRANSITIONS[before] | {JobState.ROLLING_BACK}

    @given(turn=TURNS, reports=NEWS)
    def test_repetition(self, turn: Lease, reports: list[News | None]) -> None:
        """What a worker says again, because the answers were lost, is answered as before.

        What was stored is a duplicate, what was rejected is rejected, and nothing more is stored.
        Two make no difference any more: a turn that has ended, and a step that was stored since.
        """
        stored = Stored(turn)
        batch = [report(news, number) for number, news in enumerate(reports, start=1)]
        first = stored.apply(batch) if batch else []
        before = stored.everything

        again = stored.apply(batch) if batch else []

        assert before == stored.everything
        assert AckState.STORED not in again
        for news, one, second in zip(reports, first, again, strict=True):
            if one is AckState.STORED:
                assert second is AckState.DUPLICATE
            elif not stored.endings and not self._stored_since(stored, news):
                assert one is second

    @staticmethod
    def _stored_since(stored: Stored, news: News | None) -> bool:
        match news:
            case StepCompleted(key=key) | WaitBegun(key=key) | StepCompensated(key=key):
                return key in {*stored.steps, *stored.waits, *stored.compensations}
            case Suspended(keys=keys):
                return {*stored.steps, *stored.waits}.issuperset(keys)
        return False

    @given(turn=TURNS, reports=REPORTS)
    def test_other_turns(self, turn: Lease, reports: list[Report]) -> None:
        """Reports of another turn change nothing."""
        stored = Stored(turn)
        before = stored.everything
        foreign = [each for each in reports if each.token and each.token.epoch != 1]

        answers = stored.apply(foreign) if foreign else []

        assert before == stored.everything
        assert all(answer is AckState.FENCED for answer in answers)

    @given(turn=TURNS, reports=REPORTS)
    def test_steps_stay(self, turn: Lease, reports: list[Report]) -> None:
        """No report takes a finished step away or gives it another result."""
        stored = Stored(turn)
        for each in reports:
            before = dict(stored.steps)
            stored.apply([each])

            assert before.items() <= stored.steps.items()


class TestPlainEnds:
    @given(reports=st.lists(st.tuples(KINDS, st.integers(0, 3), st.integers(1, 3)), max_size=12))
    def test_only_plain(self, reports: list[tuple[News | None, int, int]]) -> None:
        """What is ended without a look at its turn says nothing else, and has no mistake."""
        batch = [report(news, sequence, number=job) for news, sequence, job in reports]

        for found, end in plain_ends(batch).items():
            about = [each for each in batch if each.token and each.token.job_id == found]
            assert [end] == about
            assert isinstance(end.news, Completed)
            assert end.sequence >= 1
            assert end.news.result == "null"
