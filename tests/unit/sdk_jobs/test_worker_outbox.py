"""What a worker has to say survives broken streams, once and in order."""

import pytest

from mainstay.jobs.assignment import Token
from mainstay.jobs.outbox import MAX_BATCH_BYTES, MAX_REPORTS, Letter, Outbox
from mainstay.jobs.v1 import worker_service_pb2 as pb

ONE = Token(b"one")
TWO = Token(b"two")


def step(token: Token, key: str, result: str = "null") -> Letter:
    """Return the letter of a finished step."""
    completed = pb.StepCompleted(key=key, result_json=result)
    return Letter(token=token, report=pb.Report(step_completed=completed))


def progress(fraction: float, partial: str = "") -> Letter:
    """Return news of progress of the first token."""
    news = pb.ProgressReported(fraction=fraction, partial_json=partial)
    return Letter(token=ONE, report=pb.Report(progress=news), folds=True)


@pytest.fixture
def outbox() -> Outbox:
    """Return an outbox for two assignments."""
    outbox = Outbox()
    outbox.open(ONE)
    outbox.open(TWO)
    return outbox


def drain(outbox: Outbox) -> list[tuple[bytes, int, str]]:
    """Take all that is to be sent and return token, sequence and a word on the content."""
    return [(report.token, report.sequence, _word(report)) for report in outbox.take_batch()]


def _word(report: pb.Report) -> str:
    if report.HasField("progress"):
        return f"{report.progress.fraction:g}"
    return report.step_completed.key


class TestSequences:
    def test_count_from_one_for_each_token(self, outbox: Outbox) -> None:
        """Sequences of one token say nothing of another's."""
        outbox.add(step(ONE, "a"))
        outbox.add(step(TWO, "b"))
        outbox.add(step(ONE, "c"))

        assert [(ONE, 1, "a"), (TWO, 1, "b"), (ONE, 2, "c")] == drain(outbox)

    def test_stay_when_a_report_is_sent_again(self, outbox: Outbox) -> None:
        """After a broken stream the service can tell a repeat from news."""
        outbox.add(step(ONE, "a"))
        outbox.add(step(ONE, "b"))
        drain(outbox)
        outbox.answer(ONE, 1)

        outbox.rewind()

        assert [(ONE, 2, "b")] == drain(outbox)


class TestProgressOnANewStream:
    def test_is_not_changed_by_newer_news(self, outbox: Outbox) -> None:
        """The service may have stored what was sent: under its sequence it takes nothing more."""
        outbox.add(progress(0.1))
        drain(outbox)
        outbox.rewind()
        outbox.add(progress(0.9))

        assert [(ONE, 1, "0.1")] == drain(outbox)
        outbox.answer(ONE, 1)
        assert [(ONE, 2, "0.9")] == drain(outbox)


class TestAcknowledgement:
    def test_returns_the_letter_once(self, outbox: Outbox) -> None:
        """A repeated acknowledgement is recognised."""
        letter = step(ONE, "a")
        outbox.add(letter)
        drain(outbox)

        assert [letter, None] == [outbox.answer(ONE, 1), outbox.answer(ONE, 1)]

    def test_of_a_report_waiting_to_be_repeated_takes_it_back(self, outbox: Outbox) -> None:
        """What is known to be stored is not sent again."""
        outbox.add(step(ONE, "a"))
        drain(outbox)
        outbox.rewind()

        outbox.answer(ONE, 1)

        assert [] == drain(outbox)

    def test_of_a_closed_token_is_nothing(self, outbox: Outbox) -> None:
        """A late answer about a job that is over does no harm."""
        outbox.add(step(ONE, "a"))
        outbox.close(ONE)

        assert outbox.answer(ONE, 1) is None


class TestClosedToken:
    def test_leaves_nothing_to_send(self, outbox: Outbox) -> None:
        """Nothing is said about a job that is somebody else's."""
        outbox.add(step(ONE, "a"))
        outbox.add(step(TWO, "b"))

        outbox.close(ONE)

        assert [(TWO, 1, "b")] == drain(outbox)

    def test_takes_nothing_more(self, outbox: Outbox) -> None:
        """Its handler hears of the loss a moment later, and may say something until then."""
        outbox.close(ONE)

        outbox.add(step(ONE, "a"))

        assert [] == drain(outbox)

    def test_stays_silent_after_a_broken_stream(self, outbox: Outbox) -> None:
        """Nor is it said later."""
        outbox.add(step(ONE, "a"))
        drain(outbox)
        outbox.close(ONE)

        outbox.rewind()

        assert 0 == len(outbox)


class TestProgress:
    def test_replaces_older_news_that_is_not_sent_yet(self, outbox: Outbox) -> None:
        """Only the newest matters."""
        outbox.add(progress(0.1))
        outbox.add(progress(0.2))

        assert [(ONE, 1, "0.2")] == drain(outbox)

    def test_waits_while_older_news_is_on_its_way(self, outbox: Outbox) -> None:
        """However fast a function reports, at most two are kept for it."""
        outbox.add(progress(0.1))
        drain(outbox)
        for hundredth in range(100):
            outbox.add(progress(hundredth / 100))

        assert [] == drain(outbox)

        outbox.answer(ONE, 1)

        assert [(ONE, 2, "0.99")] == drain(outbox)

    def test_keeps_the_last_partial_result(self, outbox: Outbox) -> None:
        """News without one leaves what was said before."""
        outbox.add(progress(0.1, "[1]"))
        outbox.add(progress(0.2))
        (report,) = outbox.take_batch()

        assert (0.2, "[1]") == (report.progress.fraction, report.progress.partial_json)

    def test_goes_ahead_of_the_step_that_follows(self, outbox: Outbox) -> None:
        """Held news is not overtaken by the end of the job."""
        outbox.add(progress(0.1))
        drain(outbox)
        outbox.add(progress(0.9))

        outbox.add(step(ONE, "last"))

        assert [(ONE, 2, "0.9"), (ONE, 3, "last")] == drain(outbox)


class TestBatch:
    def test_holds_no_more_reports_than_a_message_may(self, outbox: Outbox) -> None:
        """The contract allows 500."""
        for index in range(MAX_REPORTS + 1):
            outbox.add(step(ONE, f"{index}"))

        assert [MAX_REPORTS, 1] == [len(drain(outbox)), len(drain(outbox))]

    def test_fits_a_message_whatever_the_results_weigh(self, outbox: Outbox) -> None:
        """Four results of 1 MiB take more than one message of 4 MiB."""
        result = "x" * (MAX_BATCH_BYTES // 2)
        for key in "abcd":
            outbox.add(step(ONE, key, result))

        batches = []
        while batch := drain(outbox):
            batches.append([key for _, _, key in batch])

        assert [["a", "b"], ["c", "d"]] == batches
