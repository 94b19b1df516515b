"""A function runs in memory as it would on a worker."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from mainstay.errors import ConfigurationError
from mainstay.jobs import (
    ChildFailedError,
    Event,
    Failure,
    JobContext,
    JobState,
    NonRetryableError,
    Progress,
    RetryAfterError,
    StepKind,
    Worker,
)
from mainstay.testing import FakeClock, Incoming, StepRun, WorkerLostError, run_function


@dataclass(frozen=True)
class Upload:
    """A video that has arrived."""

    video_id: str


async def probe(video_id: str) -> dict[str, object]:
    """Return what a media prober would."""
    return {"id": video_id, "size": (3, 2)}


async def two_steps(job: JobContext, upload: Upload) -> list[object]:
    """Probe, report, publish."""
    probed = await job.step.run("probe", probe, upload.video_id)
    await job.progress(0.5, "probed", partial={"id": upload.video_id})
    await job.progress(0.9, "publishing")
    await job.step.send_event("tell", "video/ready", {"id": upload.video_id})
    return [probed, job.attempt]


class TestFunction:
    async def test_returns_what_it_would(self) -> None:
        """Result, steps, progress and events are what the service would have."""
        run = await run_function(two_steps, Upload("42"))

        assert (JobState.SUCCEEDED, [{"id": "42", "size": [3, 2]}, 1]) == (run.state, run.result)
        assert ("probe", "tell") == run.step_keys
        assert (
            Progress(fraction=0.5, message="probed", partial={"id": "42"}),
            Progress(fraction=0.9, message="publishing", partial={"id": "42"}),
        ) == run.progress
        assert [("video/ready", {"id": "42"})] == [(event.name, event.data) for event in run.events]

    async def test_keeps_its_options_when_it_is_a_worker_s(self) -> None:
        """Such as how often it is tried again."""
        worker = Worker("127.0.0.1:1")

        @worker.function("fail", retries=4, initial_backoff=10, max_backoff=25)
        async def fail(job: JobContext) -> None:
            raise OSError(f"attempt {job.attempt} of {job.max_attempts}")

        run = await run_function(worker.functions["fail"])

        assert Failure(kind="OSError", message="attempt 5 of 5", permanent=False) == run.failure
        assert (JobState.DEAD_LETTERED, 5, 10 + 20 + 25 + 25) == (
            run.state,
            run.attempts,
            run.slept,
        )

    async def test_is_refused_a_payload_that_no_event_has(self) -> None:
        """Payloads are objects."""
        with pytest.raises(ConfigurationError, match="a payload is a JSON object"):
            await run_function(two_steps, [1])

    async def test_that_comes_to_no_end_is_stopped(self) -> None:
        """By an error of the test, not by its time."""

        async def endless(job: JobContext) -> None:
            await job.step.run("again", asyncio.sleep, 0)
            raise OSError

        with pytest.raises(ConfigurationError, match="comes to no end"):
            await run_function(endless, fail_at={"again": [WorkerLostError()] * 1_001})


class TestFailures:
    async def test_are_tried_again_after_their_backoff(self) -> None:
        """The steps that had finished are not run again; the time is the clock's."""
        clock = FakeClock()
        run = await run_function(
            two_steps, Upload("42"), clock=clock, fail_at={"tell": [OSError("a"), OSError("b")]}
        )

        assert (JobState.SUCCEEDED, 3, 3) == (run.state, run.attempts, run.result[1])
        assert [("probe", 1), ("tell", 3)] == [(step.key, step.attempt) for step in run.steps]
        assert (1 + 2, 1 + 2) == (run.slept, clock.passed)

    async def test_may_ask_for_their_time(self) -> None:
        """As a service that names when it can be called again."""
        run = await run_function(
            two_steps, Upload("42"), fail_at={"probe": RetryAfterError("full", seconds=60)}
        )

        assert (2, 60) == (run.attempts, run.slept)

    async def test_may_be_final(self) -> None:
        """No further attempt."""
        run = await run_function(
            two_steps, Upload("42"), fail_at={"probe": NonRetryableError("no video")}
        )

        assert (JobState.DEAD_LETTERED, 1, ()) == (run.state, run.attempts, run.steps)

    async def test_of_a_worker_let_the_step_run_again(self) -> None:
        """Its effect happens twice, which the function has to bear, and no attempt is burnt."""
        effects: list[int] = []

        async def handler(job: JobContext) -> list[int]:
            await job.step.run("charge", effects.append, job.attempt)
            return [job.attempt, job.max_attempts]

        run = await run_function(handler, fail_at={"charge": WorkerLostError()})

        assert ([1, 2], [2, 4]) == (effects, run.result)
        assert None is run.failure

    async def test_within_a_step_wait_by_the_fake_clock(self) -> None:
        """Retries of a step take no time of the test's."""

        async def handler(job: JobContext) -> int:
            return await job.step.run("upload", lambda: 1, retries=3)

        run = await run_function(handler, fail_at={"upload": [OSError(), OSError()]})

        assert (1, 1) == (run.result, run.attempts)
        assert 0.75 <= run.slept <= 1.5

    async def test_of_payloads_are_found(self) -> None:
        """As on a worker."""
        run = await run_function(two_steps, {"video": "42"})

        assert run.failure is not None
        assert ("PayloadError", True) == (run.failure.kind, run.failure.permanent)


class TestWaits:
    async def test_pass_at_once(self) -> None:
        """A month of them, in two turns more."""
        clock = FakeClock()

        async def handler(job: JobContext) -> None:
            await job.step.sleep("days", timedelta(days=30))
            await job.step.sleep_until("a time", datetime(2026, 2, 1, tzinfo=UTC))
            await job.step.sleep("a second", 1)

        run = await run_function(handler, clock=clock)

        assert (datetime(2026, 2, 1, 0, 0, 1, tzinfo=UTC), 3) == (clock.now(), run.turns)
        assert [StepKind.SLEEP, StepKind.SLEEP, StepKind.RUN] == [step.kind for step in run.steps]

    async def test_side_by_side_take_the_longest(self) -> None:
        """Not their sum."""

        async def handler(job: JobContext) -> None:
            await asyncio.gather(job.step.sleep("a", 60), job.step.sleep("b", 90))
            await asyncio.gather(job.step.sleep("c", 2), job.step.sleep("d", 1))

        assert 90 + 2 == (await run_function(handler)).slept

    @pytest.mark.parametrize(
        ("coming", "expected", "slept"),
        [
            ([Incoming("video/approved", {"id": "42"})], "42", 0),
            ([Incoming("video/approved", {"id": "42"}, after=70)], "42", 70),
            ([Incoming("video/approved", {"id": "42"}, after=5)], None, 70),
            ([Incoming("video/approved", {"id": "42"}, after=71)], None, 70),
            ([Incoming("video/approved", {"id": "7"}), Incoming("other", {"id": "42"})], None, 70),
        ],
    )
    async def test_for_an_event_take_the_first_that_fits(
        self, coming: list[Incoming], expected: str | None, slept: float
    ) -> None:
        """Accepted after the wait began, within its time, with what was asked for in it."""

        async def handler(job: JobContext) -> object:
            await job.step.sleep("nap", 10)
            event = await job.step.wait_for_event(
                "approval", "video/approved", match={"id": "42"}, timeout=60
            )
            return event.data["id"] if event else None

        run = await run_function(handler, events=coming)

        assert (expected, max(slept, 10)) == (run.result, run.slept)

    async def test_for_a_signal_take_one_that_came_before(self) -> None:
        """Each signal once."""

        async def handler(job: JobContext) -> list[object]:
            await job.step.sleep("nap", 10)
            first = await job.step.wait_for_signal("first", "go")
            second = await job.step.wait_for_signal("second", "go", timeout=30)
            return [first.data if first else None, second]

        run = await run_function(handler, signals=[Incoming("go", {"n": 1}, after=5)])

        assert ([{"n": 1}, None], 40) == (run.result, run.slept)


class TestChildren:
    async def test_run_beside_the_function(self) -> None:
        """Two of a minute take a minute; each has its own payload."""

        async def chunk(job: JobContext) -> int:
            await job.step.sleep("render", 60)
            return int(job.data["index"]) * 10

        async def handler(job: JobContext) -> object:
            return await asyncio.gather(
                job.step.invoke("a", "chunk", {"index": 1}),
                job.step.invoke("b", "chunk", {"index": 2}),
            )

        run = await run_function(handler, children={"chunk": chunk})

        assert ([10, 20], 60) == (run.result, run.slept)

    async def test_may_fail(self) -> None:
        """After their own attempts; the function may go on without."""

        async def chunk(job: JobContext) -> None:
            raise OSError("disk full")

        async def handler(job: JobContext) -> list[str]:
            try:
                return list(await job.step.invoke("a", "chunk"))
            except ChildFailedError as error:
                return [error.state, error.kind, error.reason]

        run = await run_function(handler, children={"chunk": chunk})

        assert (["dead_lettered", "OSError", "disk full"], 3) == (run.result, run.slept)

    @pytest.mark.parametrize(
        ("invoked", "message"),
        [
            ("other", "no function other is known; name it among the children"),
            ("itself", "cyclic: itself → itself"),
        ],
    )
    async def test_that_cannot_be_are_refused(self, invoked: str, message: str) -> None:
        """As the service would, before anything starts."""

        async def itself(job: JobContext) -> None:
            await job.step.invoke("a", invoked)

        run = await run_function(itself, children={"itself": itself})

        assert run.failure is not None
        assert ("StepRejectedError", True) == (run.failure.kind, run.failure.permanent)
        assert message in run.failure.message


class TestRollback:
    async def test_undoes_what_was_done(self) -> None:
        """In reverse, after the last attempt."""
        undone: list[str] = []

        async def handler(job: JobContext) -> None:
            await job.step.run("reserve", lambda: "r", compensate=undone.append)
            await job.step.run("charge", lambda: "c", compensate=undone.append)
            await job.step.run("ship", lambda: "s")

        run = await run_function(handler, fail_at={"ship": NonRetryableError("no boxes")})

        assert (JobState.DEAD_LETTERED, ["c", "r"]) == (run.state, undone)
        assert ("charge", "reserve") == run.undone
        assert (
            StepRun(key="reserve", result="r", attempt=1, kind=StepKind.RUN, undone=True)
            == run.steps[0]
        )
        assert (1, 2) == (run.attempts, run.turns)

    async def test_is_tried_again(self) -> None:
        """Without undoing anything twice; after three turns without progress it is stuck."""
        tries: list[str] = []

        async def undo(result: str) -> None:
            tries.append(result)
            if result == "r":
                raise OSError("bank closed")

        async def handler(job: JobContext) -> None:
            await job.step.run("reserve", lambda: "r", compensate=undo)
            await job.step.run("charge", lambda: "c", compensate=undo)
            raise NonRetryableError("no boxes")

        run = await run_function(handler)

        assert ["c", "r", "r", "r", "r"] == tries
        assert ("charge",) == run.undone
        assert run.rollback_failure is not None
        assert "CompensationFailed" == run.rollback_failure.kind
        assert run.failure is not None
        assert "no boxes" == run.failure.message


class TestSentEvents:
    async def test_are_sent_once(self) -> None:
        """Under the key of job and step, however often the step runs."""

        async def handler(job: JobContext) -> object:
            accepted = await job.step.send_event("tell", "video/ready", {}, version=2)
            return [accepted.event_id, accepted.duplicate]

        run = await run_function(handler, fail_at={"tell": WorkerLostError()})

        assert (["event-1", True], 1) == (run.result, len(run.events))
        assert [
            Event(
                name="video/ready",
                data={},
                version=2,
                idempotency_key="00000000-0000-7000-8000-000000000001/tell",
            )
        ] == list(run.events)


class TestFakeClock:
    async def test_wakes_whoever_is_due_first(self) -> None:
        """In whichever order they went to sleep."""
        clock = FakeClock()
        woken: list[tuple[int, float]] = []

        async def sleep(seconds: int) -> None:
            await clock.sleep(seconds)
            woken.append((seconds, clock.passed))

        await asyncio.gather(sleep(3), sleep(1), sleep(2))

        assert [(1, 1), (2, 2), (3, 3)] == woken

    async def test_forgets_whoever_gives_up(self) -> None:
        """The others are not held up."""
        clock = FakeClock()
        given_up = asyncio.create_task(clock.sleep(1))
        await asyncio.sleep(0)
        given_up.cancel()

        await clock.sleep(5)

        assert 5 == clock.passed
