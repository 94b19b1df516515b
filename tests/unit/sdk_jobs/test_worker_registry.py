"""A worker's functions are checked where they are declared."""

import functools

import pytest

from mainstay.errors import ConfigurationError
from mainstay.jobs import JobContext, Worker
from mainstay.jobs.registry import MAX_FUNCTIONS, Function, Handler, Registry


async def nothing(job: JobContext) -> None:
    """Do nothing."""


class Nothing:
    """Does nothing, in two ways."""

    async def __call__(self, job: JobContext) -> None:
        """Do nothing."""

    async def method(self, job: JobContext) -> None:
        """Do nothing."""


def declare(
    name: str = "process-video",
    *,
    trigger: str = "video/upload.completed",
    max_attempts: int = 3,
    initial_backoff: float | None = None,
    max_backoff: float | None = None,
) -> Function:
    """Return a declaration that is right except for what a test changes."""
    return Function(
        name=name,
        trigger=trigger,
        handler=nothing,
        max_attempts=max_attempts,
        initial_backoff=initial_backoff,
        max_backoff=max_backoff,
    )


class TestDeclaration:
    def test_travels_in_full(self) -> None:
        """What was declared is what the service is told."""
        definition = declare(max_attempts=5, initial_backoff=0.25, max_backoff=60).definition()

        assert ("process-video", "video/upload.completed", 5, 250, 60_000) == (
            definition.name,
            definition.trigger,
            definition.max_attempts,
            definition.initial_backoff.ToMilliseconds(),
            definition.max_backoff.ToMilliseconds(),
        )

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

    def test_needs_a_trigger(self) -> None:
        """A function that nothing starts is a mistake."""
        with pytest.raises(ConfigurationError, match="has no trigger"):
            declare(trigger="")

    @pytest.mark.parametrize("attempts", [0, -1, 101])
    def test_bounds_attempts(self, attempts: int) -> None:
        """One to a hundred."""
        with pytest.raises(ConfigurationError, match=f"max_attempts={attempts}; use 1 to 100"):
            declare(max_attempts=attempts)

    def test_refuses_a_plain_function(self) -> None:
        """It would fail each of its jobs, after having run."""

        def plain(job: JobContext) -> None:
            """Do nothing."""

        with pytest.raises(ConfigurationError, match=r"plain; declare it with `async def`"):
            Worker("127.0.0.1:1").function("noop", trigger="test/event")(
                plain,  # type: ignore[arg-type]
            )

    def test_takes_whatever_is_awaited(self) -> None:
        """Methods, bound arguments and objects with an async `__call__`."""
        worker = Worker("127.0.0.1:1")
        handlers: list[Handler] = [nothing, functools.partial(nothing), Nothing(), Nothing().method]

        for index, handler in enumerate(handlers):
            worker.function(f"noop-{index}", trigger="test/event")(handler)

    def test_refuses_a_backoff_of_nothing(self) -> None:
        """Retries without a pause would hammer what has just failed."""
        with pytest.raises(ConfigurationError, match="initial_backoff=0"):
            declare(initial_backoff=0)


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

    def test_leave_a_decorated_function_as_it_was(self) -> None:
        """It can be called and tested like any other."""
        worker = Worker("127.0.0.1:1")

        assert nothing is worker.function("noop", trigger="test/event")(nothing)
