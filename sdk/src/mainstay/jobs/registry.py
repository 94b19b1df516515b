"""The functions a worker can run."""

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mainstay.errors import ConfigurationError
from mainstay.jobs.job_context import JobContext
from mainstay.jobs.json_text import JsonValue
from mainstay.jobs.v1 import worker_service_pb2 as pb

Handler: TypeAlias = Callable[[JobContext], Awaitable[JsonValue]]

MAX_FUNCTIONS = 200
MAX_ATTEMPTS = 100
_NAME = re.compile(r"[a-z0-9._/-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as declared to the service. Backoffs are in seconds; None leaves the default."""

    name: str
    trigger: str
    handler: Handler
    max_attempts: int
    initial_backoff: float | None
    max_backoff: float | None

    def __post_init__(self) -> None:
        """Refuse a declaration that the service would refuse."""
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"function name {self.name!r} is not 1 to 100 of a-z 0-9 . _ / -; rename it"
            )
        if not self.trigger:
            raise ConfigurationError(
                f"function {self.name} has no trigger; name the event that starts it"
            )
        if not _is_async(self.handler):
            name = getattr(self.handler, "__qualname__", repr(self.handler))
            raise ConfigurationError(
                f"function {self.name} is the plain function {name}; declare it with `async def`, "
                "and run what blocks as a step"
            )
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise ConfigurationError(
                f"function {self.name} has max_attempts={self.max_attempts}; use 1 to 100"
            )
        for name, seconds in (("initial", self.initial_backoff), ("max", self.max_backoff)):
            if seconds is not None and seconds <= 0:
                raise ConfigurationError(
                    f"function {self.name} has {name}_backoff={seconds}; use seconds above 0"
                )

    def definition(self) -> pb.FunctionDefinition:
        """Return the declaration for the wire."""
        definition = pb.FunctionDefinition(
            name=self.name, trigger=self.trigger, max_attempts=self.max_attempts
        )
        if self.initial_backoff is not None:
            definition.initial_backoff.FromMilliseconds(round(self.initial_backoff * 1000))
        if self.max_backoff is not None:
            definition.max_backoff.FromMilliseconds(round(self.max_backoff * 1000))
        return definition


def _is_async(handler: Handler) -> bool:
    """Tell whether calling it gives a coroutine; objects may have an async `__call__`."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - not whether, but how it is called
    )


class Registry:
    """Functions by name."""

    def __init__(self) -> None:
        self._functions: dict[str, Function] = {}

    def add(self, function: Function) -> None:
        """Register a function; two of one name are a mistake."""
        if function.name in self._functions:
            raise ConfigurationError(
                f"function {function.name} is registered twice; names are unique within a worker"
            )
        if len(self._functions) >= MAX_FUNCTIONS:
            raise ConfigurationError(
                f"a worker has at most {MAX_FUNCTIONS} functions; start a second worker"
            )
        self._functions[function.name] = function

    def get(self, name: str) -> Function | None:
        """Return the function of that name, if there is one."""
        return self._functions.get(name)

    def definitions(self) -> Sequence[pb.FunctionDefinition]:
        """Return every declaration for the wire; a worker without any is a mistake."""
        if not self._functions:
            raise ConfigurationError(
                "the worker has no function; decorate one with @worker.function(name, trigger=...)"
            )
        return [function.definition() for function in self._functions.values()]
