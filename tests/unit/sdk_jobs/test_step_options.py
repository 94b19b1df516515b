"""A step is tried again, within its time, and says how it can be undone."""

import asyncio
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mainstay.errors import RateLimitError
from mainstay.jobs import (
    NonRetryableError,
    ResultError,
    RetryAfterError,
    StepKeyError,
    Steps,
)
from tests.unit.sdk_jobs.recorded_reports import (
    RecordedReports,
    StillClock,
    assigned_job,
    steps_of,
)


class Failing:
    """Raises what it is given, one after the other, and then returns how often it was called."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    async def __call__(self) -> int:
        """Fail, or succeed."""
        return self.plain()

    def plain(self) -> int:
        """Fail, or succeed, without an event loop."""
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return self.calls


@pytest.fixture
def reports() -> RecordedReports:
    """Keep what the steps report."""
    return RecordedReports()


@pytest.fixture
def clock() -> StillClock:
    """Keep what is slept."""
    return StillClock()


@pytest.fixture
async def steps(reports: RecordedReports, clock: StillClock) -> Steps:
    """Return the steps of a job in its first attempt."""
    return steps_of(assigned_job(), reports, clock=clock)


class TestRetries:
    async def test_call_again_until_it_works(self, steps: Steps, reports: RecordedReports) -> None:
        """One result is stored, that of the try which worked."""
        failing = Failing(OSError("a"), OSError("b"))

        assert 3 == await steps.run("upload", failing.plain, retries=2)
        assert [("upload", "3")] == reports.steps

    async def test_wait_longer_each_time(self, steps: Steps, clock: StillClock) -> None:
        """Between half of 0.5, 1, 2 s and all of it."""
        failing = Failing(OSError("a"), OSError("b"), OSError("c"))

        await steps.run("upload", failing, retries=3)

        assert [True, True, True] == [
            0.5 * ceiling <= slept <= ceiling
            for slept, ceiling in zip(clock.slept, (0.5, 1.0, 2.0), strict=True)
        ]

    async def test_end_with_the_last_error(self, steps: Steps) -> None:
        """It is the function's to catch, and the job's to fail by."""
        failing = Failing(OSError("a"), OSError("b"), OSError("c"))

        with pytest.raises(OSError, match="b"):
            await steps.run("upload", failing, retries=1)

    @pytest.mark.parametrize(
        "error", [RetryAfterError("full", seconds=7), RateLimitError("full", retry_after=7.0)]
    )
    async def test_wait_as_long_as_they_are_asked_to(
        self, steps: Steps, clock: StillClock, error: Exception
    ) -> None:
        """By the function itself, or by a service that it called."""
        await steps.run("upload", Failing(error), retries=1)

        assert [7] == clock.slept

    @pytest.mark.parametrize(
        "error", [RetryAfterError("full", seconds=60), NonRetryableError("no video")]
    )
    async def test_leave_to_the_job_what_does_not_pass_soon(
        self, steps: Steps, clock: StillClock, error: Exception
    ) -> None:
        """A worker does not wait a minute for one step, and what is final is final."""
        with pytest.raises(type(error)):
            await steps.run("upload", Failing(error), retries=5)
        assert [] == clock.slept


class TestTimeout:
    async def test_ends_a_try(self, steps: Steps) -> None:
        """By an error that names the step."""
        with pytest.raises(TimeoutError, match=r"step 'upload' took longer than 0\.01 s"):
            await steps.run("upload", asyncio.Event().wait, timeout=0.01)

    async def test_leaves_a_thread_behind(self, steps: Steps) -> None:
        """Nobody can stop it, and nobody waits for it."""
        free = threading.Event()

        with pytest.raises(TimeoutError):
            await steps.run("upload", free.wait, 10, timeout=0.01)
        free.set()

    async def test_is_one_of_the_failures_that_are_retried(self, steps: Steps) -> None:
        """Each try has its own time."""
        tries = Failing()

        async def hang_once() -> int:
            if await tries() == 1:
                await asyncio.Event().wait()
            return tries.calls

        assert 2 == await steps.run("upload", hang_once, timeout=0.01, retries=1)

    async def test_of_the_function_itself_is_not_mistaken(self, steps: Steps) -> None:
        """What it raises is raised as it is."""
        with pytest.raises(TimeoutError, match="its own"):
            await steps.run("upload", Failing(TimeoutError("its own")), timeout=5)


class TestOptionsOfTheStep:
    async def test_are_not_passed_on(self, steps: Steps) -> None:
        """A function with such an argument gets it by `functools.partial`."""

        def limits(timeout: float = 1.0) -> float:
            return timeout

        assert 1.0 == await steps.run("own", limits, timeout=3)
        assert 3.0 == await steps.run("bound", functools.partial(limits, timeout=3.0))

    async def test_tell_the_service_what_can_be_undone(
        self, steps: Steps, reports: RecordedReports
    ) -> None:
        """And nothing of what cannot."""
        await steps.run("charge", Failing(), compensate=print)
        await steps.run("mail", Failing())

        assert ["charge"] == reports.compensable


@dataclass(frozen=True)
class Probe:
    """What a media prober finds."""

    width: int
    tags: tuple[str, ...] = ()


async def probe(width: int) -> Probe:
    """Return a dataclass, as annotated."""
    return Probe(width, ("a", "b"))


async def probes() -> list[Probe]:
    """Return dataclasses in a list, as annotated."""
    return [Probe(1), Probe(2)]


class TestTypedResult:
    async def test_is_what_the_function_returned(
        self, steps: Steps, reports: RecordedReports
    ) -> None:
        """Also after it has been JSON."""
        assert Probe(9, ("a", "b")) == await steps.run("probe", probe, 9)
        assert [("probe", '{"width":9,"tags":["a","b"]}')] == reports.steps

    @pytest.mark.parametrize(
        ("function", "stored", "expected"),
        [
            (probe, '{"width":9,"tags":[]}', Probe(9)),
            (functools.partial(probe, 1), '{"width":9}', Probe(9)),
            (probes, '[{"width":1},{"width":2}]', [Probe(1), Probe(2)]),
        ],
    )
    async def test_is_made_from_what_is_stored(
        self,
        reports: RecordedReports,
        function: Callable[..., object],
        stored: str,
        expected: object,
    ) -> None:
        """A later attempt gets the same type."""
        steps = steps_of(assigned_job(memo={"probe": stored}), reports)

        assert expected == await steps.run("probe", function)

    async def test_needs_an_annotation(self, steps: Steps) -> None:
        """Otherwise it would be a dict in the next attempt only."""
        with pytest.raises(ResultError, match="annotate the function with the dataclass or model"):
            await steps.run("probe", lambda: Probe(1))

    async def test_that_no_longer_fits_is_told(self, reports: RecordedReports) -> None:
        """The code has changed while the job was on its way."""
        steps = steps_of(assigned_job(memo={"probe": '{"width":"9"}'}), reports)

        with pytest.raises(ResultError, match=r"step 'probe' does not fit .* /width: must be an"):
            await steps.run("probe", probe, 9)


class TestParallelSteps:
    async def test_return_their_results_by_key(self, steps: Steps) -> None:
        """In the order in which they were given."""
        chunks = {f"chunk-{index}": functools.partial(probe, index) for index in range(3)}

        results = await steps.parallel(chunks)

        assert [("chunk-0", 0), ("chunk-1", 1), ("chunk-2", 2)] == [
            (key, result.width) for key, result in results.items()
        ]

    async def test_run_at_once_within_their_bound(self, steps: Steps) -> None:
        """As many as asked for, and never more."""
        now = most = 0
        both = asyncio.Event()

        async def chunk() -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            if now == 2:
                both.set()
            await both.wait()
            await asyncio.sleep(0)
            now -= 1

        await steps.parallel({str(index): chunk for index in range(6)}, at_once=2)

        assert 2 == most

    async def test_keep_the_results_of_those_that_have_begun(
        self, steps: Steps, reports: RecordedReports
    ) -> None:
        """Of four, one fails, one had begun beside it, and the others do not begin."""
        both_run, failed = asyncio.Barrier(2), asyncio.Event()

        async def fail() -> None:
            await both_run.wait()
            failed.set()
            raise OSError("disk full")

        async def goes_on() -> str:
            await both_run.wait()
            await failed.wait()
            return "kept"

        with pytest.raises(OSError, match="disk full"):
            await steps.parallel({"a": fail, "b": goes_on, "c": goes_on, "d": goes_on}, at_once=2)
        assert [("b", '"kept"')] == reports.steps

    async def test_fail_by_what_no_retry_can_help(self, steps: Steps) -> None:
        """Of several errors the one that says most; the others are noted."""
        both_run, failed = asyncio.Barrier(2), asyncio.Event()

        async def fail_first() -> None:
            await both_run.wait()
            failed.set()
            raise OSError("disk full")

        async def fail_for_good() -> None:
            await both_run.wait()
            await failed.wait()
            raise NonRetryableError("no video")

        with pytest.raises(NonRetryableError) as caught:
            await steps.parallel({"a": fail_first, "b": fail_for_good})
        assert ["another parallel step failed: OSError: disk full"] == caught.value.__notes__

    async def test_are_steps_like_others(self, steps: Steps) -> None:
        """Their keys are taken, and those of others are not theirs."""
        await steps.run("a", Failing())

        with pytest.raises(StepKeyError):
            await steps.parallel({"a": Failing().plain})

    async def test_need_room_for_one(self, steps: Steps) -> None:
        """None at a time would be never."""
        with pytest.raises(ValueError, match="at_once is 0"):
            await steps.parallel({}, at_once=0)
