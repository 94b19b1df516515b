"""A step runs once in the life of a job."""

import asyncio
import functools
import logging
import threading

import pytest

from mainstay import context
from mainstay.jobs import ResultError, StepKeyError, StepKind, StepRejectedError, Steps
from tests.unit.sdk_jobs.recorded_reports import RecordedReports, assigned_job, steps_of


@pytest.fixture
def reports() -> RecordedReports:
    """Keep what the steps report."""
    return RecordedReports()


@pytest.fixture
async def steps(reports: RecordedReports) -> Steps:
    """Return the steps of a job in its first attempt."""
    return steps_of(assigned_job(), reports)


async def probe(path: str) -> dict[str, object]:
    """Return what a media prober would."""
    return {"path": path, "size": (1920, 1080)}


class TestStep:
    async def test_returns_what_json_makes_of_the_result(self, steps: Steps) -> None:
        """The same the first time as when it is taken from storage later."""
        assert {"path": "/a", "size": [1920, 1080]} == await steps.run("probe", probe, "/a")

    async def test_is_reported_before_it_returns(
        self, steps: Steps, reports: RecordedReports
    ) -> None:
        """What comes next may rely on it."""
        await steps.run("probe", probe, "/a")

        assert [("probe", '{"path":"/a","size":[1920,1080]}')] == reports.steps

    async def test_is_logged_with_the_request_id(
        self, steps: Steps, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In the message for people, in the fields for machines."""
        with caplog.at_level(logging.INFO, logger="mainstay.worker"):
            await steps.run("probe", probe, "/a")

        (record,) = caplog.records
        assert "request_id=request-1" in record.getMessage()
        assert ("probe", "acme") == (record.__dict__["step"], record.__dict__["tenant"])


class TestKindsOfFunction:
    async def test_plain_ones_run_in_a_thread(self, steps: Steps) -> None:
        """They may block without stopping the worker's heart."""
        assert threading.get_ident() != await steps.run("thread", threading.get_ident)

    async def test_plain_ones_see_the_request(self, steps: Steps) -> None:
        """Calls made in a thread carry the same request id."""

        def request_id() -> str:
            current = context.current()
            return current.request_id if current else ""

        with context.request(request_id="request-1"):
            assert "request-1" == await steps.run("id", request_id)

    async def test_partial_ones_are_recognised(self, steps: Steps) -> None:
        """A coroutine function stays one with arguments bound."""
        bound = functools.partial(probe, "/a")

        assert "/a" == (await steps.run("probe", bound))["path"]

    async def test_keyword_arguments_are_passed_on(self, steps: Steps) -> None:
        """As the function declares them."""
        assert "/k" == (await steps.run("probe", probe, path="/k"))["path"]


class TestRememberedStep:
    async def test_is_not_run_again(self, reports: RecordedReports) -> None:
        """The stored result is returned; nothing is reported."""

        async def run_again() -> dict[str, list[int]]:
            raise AssertionError("ran again")

        steps = steps_of(assigned_job(memo={"probe": '{"size":[1,2]}'}), reports)

        assert {"size": [1, 2]} == await steps.run("probe", run_again)
        assert [] == reports.steps

    async def test_may_have_returned_nothing(self, reports: RecordedReports) -> None:
        """None is a result like any other."""
        ran: list[str] = []
        steps = steps_of(assigned_job(memo={"notify": "null"}), reports)

        await steps.run("notify", ran.append, "again")

        assert [] == ran


class TestStepOfAnAttemptThatIsOver:
    async def test_does_not_begin(self, steps: Steps, reports: RecordedReports) -> None:
        """What it does to the outside is the next attempt's to do."""
        ran: list[str] = []
        reports.over = True

        with pytest.raises(asyncio.CancelledError):
            await steps.run("notify", ran.append, "too late")
        assert [] == ran


class TestStepKey:
    async def test_stands_for_one_step(self, steps: Steps) -> None:
        """Two steps of one key would give one of them the other's result after a crash."""
        await steps.run("probe", probe, "/a")

        with pytest.raises(StepKeyError, match=r"'probe' was used before in process-video"):
            await steps.run("probe", probe, "/b")

    async def test_stands_for_one_step_also_in_parallel(self, steps: Steps) -> None:
        """The second is refused while the first still runs."""
        begun = asyncio.Event()

        async def begin() -> None:
            begun.set()
            await asyncio.Event().wait()

        first = asyncio.create_task(steps.run("probe", begin))
        await begun.wait()

        with pytest.raises(StepKeyError):
            await steps.run("probe", probe, "/b")
        first.cancel()

    async def test_stands_for_a_remembered_step_once(self, reports: RecordedReports) -> None:
        """The mistake shows in every attempt, not only in the first."""
        steps = steps_of(assigned_job(memo={"probe": "1"}), reports)
        await steps.run("probe", probe, "/a")

        with pytest.raises(StepKeyError):
            await steps.run("probe", probe, "/a")

    @pytest.mark.parametrize("key", ["", "x" * 201])
    async def test_is_bounded(self, steps: Steps, key: str) -> None:
        """1 to 200 characters, as the contract has it."""
        with pytest.raises(StepKeyError, match="use 1 to 200"):
            await steps.run(key, probe, "/a")


class TestKeyOfAnotherKind:
    async def test_of_a_wait_is_not_run(self, reports: RecordedReports) -> None:
        """The code has changed: what the wait brought is no result of the function."""
        job = assigned_job(memo={"a": "null"}, kinds={"a": StepKind.EVENT})

        with pytest.raises(StepKeyError, match="stored as one of kind event"):
            await steps_of(job, reports).run("a", str)

    async def test_of_a_step_is_not_waited_for(self, reports: RecordedReports) -> None:
        """Nor is what a function returned an event."""
        job = assigned_job(memo={"a": "5"})

        with pytest.raises(StepKeyError, match="now used for one of kind signal"):
            await steps_of(job, reports).wait_for_signal("a", "go")

    @pytest.mark.parametrize("kinds", [{}, {"a": StepKind.SLEEP}])
    @pytest.mark.parametrize("seconds", [1, 10])
    async def test_may_have_slept_in_another_way(
        self, reports: RecordedReports, kinds: dict[str, StepKind], seconds: float
    ) -> None:
        """Long or short, on the worker or off it, it has slept."""
        job = assigned_job(memo={"a": "null"}, kinds=kinds)

        await steps_of(job, reports).sleep("a", seconds)

        assert ([], []) == (reports.steps, reports.waits)


class TestFailedStep:
    async def test_raises_what_its_function_raised(self, steps: Steps) -> None:
        """The handler decides what to do about it."""

        async def fail() -> None:
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            await steps.run("write", fail)

    async def test_may_be_tried_again_under_its_key(
        self, steps: Steps, reports: RecordedReports
    ) -> None:
        """It has no result yet, so nothing can be confused."""
        answers = iter([OSError("busy"), "done"])

        async def try_once() -> str:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        with pytest.raises(OSError, match="busy"):
            await steps.run("write", try_once)

        assert "done" == await steps.run("write", try_once)

    async def test_whose_result_was_reported_is_not_run_again(
        self, steps: Steps, reports: RecordedReports
    ) -> None:
        """The service may have stored it although the answer was bad: two results must not be."""
        reports.refuse_with = StepRejectedError("too large")
        with pytest.raises(StepRejectedError):
            await steps.run("probe", probe, "/a")

        with pytest.raises(StepKeyError):
            await steps.run("probe", probe, "/a")

    async def test_names_itself_when_its_result_is_no_json(self, steps: Steps) -> None:
        """A set is no JSON."""
        with pytest.raises(ResultError, match="the result of step 'tags' cannot be kept as JSON"):
            await steps.run("tags", lambda: {"a"})
