"""One attempt: handler in, outcome out."""

import asyncio
import logging
import math
import sys
from contextlib import suppress
from dataclasses import dataclass

import pytest

from mainstay import context
from mainstay.errors import RateLimitError
from mainstay.jobs import JobContext, JsonValue, NonRetryableError, RetryAfterError
from mainstay.jobs.assignment import MAX_RETRY_AFTER, Failed, Outcome, Succeeded
from mainstay.jobs.execution import Execution
from mainstay.jobs.failure import failure_of
from mainstay.jobs.function import Function, Handler
from mainstay.jobs.registry import Registry
from tests.unit.sdk_jobs.recorded_reports import (
    RecordedReports,
    SentEvents,
    assigned_job,
    step_calls,
)
from tests.unit.sdk_jobs.turns import Turns

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def execute(
    handler: Handler, reports: RecordedReports | None = None, *, attempt: int = 1
) -> Outcome:
    """Run a handler on a job and return how it ended."""
    registry = Registry()
    registry.add(
        Function(
            name="process-video",
            on="video/upload.completed",
            handler=handler,
        )
    )
    job = assigned_job(traceparent=TRACEPARENT, attempt=attempt)
    return await Execution(registry, step_calls(), SentEvents())(job, reports or RecordedReports())


class TestHandler:
    async def test_gets_its_job(self) -> None:
        """Payload, ids and attempt are there; the result is what it returned."""

        async def handler(job: JobContext) -> JsonValue:
            return [job.data["path"], job.attempt, job.max_attempts, job.event, job.tenant]

        assert Succeeded(
            result_json='["/a.mp4",1,3,"video/upload.completed","acme"]'
        ) == await execute(handler)

    async def test_works_for_the_request_that_sent_the_event(self) -> None:
        """SDK calls below it carry the request id, the tenant and the trace."""
        seen: list[context.RequestContext | None] = []

        async def handler(job: JobContext) -> None:
            seen.append(context.current())

        await execute(handler)

        assert [
            context.RequestContext(request_id="request-1", tenant="acme", traceparent=TRACEPARENT)
        ] == seen

    async def test_reports_progress(self) -> None:
        """Fraction and message."""
        reports = RecordedReports()

        async def handler(job: JobContext) -> None:
            await job.progress(0.5, "transcoding")

        await execute(handler, reports)

        assert [(0.5, "transcoding")] == reports.progresses

    @pytest.mark.parametrize("fraction", [-0.1, 1.1, 50, float("nan")])
    async def test_is_told_when_progress_is_no_fraction(self, fraction: float) -> None:
        """Fifty is not fifty percent."""

        async def handler(job: JobContext) -> None:
            await job.progress(fraction)

        outcome = await execute(handler)

        assert isinstance(outcome, Failed)
        assert "progress is a fraction from 0 to 1" in outcome.message


class TestEnd:
    async def test_is_a_failure_when_the_result_is_no_json(self) -> None:
        """Permanent: the next attempt would return the same kind of thing."""

        async def handler(job: JobContext) -> JsonValue:
            return {1, 2}  # type: ignore[return-value]

        outcome = await execute(handler)

        assert isinstance(outcome, Failed)
        assert ("ResultError", True) == (outcome.kind, outcome.permanent)
        assert "the result of function process-video" in outcome.message

    async def test_is_a_failure_when_the_function_is_not_known(self) -> None:
        """Retried: another worker may have it."""
        outcome = await Execution(Registry(), step_calls(), SentEvents())(
            assigned_job(), RecordedReports()
        )

        assert isinstance(outcome, Failed)
        assert ("LookupError", False) == (outcome.kind, outcome.permanent)

    async def test_of_a_cancelled_handler_is_its_cancellation(self) -> None:
        """Whoever cancelled it knows why."""

        async def handler(job: JobContext) -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await execute(handler)


class TestTurnThatTakesTooLong:
    async def test_fails(self) -> None:
        """By a name of its own, to be tried again; the function is cancelled."""
        cancelled: list[str] = []

        async def handler(job: JobContext) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(job.id)
                raise

        outcome = await Turns(handler).run_for(0.02)

        assert Failed(kind="TimedOut", message="this turn took longer than 0.02 s") == outcome
        assert 1 == len(cancelled)

    async def test_is_not_one_whose_function_met_another_limit(self) -> None:
        """What it raises is its own."""

        async def handler(job: JobContext) -> None:
            raise TimeoutError("the provider")

        assert Failed(kind="TimeoutError", message="the provider") == await Turns(handler).run_for(
            9
        )


class TestResult:
    async def test_may_be_a_model(self) -> None:
        """Or a dataclass; watchers get it as JSON."""

        async def handler(job: JobContext) -> Thumbnail:
            return Thumbnail(url="a.png", sizes=(1, 2))

        assert Succeeded(result_json='{"url":"a.png","sizes":[1,2]}') == await execute(handler)


@dataclass(frozen=True)
class Thumbnail:
    """What a function returns."""

    url: str
    sizes: tuple[int, int]


class TestFailure:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (OSError("disk full"), Failed(kind="OSError", message="disk full")),
            (
                NonRetryableError("no video"),
                Failed(kind="NonRetryableError", message="no video", permanent=True),
            ),
            (
                RetryAfterError("quota", seconds=30),
                Failed(kind="RetryAfterError", message="quota", retry_after=30),
            ),
            (
                RateLimitError("20/min used up", retry_after=1.5),
                Failed(kind="RateLimitError", message="20/min used up", retry_after=1.5),
            ),
            (
                ExceptionGroup("two steps failed", [OSError("a"), OSError("b")]),
                Failed(kind="ExceptionGroup", message="two steps failed (2 sub-exceptions)"),
            ),
        ],
    )
    def test_follows_from_the_exception(self, error: Exception, expected: Failed) -> None:
        """Kind, message, and whether and when to try again."""
        assert expected == failure_of(error)

    def test_is_cut_to_what_the_wire_takes(self) -> None:
        """An exception may carry a whole file; the stream must not break over it."""
        failed = failure_of(OSError("\ud800\0" + "x" * 10_000)).report().failed

        assert 2_000 == len(failed.message)
        assert "\0" not in failed.message

    def test_asks_for_its_wait_in_milliseconds(self) -> None:
        """Finer than seconds, as the contract's Duration allows."""
        report = failure_of(RetryAfterError("soon", seconds=0.25)).report()

        assert 250 == report.failed.retry_after.ToMilliseconds()

    @pytest.mark.parametrize(
        ("asked", "told"),
        [
            (math.inf, None),
            (math.nan, None),
            (-1.0, None),
            (0.0, 0.0),
            (MAX_RETRY_AFTER + 1, MAX_RETRY_AFTER),
            (1e300, MAX_RETRY_AFTER),
        ],
    )
    def test_asks_for_no_wait_that_cannot_be_waited(self, asked: float, told: float | None) -> None:
        """Up to 30 days; what is no time at all is left to the backoff."""
        errors = [
            RetryAfterError("later", seconds=asked),
            RateLimitError("used up", retry_after=asked),
        ]

        assert [told, told] == [failure_of(error).retry_after for error in errors]


class TestLog:
    async def test_has_a_line_for_start_and_end(self, caplog: pytest.LogCaptureFixture) -> None:
        """Each with the request id, for those who search the logs of all services for it."""

        async def handler(job: JobContext) -> None:
            return

        with caplog.at_level(logging.INFO, logger="mainstay.worker"):
            await execute(handler)

        assert ["job started: process-video", "job succeeded: process-video"] == [
            record.getMessage().split(" attempt ")[0] for record in caplog.records
        ]
        assert all("request_id=request-1" in record.getMessage() for record in caplog.records)

    async def test_names_the_error_of_a_failed_job(self, caplog: pytest.LogCaptureFixture) -> None:
        """So that nobody has to look it up elsewhere."""

        async def handler(job: JobContext) -> None:
            raise OSError("disk full")

        with caplog.at_level(logging.INFO, logger="mainstay.worker"):
            await execute(handler)

        assert "job failed (OSError: disk full), " in caplog.records[-1].getMessage()

    async def test_has_the_traceback_of_a_failed_job(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Down to the line that raised, which is logged nowhere else."""

        async def handler(job: JobContext) -> None:
            raise OSError("disk full")

        await execute(handler)

        assert 'raise OSError("disk full")' in caplog.text

    @pytest.mark.parametrize(
        ("error", "attempt", "fate"),
        [
            (OSError("disk full"), 2, "to be tried again"),
            (OSError("disk full"), 3, "and that was the last attempt"),
            (NonRetryableError("no video"), 1, "which no retry can help"),
        ],
    )
    async def test_says_what_becomes_of_a_failed_job(
        self, caplog: pytest.LogCaptureFixture, error: Exception, attempt: int, fate: str
    ) -> None:
        """Whoever reads it knows whether to wait or to act."""

        async def handler(job: JobContext) -> None:
            raise error

        await execute(handler, attempt=attempt)

        assert f"{error}), {fate}: process-video" in caplog.records[-1].getMessage()


class TestTimeLimit:
    async def test_is_not_survived_by_swallowing_its_cancellation(self) -> None:
        """The turn has failed, and no further step is run."""

        async def handler(job: JobContext) -> str:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return await job.step.run("more", str)

        async def survivor(job: JobContext) -> str:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return "survived"

        for each in (handler, survivor):
            outcome = await Turns(each).run_for(0.01)
            assert Failed(kind="TimedOut", message="this turn took longer than 0.01 s") == outcome


class TestExit:
    @pytest.mark.parametrize("where", ["function", "step", "thread", "parallel"])
    async def test_ends_the_attempt_and_not_the_worker(self, where: str) -> None:
        """Code that was a command once calls sys.exit; others' jobs are not its own."""

        async def leave() -> None:
            sys.exit(3)

        async def handler(job: JobContext) -> None:
            match where:
                case "function":
                    sys.exit(3)
                case "step":
                    await job.step.run("a", leave)
                case "thread":
                    await job.step.run("a", sys.exit, 3)
                case _:
                    await job.step.parallel({"a": leave})

        outcome = await execute(handler)

        assert isinstance(outcome, Failed)
        assert not outcome.permanent
        assert "3" in outcome.message
