"""A function as a worker declares it: its code, what starts it, and how its jobs are run."""

import inspect
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Concatenate, TypeAlias

from mainstay.errors import ConfigurationError
from mainstay.jobs.durations import Duration, in_seconds, to_wire
from mainstay.jobs.function_options import (
    WIRE_VERSION_POLICIES,
    Debounce,
    KeyedConcurrency,
    Overflow,
    OverflowPolicy,
    RateLimit,
    VersionPolicy,
)
from mainstay.jobs.job_context import JobContext
from mainstay.jobs.payload import PayloadReader, payload_reader
from mainstay.jobs.v1 import function_pb2

Handler: TypeAlias = Callable[Concatenate[JobContext, ...], Awaitable[Any]]
"""Takes the job and, if it has a second parameter, the payload as the type of that parameter."""

DEFAULT_RETRIES = 2
MAX_RETRIES = 99
MAX_PRIORITY = 100
MAX_VERSION = 100
_NAME = re.compile(r"[a-z0-9._/-]{1,100}")
_POINTER = re.compile(r"(/([^/~]|~[01])*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as declared to the service; `Worker.function` says what each option means."""

    name: str
    handler: Handler
    on: str = ""
    retries: int = DEFAULT_RETRIES
    initial_backoff: Duration | None = None
    max_backoff: Duration | None = None
    timeout: Duration | None = None
    hang_timeout: Duration | None = None
    start_timeout: Duration | None = None
    priority: int = 0
    concurrency: int = 0
    keyed_concurrency: KeyedConcurrency | None = None
    rate_limit: RateLimit | None = None
    idempotency: str = ""
    debounce: Debounce | None = None
    overflow: Overflow | None = None
    version: str = ""
    on_version_change: VersionPolicy = VersionPolicy.CONTINUE
    _read_payload: PayloadReader | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a declaration that the service would refuse, or that would fail every job."""
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"function name {self.name!r} is not 1 to 100 of a-z 0-9 . _ / -; rename it"
            )
        if not _is_async(self.handler):
            name = getattr(self.handler, "__qualname__", repr(self.handler))
            raise ConfigurationError(
                f"function {self.name} is the plain function {name}; declare it with `async def`, "
                "and run what blocks as a step"
            )
        self._check_bounds()
        self._check_pointers()
        object.__setattr__(self, "_read_payload", payload_reader(self.name, self.handler))

    def call(self, job: JobContext) -> Awaitable[Any]:
        """Call the handler; raises PayloadError when the payload is not what it asks for."""
        if self._read_payload is None:
            return self.handler(job)
        return self.handler(job, self._read_payload(job.data))

    def definition(self) -> function_pb2.FunctionDefinition:
        """Return the declaration for the wire."""
        definition = function_pb2.FunctionDefinition(
            name=self.name,
            trigger=self.on,
            max_attempts=self.retries + 1,
            version=self.version,
            version_policy=WIRE_VERSION_POLICIES[self.on_version_change],
            priority=self.priority,
            concurrency=self.concurrency,
            idempotency=self.idempotency,
        )
        for name, duration in self._durations().items():
            if duration is not None:
                getattr(definition, name).CopyFrom(to_wire(in_seconds(duration)))
        for name in ("keyed_concurrency", "rate_limit", "debounce", "overflow"):
            if (option := getattr(self, name)) is not None:
                getattr(definition, name).CopyFrom(option.to_wire())
        return definition

    def _durations(self) -> dict[str, Duration | None]:
        names = ("initial_backoff", "max_backoff", "timeout", "hang_timeout", "start_timeout")
        return {name: getattr(self, name) for name in names}

    def _check_bounds(self) -> None:
        for name, low, high in (
            ("retries", 0, MAX_RETRIES),
            ("priority", -MAX_PRIORITY, MAX_PRIORITY),
            ("concurrency", 0, None),
        ):
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                allowed = f"{low} to {high}" if high is not None else f"{low} or more"
                raise ConfigurationError(f"function {self.name} has {name}={value}; use {allowed}")
        for name, duration in self._durations().items():
            if duration is not None and not 0 < in_seconds(duration) < math.inf:
                raise ConfigurationError(
                    f"function {self.name} has {name}={duration}; use seconds above 0"
                )
        policies = (self.on_version_change, self.overflow.policy if self.overflow else None)
        if VersionPolicy.UNKNOWN in policies or OverflowPolicy.UNKNOWN in policies:
            raise ConfigurationError(f"function {self.name} has an unknown policy; name another")
        if len(self.version) > MAX_VERSION:
            raise ConfigurationError(
                f"function {self.name} has a version of {len(self.version)} characters; "
                f"use up to {MAX_VERSION}, such as a release or a hash"
            )

    def _check_pointers(self) -> None:
        pointers = {"idempotency": self.idempotency}
        if self.keyed_concurrency is not None:
            pointers["keyed_concurrency.key"] = self.keyed_concurrency.key
        if self.debounce is not None:
            pointers["debounce.key"] = self.debounce.key
        for name, pointer in pointers.items():
            if not _POINTER.fullmatch(pointer):
                raise ConfigurationError(
                    f"function {self.name} has {name}={pointer!r}, which is no JSON pointer; "
                    "begin it with a slash, such as /video_id"
                )


def _is_async(handler: Handler) -> bool:
    """Tell whether calling it gives a coroutine; objects may have an async `__call__`."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - not whether, but how it is called
    )
