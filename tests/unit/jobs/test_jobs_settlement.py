"""Batches of reports against the leases of their session."""

from collections.abc import Iterable, Mapping

import pytest

from services.jobs.endings import Lease
from services.jobs.job import Failure, JobId, Progress
from services.jobs.reports import (
    MAX_RESULT_BYTES,
    MAX_STEPS_BYTES,
    AckState,
    Completed,
    Failed,
    News,
    Released,
    Report,
    StepCompleted,
)
from services.jobs.settlement import Closed, Held, Settlement, settle
from services.jobs.states import JobState
from tests.unit.jobs.job_values import job_id, lease, report

STORED, DUPLICATE, FENCED, REJECTED = AckState

STEP = StepCompleted(key="probe", result="1")
FAILED = Failed(failure=Failure(kind="E", message="m"), retry_after=None)
ENDS: list[News] = [Completed(result="null"), FAILED, Released()]


def settled(
    *reports: Report,
    leases: Iterable[Lease] = (lease(),),
    finished: Mapping[JobId, set[str]] | None = None,
    closed: Mapping[JobId, Closed] | None = None,
) -> Settlement:
    """Settle reports against one fresh lease, unless others are given."""
    held = Held(leases=list(leases), finished=finished or {}, closed=closed or {})
    return settle(reports, held, lambda: 1.0)


def states(settlement: Settlement) -> list[AckState]:
    """Return what became of each report."""
    return [ack.state for ack in settlement.acks]


class TestOrder:
    def test_steps_then_end(self) -> None:
        """Reports of one batch are applied in order and leave one turn to write."""
        settlement = settled(
            report(STEP, 1),
            report(Progress(fraction=0.5, message="half"), 2),
            report(Completed(result='"ok"'), 3),
        )

        (turn,) = settlement.turns
        assert [STORED, STORED, STORED] == states(settlement)
        assert [STEP] == turn.steps
        assert Progress(fraction=0.5, message="half") == turn.progress
        assert turn.ending is not None
        assert JobState.SUCCEEDED is turn.ending.state

    def test_jobs_apart(self) -> None:
        """Reports of several jobs in one batch do not touch each other."""
        settlement = settled(
            report(STEP, number=1),
            report(Released(), number=2),
            leases=[lease(1), lease(2)],
        )

        assert [STORED, STORED] == states(settlement)
        assert [None, JobState.QUEUED] == [
            turn.ending and turn.ending.state for turn in settlement.turns
        ]

    @pytest.mark.parametrize("end", ENDS)
    def test_nothing_after_the_end(self, end: News) -> None:
        """A job that has ended is no longer the worker's, within the batch already."""
        settlement = settled(report(end, 1), report(STEP, 2))

        assert [STORED, FENCED] == states(settlement)


class TestRepetition:
    @pytest.mark.parametrize(
        ("last", "sequence", "expected"),
        [(0, 1, STORED), (5, 5, DUPLICATE), (5, 1, DUPLICATE), (5, 6, STORED), (5, 9, STORED)],
    )
    def test_sequences(self, last: int, sequence: int, expected: AckState) -> None:
        """What is not newer than the last applied report is a repetition; gaps are fine."""
        settlement = settled(report(STEP, sequence), leases=[lease(last_sequence=last)])

        assert [expected] == states(settlement)

    def test_repetition_changes_nothing(self) -> None:
        """A repeated report leaves nothing to write."""
        settlement = settled(report(STEP, 3), leases=[lease(last_sequence=3)])

        assert settlement.turns == []

    def test_finished_step(self) -> None:
        """A step that is finished is not stored again, whatever it returned this time."""
        other = StepCompleted(key="probe", result="2")

        settlement = settled(report(other, 4), finished={job_id(): {"probe"}})

        (turn,) = settlement.turns
        assert [DUPLICATE] == states(settlement)
        assert ([], 4) == (turn.steps, turn.last_sequence)

    @pytest.mark.parametrize(
        ("sequence", "epoch", "expected"),
        [(7, 3, DUPLICATE), (2, 3, DUPLICATE), (8, 3, FENCED), (7, 2, FENCED), (7, 4, FENCED)],
    )
    def test_end_repeated(self, sequence: int, epoch: int, expected: AckState) -> None:
        """The end of a turn may be repeated, though its lease is gone; nothing newer may."""
        settlement = settled(
            report(Completed(result="null"), sequence, epoch=epoch),
            leases=[],
            closed={job_id(): Closed(epoch=3, sequence=7)},
        )

        assert [expected] == states(settlement)


class TestFencing:
    def test_no_lease(self) -> None:
        """A job that the session does not have is not its to report on."""
        assert states(settled(report(STEP), leases=[])) == [FENCED]

    @pytest.mark.parametrize("epoch", [1, 3])
    def test_other_turn(self, epoch: int) -> None:
        """A report of another turn at the same job is late."""
        settlement = settled(report(STEP, epoch=epoch), leases=[lease(epoch=2)])

        assert [FENCED] == states(settlement)


class TestRejection:
    @pytest.mark.parametrize(
        ("news", "message"),
        [
            (None, "one kind of news"),
            (StepCompleted(key="", result="1"), "key"),
            (StepCompleted(key="k" * 201, result="1"), "key"),
            (StepCompleted(key="a\0b", result="1"), "key"),
            (StepCompleted(key="k", result="{"), "not JSON"),
            (StepCompleted(key="k", result=""), "not JSON"),
            (StepCompleted(key="k", result='"' + "x" * MAX_RESULT_BYTES + '"'), "1,048,578 bytes"),
            (Completed(result="NaN"), "not JSON"),
            (Completed(result='"' + "x" * MAX_RESULT_BYTES + '"'), "1,048,578 bytes"),
            (Progress(fraction=1.01, message=""), "0 to 1"),
            (Progress(fraction=-0.1, message=""), "0 to 1"),
            (Progress(fraction=float("nan"), message=""), "0 to 1"),
        ],
    )
    def test_unacceptable(self, news: News | None, message: str) -> None:
        """What cannot be stored is rejected, with the reason, and nothing is written."""
        settlement = settled(report(news))

        assert [REJECTED] == states(settlement)
        assert message in settlement.acks[0].message
        assert settlement.turns == []

    @pytest.mark.parametrize(
        "news",
        [
            StepCompleted(key="k" * 200, result='"' + "x" * (MAX_RESULT_BYTES - 2) + '"'),
            Progress(fraction=0.0, message=""),
            Progress(fraction=1.0, message=""),
        ],
    )
    def test_bounds_included(self, news: News) -> None:
        """What is exactly at a bound is stored."""
        assert states(settled(report(news))) == [STORED]

    def test_steps_together(self) -> None:
        """A job's steps are bounded together, so that they fit into the worker's messages."""
        full = lease(steps_bytes=MAX_STEPS_BYTES - STEP.size)
        over = lease(steps_bytes=MAX_STEPS_BYTES - STEP.size + 1)

        answers = [settled(report(STEP), leases=[each]).acks[0] for each in (full, over)]

        assert [STORED, REJECTED] == [answer.state for answer in answers]
        assert "2,621,440" in answers[1].message

    def test_sequence_stays_free(self) -> None:
        """A rejected report has used up no sequence: a failure may take its place."""
        settlement = settled(report(Completed(result="{"), 1), report(FAILED, 1))

        assert [REJECTED, STORED] == states(settlement)

    def test_rejected_again(self) -> None:
        """A rejected report that comes again is rejected again, though later ones were stored."""
        bad = StepCompleted(key="bad", result="{")
        batch = [report(bad, 1), report(STEP, 2), report(bad, 1), report(STEP, 2)]

        settlement = settled(*batch)

        assert [REJECTED, STORED, REJECTED, DUPLICATE] == states(settlement)
        assert settlement.acks[0].message == settlement.acks[2].message

    def test_rejected_again_for_its_size(self) -> None:
        """So is a step for which there was no room, after smaller ones that still fitted."""
        large = StepCompleted(key="large", result='"' + "x" * 1000 + '"')
        held = lease(steps_bytes=MAX_STEPS_BYTES - STEP.size, last_sequence=2)

        settlement = settled(report(large, 1), report(STEP, 3), report(large, 1), leases=[held])

        assert [REJECTED, STORED, REJECTED] == states(settlement)

    def test_stored_step_with_another_result(self) -> None:
        """A step that is stored is a duplicate, also when its result would be rejected now."""
        bad = StepCompleted(key="probe", result="{")

        settlement = settled(
            report(bad, 1), leases=[lease(last_sequence=1)], finished={job_id(): {"probe"}}
        )

        assert [DUPLICATE] == states(settlement)

    def test_not_a_token(self) -> None:
        """A token that is none of ours is a mistake of the worker's."""
        odd = Report(raw_token=b"odd", token=None, sequence=1, news=STEP)

        settlement = settled(odd)

        assert [REJECTED] == states(settlement)
        assert "token" in settlement.acks[0].message

    def test_sequence_zero(self) -> None:
        """Sequences count from one."""
        settlement = settled(report(STEP, 0))

        assert [REJECTED] == states(settlement)
        assert "sequence" in settlement.acks[0].message
