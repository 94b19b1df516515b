"""Reports that are repeated, reordered and cut into batches anyhow, against a plain model."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.jobs.endings import Ending, Lease
from services.jobs.job import Failure, JobId, Progress
from services.jobs.reports import (
    AckState,
    Completed,
    Failed,
    News,
    Released,
    Report,
    StepCompleted,
)
from services.jobs.settlement import Closed, Held, settle
from tests.unit.jobs.job_values import job_id, lease, report

STEPS = st.builds(StepCompleted, key=st.sampled_from("abc"), result=st.sampled_from(["1", "2"]))
PROGRESS = st.builds(Progress, fraction=st.floats(0, 1), message=st.just(""))
END: st.SearchStrategy[News] = st.sampled_from(
    [
        Completed(result="null"),
        Failed(failure=Failure(kind="E", message=""), retry_after=None),
        Released(),
    ]
)
BAD: st.SearchStrategy[News | None] = st.sampled_from(
    [
        None,
        StepCompleted(key="a", result="{"),
        StepCompleted(key="", result="1"),
        Completed(result="{"),
        Progress(fraction=2.0, message=""),
    ]
)
REPORTS = st.lists(
    st.builds(
        report,
        st.one_of(STEPS, PROGRESS, END, BAD),
        st.integers(1, 12),
        epoch=st.sampled_from([1, 1, 1, 2]),
    ),
    max_size=30,
)

NEWS = st.lists(st.one_of(STEPS, PROGRESS, END, BAD), max_size=12)


class Stored:
    """What the database would hold of one job, batch after batch."""

    def __init__(self) -> None:
        self.lease: Lease | None = lease()
        self.steps: dict[str, str] = {}
        self.endings: list[Ending] = []
        self.closed: dict[JobId, Closed] = {}

    def apply(self, batch: list[Report]) -> list[AckState]:
        """Settle a batch and store what follows."""
        held = Held(
            leases=[self.lease] if self.lease else [],
            finished_keys={job_id(): set(self.steps)},
            closed=self.closed,
        )
        settlement = settle(batch, held, lambda: 0.5)
        for turn in settlement.turns:
            for step in turn.steps:
                assert step.key not in self.steps, "a stored step was stored again"
                self.steps[step.key] = step.result
            if turn.ending is None:
                self.lease = replace(
                    turn.lease, last_sequence=turn.last_sequence, steps_bytes=turn.steps_bytes
                )
            else:
                # The lease is told apart: how much of it was stored before depends on the batch.
                self.endings.append(replace(turn.ending, lease=lease()))
                self.closed = {
                    job_id(): Closed(epoch=turn.lease.epoch, sequence=turn.last_sequence)
                }
                self.lease = None
        return [ack.state for ack in settlement.acks]


def in_batches(reports: list[Report], cuts: list[int]) -> list[list[Report]]:
    """Cut reports into batches."""
    batches, rest = [], reports
    for size in cuts:
        batches.append(rest[:size])
        rest = rest[size:]
    return [batch for batch in [*batches, rest] if batch]


class TestAnyHistory:
    @given(reports=REPORTS, cuts=st.lists(st.integers(1, 5), max_size=10))
    def test_batches_make_no_difference(self, reports: list[Report], cuts: list[int]) -> None:
        """However reports are cut into batches, the same is answered and stored."""
        at_once, cut = Stored(), Stored()

        answers = at_once.apply(reports) if reports else []
        cut_answers = [state for batch in in_batches(reports, cuts) for state in cut.apply(batch)]

        assert answers == cut_answers
        assert (at_once.steps, at_once.endings) == (cut.steps, cut.endings)

    @given(reports=REPORTS)
    def test_one_end(self, reports: list[Report]) -> None:
        """A turn ends once, and nothing is stored after its end."""
        stored = Stored()
        answers = [stored.apply([each])[0] for each in reports]

        ends = [
            number
            for number, (each, answer) in enumerate(zip(reports, answers, strict=True))
            if answer is AckState.STORED and not isinstance(each.news, StepCompleted | Progress)
        ]
        assert len(stored.endings) == len(ends) <= 1
        if ends:
            assert AckState.STORED not in answers[ends[0] + 1 :]

    @given(reports=NEWS)
    def test_repetition(self, reports: list[News | None]) -> None:
        """What a worker says again, because the answers were lost, is answered as before.

        What was stored is a duplicate, what was rejected is rejected, and nothing more is stored.
        Two make no difference any more: a turn that has ended, and a step that was stored since.
        """
        stored = Stored()
        batch = [report(news, number) for number, news in enumerate(reports, start=1)]
        first = stored.apply(batch) if batch else []
        before = (dict(stored.steps), list(stored.endings))

        again = stored.apply(batch) if batch else []

        assert before == (stored.steps, stored.endings)
        assert AckState.STORED not in again
        for news, one, second in zip(reports, first, again, strict=True):
            stored_since = isinstance(news, StepCompleted) and news.key in stored.steps
            if one is AckState.STORED:
                assert second is AckState.DUPLICATE
            elif not stored.endings and not stored_since:
                assert one is second

    @given(reports=REPORTS)
    def test_other_turns(self, reports: list[Report]) -> None:
        """Reports of another turn change nothing."""
        stored = Stored()
        foreign = [each for each in reports if each.token and each.token.epoch != 1]

        answers = stored.apply(foreign) if foreign else []

        assert ({}, []) == (stored.steps, stored.endings)
        assert all(answer is AckState.FENCED for answer in answers)
