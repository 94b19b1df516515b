"""What the session accounts for, whoever asks in whichever thread."""

import pytest

from mainstay.jobs.assignment import AssignedJob, Token
from mainstay.jobs.ledger import Ledger
from mainstay.jobs.outbox import Letter
from mainstay.jobs.v1 import worker_service_pb2 as pb
from tests.unit.sdk_jobs.recorded_reports import assigned_job

CONCURRENCY = 2


def job(token: bytes, *, hang_timeout: float | None = None) -> AssignedJob:
    """Return an assignment of its own."""
    return assigned_job(token=token, hang_timeout=hang_timeout)


def end(token: bytes) -> Letter:
    """Return the end of a job."""
    return Letter(token=Token(token), report=pb.Report(completed=pb.Completed()), ends=True)


def ack(token: bytes, sequence: int, state: pb.AckState.ValueType = pb.ACK_STATE_STORED) -> pb.Ack:
    """Return the service's word."""
    return pb.Ack(token=token, sequence=sequence, state=state)


@pytest.fixture
def ledger() -> Ledger:
    """Return the ledger of a worker with two jobs, all that it has room for."""
    ledger = Ledger(CONCURRENCY)
    ledger.take([job(b"a"), job(b"b")])
    return ledger


class TestRoom:
    def test_is_taken_by_jobs_whose_task_has_not_ended(self, ledger: Ledger) -> None:
        """Whatever has been reported."""
        assert 0 == ledger.room()

    def test_is_there_when_a_task_has_ended(self, ledger: Ledger) -> None:
        """The next job is on its way while the service stores the end."""
        ledger.post([end(b"a")], vacated=1)

        assert 1 == ledger.room()

    def test_is_not_there_twice_for_one_job(self, ledger: Ledger) -> None:
        """Its end, and that it is stored, are one."""
        ledger.post([end(b"a")], vacated=1)

        ledger.answer([ack(b"a", 1)])

        assert 1 == ledger.room()

    def test_of_a_lost_job_is_there_when_its_handler_has_ended(self, ledger: Ledger) -> None:
        """One that does not heed its cancellation still runs."""
        ledger.lose([b"a"])
        before = ledger.room()

        ledger.post([], vacated=1)

        assert (0, 1) == (before, ledger.room())

    def test_is_not_there_when_no_more_jobs_are_wanted(self, ledger: Ledger) -> None:
        """However many end."""
        ledger.drain()
        ledger.post([end(b"a")], vacated=1)

        assert ledger.room() is None


class TestAnswers:
    def test_of_steps_come_back_with_who_waits(self, ledger: Ledger) -> None:
        """The letter itself, as it was posted."""
        step = Letter(token=Token(b"a"), report=pb.Report(step_completed=pb.StepCompleted()))
        ledger.post([step], vacated=0)

        (answer,) = ledger.answer([ack(b"a", 1)])

        assert step is answer.letter

    def test_that_fence_are_heard_whatever_they_answer(self, ledger: Ledger) -> None:
        """The job is lost; later answers about it matter no more."""
        answers = ledger.answer([ack(b"a", 7, pb.ACK_STATE_FENCED), ack(b"a", 8)])

        assert [(b"a", None)] == [(answer.token, answer.letter) for answer in answers]
        assert [b"b"] == ledger.tokens()

    def test_that_are_repeated_matter_once(self, ledger: Ledger) -> None:
        """After a broken stream the service may answer again."""
        ledger.post([end(b"a")], vacated=1)

        assert [1, 0] == [len(ledger.answer([ack(b"a", 1)])) for _ in range(2)]

    def test_that_refuse_an_end_leave_the_job_open(self, ledger: Ledger) -> None:
        """It ends in another way."""
        ledger.post([end(b"a")], vacated=1)

        ledger.answer([ack(b"a", 1, pb.ACK_STATE_REJECTED)])

        assert [b"a", b"b"] == ledger.tokens()


class TestHeartbeat:
    def test_names_what_is_this_workers(self, ledger: Ledger) -> None:
        """Until its end is stored."""
        ledger.post([end(b"a")], vacated=1)
        before = list(ledger.heartbeat(0.0).tokens)
        ledger.answer([ack(b"a", 1)])

        assert ([b"a", b"b"], [b"b"]) == (before, list(ledger.heartbeat(0.0).tokens))

    def test_tells_of_a_stuck_loop_for_what_is_not_the_services_turn(self, ledger: Ledger) -> None:
        """A job whose end is on its way does not need the loop."""
        ledger.post([end(b"a")], vacated=1)

        (beat,) = ledger.heartbeat(12.5).jobs

        assert (b"b", 12.5) == (beat.token, beat.idle.ToTimedelta().total_seconds())

    def test_tells_of_jobs_that_may_not_be_silent_always(self) -> None:
        """The service compares with the function's own patience."""
        ledger = Ledger(CONCURRENCY)
        ledger.take([job(b"a", hang_timeout=60), job(b"b")])

        assert [b"a"] == [beat.token for beat in ledger.heartbeat(0.0).jobs]


class TestAssignment:
    def test_that_is_repeated_is_taken_once(self, ledger: Ledger) -> None:
        """The same token is the same turn."""
        assert [b"c"] == [taken.token for taken in ledger.take([job(b"a"), job(b"c")])]
