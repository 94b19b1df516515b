"""A worker's functions are checked where they are declared."""

import asyncio
import functools
import re
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from mainstay.errors import ConfigurationError, UnavailableError
from mainstay.jobs import (
    Debounce,
    JobContext,
    KeyedConcurrency,
    Overflow,
    OverflowPolicy,
    RateLimit,
    VersionPolicy,
    Worker,
)
from mainstay.jobs.function import Function, Handler
from mainstay.jobs.registry import MAX_FUNCTIONS, Registry
from mainstay.jobs.v1 import function_pb2 as pb


async def nothing(job: JobContext) -> None:
    """Do nothing."""


class Nothing:
    """Does nothing, in two ways."""

    async def __call__(self, job: JobContext) -> None:
        """Do nothing."""

    async def method(self, job: JobContext) -> None:
        """Do nothing."""


def declare(name: str = "process-video", **options: Any) -> Function:
    """Return a declaration that is right except for what a test changes."""
    return Function(**{"name": name, "on": "video/upload.completed", "handler": nothing, **options})


class TestDeclaration:
    def test_travels_in_full(self) -> None:
        """What was declared is what the service is told."""
        definition = declare(retries=4, initial_backoff=0.25, max_backoff=60).definition()

        assert ("process-video", "video/upload.completed", 5, 250, 60_000) == (
            definition.name,
            definition.trigger,
            definition.max_attempts,
            definition.initial_backoff.ToMilliseconds(),
            definition.max_backoff.ToMilliseconds(),
        )

    def test_travels_with_all_its_options(self) -> None:
        """Each is a field of the contract; times are seconds or timedeltas."""
        definition = declare(
            timeout=timedelta(hours=2),
            hang_timeout=30,
            start_timeout=0.5,
            priority=-7,
            concurrency=5,
            keyed_concurrency=KeyedConcurrency(key="/creator_id", limit=2),
            rate_limit=RateLimit(endpoint="/render", subject="/creator_id"),
            idempotency="/video_id",
            debounce=Debounce(period=2, key="/video_id", max_wait=timedelta(minutes=1)),
            overflow=Overflow(
                policy=OverflowPolicy.SPILL, max_depth=9, max_age=60, max_bytes=99, spill_delay=5
            ),
            version="2026.1",
            on_version_change=VersionPolicy.PIN,
        ).definition()

        assert (
            pb.FunctionDefinition(
                name="process-video",
                trigger="video/upload.completed",
                max_attempts=3,
                timeout=Duration(seconds=7200),
                hang_timeout=Duration(seconds=30),
                start_timeout=Duration(nanos=500_000_000),
                priority=-7,
                concurrency=5,
                keyed_concurrency=pb.KeyedConcurrency(key="/creator_id", limit=2),
                rate_limit=pb.RateLimit(endpoint="/render", subject="/creator_id"),
                idempotency="/video_id",
                debounce=pb.Debounce(
                    period=Duration(seconds=2), key="/video_id", max_wait=Duration(seconds=60)
                ),
                overflow=pb.Overflow(
                    max_depth=9,
                    max_age=Duration(seconds=60),
                    max_bytes=99,
                    policy=pb.OVERFLOW_POLICY_SPILL,
                    spill_delay=Duration(seconds=5),
                ),
                version="2026.1",
                version_policy=pb.VERSION_POLICY_PIN,
            )
            == definition
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"priority": 101}, "priority=101; use -100 to 100"),
            ({"concurrency": -1}, "concurrency=-1; use 0 or more"),
            ({"timeout": timedelta(0)}, "timeout=0:00:00; use seconds above 0"),
            ({"hang_timeout": -1}, "hang_timeout=-1; use seconds above 0"),
            ({"version": "x" * 101}, "a version of 101 characters"),
            ({"idempotency": "video_id"}, "idempotency='video_id', which is no JSON pointer"),
            ({"debounce": Debounce(period=1, key="a~")}, "debounce.key='a~', which is no JSON"),
            (
                {"keyed_concurrency": KeyedConcurrency(key="a", limit=1)},
                "keyed_concurrency.key='a', which is no JSON pointer",
            ),
            ({"on_version_change": VersionPolicy.UNKNOWN}, "has an unknown policy"),
            ({"overflow": Overflow(policy=OverflowPolicy.UNKNOWN)}, "has an unknown policy"),
        ],
    )
    def test_refuses_options_the_service_would_refuse(
        self, options: dict[str, Any], message: str
    ) -> None:
        """Where the function is declared."""
        with pytest.raises(ConfigurationError, match=re.escape(message)):
            declare(**options)

    def test_leaves_backoff_to_the_service_when_silent(self) -> None:
        """Unset is not zero."""
        definition = declare().definition()

        assert not definition.HasField("initial_backoff")
        assert not definition.HasField("max_backoff")

    @pytest.mark.parametrize("name", ["", "Process", "process video", "x" * 101, "vidéo"])
    def test_refuses_a_name_the_service_would_refuse(self, name: str) -> None:
        """A wrong name is found at import, not in production."""
        with pytest.raises(ConfigurationError, match="rename it"):
            declare(name)

    def test_needs_no_event(self) -> None:
        """A function may be enqueued, invoked or scheduled only."""
        assert "" == declare(on="").definition().trigger

    @pytest.mark.parametrize("retries", [-1, 100])
    def test_bounds_retries(self, retries: int) -> None:
        """One to a hundred attempts."""
        with pytest.raises(ConfigurationError, match=f"retries={retries}; use 0 to 99"):
            declare(retries=retries)

    def test_refuses_a_plain_function(self) -> None:
        """It would fail each of its jobs, after having run."""

        def plain(job: JobContext) -> None:
            """Do nothing."""

        with pytest.raises(ConfigurationError, match=r"plain; declare it with `async def`"):
            Worker("127.0.0.1:1").function("noop", on="test/event")(plain)  # type: ignore[type-var]

    def test_takes_whatever_is_awaited(self) -> None:
        """Methods, bound arguments and objects with an async `__call__`."""
        worker = Worker("127.0.0.1:1")
        handlers: list[Handler] = [nothing, functools.partial(nothing), Nothing(), Nothing().method]

        for index, handler in enumerate(handlers):
            worker.function(f"noop-{index}", on="test/event")(handler)

    def test_refuses_a_backoff_of_nothing(self) -> None:
        """Retries without a pause would hammer what has just failed."""
        with pytest.raises(ConfigurationError, match="initial_backoff=0"):
            declare(initial_backoff=0)

    @pytest.mark.parametrize("timeout", [float("nan"), float("inf")])
    def test_refuses_a_time_that_is_none(self, timeout: float) -> None:
        """No message could hold it; None is for any time."""
        with pytest.raises(ConfigurationError, match="timeout"):
            declare(timeout=timeout)

    def test_refuses_a_function_that_cannot_be_called(self) -> None:
        """Every attempt of every job would fail."""

        async def none() -> None: ...

        async def three(job: JobContext, data: dict[str, Any], more: str) -> None: ...

        async def named(job: JobContext, *, more: str) -> None: ...

        for handler in (none, three, named):
            with pytest.raises(ConfigurationError, match="function process-video cannot be called"):
                declare(handler=handler)


class TestRegistry:
    def test_refuses_two_functions_of_one_name(self) -> None:
        """Nobody could tell which of the two would run."""
        registry = Registry()
        registry.add(declare())

        with pytest.raises(ConfigurationError, match="process-video is registered twice"):
            registry.add(declare())

    def test_refuses_a_worker_without_functions(self) -> None:
        """The error shows how to register one."""
        with pytest.raises(ConfigurationError, match=r"@worker\.function"):
            Registry().definitions()

    def test_is_bounded(self) -> None:
        """As many as one Hello may declare."""
        registry = Registry()
        for index in range(MAX_FUNCTIONS):
            registry.add(declare(f"function-{index}"))

        with pytest.raises(ConfigurationError, match="at most 200 functions"):
            registry.add(declare("one-more"))


class TestWorkerThatCannotRun:
    async def test_does_not_keep_anybody_waiting(self) -> None:
        """Whoever waits until it is ready hears that it never will be."""
        worker = Worker("127.0.0.1:1", name="without-functions")
        running = asyncio.create_task(worker.run())

        async with asyncio.timeout(10):
            with pytest.raises(UnavailableError, match="has ended; `run` tells why"):
                await worker.ready()
        with pytest.raises(ConfigurationError):
            await running


class TestWorkerSettings:
    @pytest.mark.parametrize("concurrency", [0, -1, 1_001])
    def test_bound_concurrency(self, concurrency: int) -> None:
        """As many as credits may be open."""
        with pytest.raises(ConfigurationError, match=f"concurrency is {concurrency}"):
            Worker("127.0.0.1:1", concurrency=concurrency)

    def test_bound_the_name(self) -> None:
        """As long as Hello may carry."""
        with pytest.raises(ConfigurationError, match="1 to 100 characters"):
            Worker("127.0.0.1:1", name="")

    def test_show_the_functions(self) -> None:
        """By name, for tests that run them."""
        worker = Worker("127.0.0.1:1")
        worker.function("noop", on="test/event")(nothing)

        assert {"noop": nothing} == {
            name: function.handler for name, function in worker.functions.items()
        }

    def test_leave_a_decorated_function_as_it_was(self) -> None:
        """It can be called and tested like any other."""
        worker = Worker("127.0.0.1:1")

        assert nothing is worker.function("noop", on="test/event")(nothing)
