"""Which jobs calls start: idempotency, debounce and full queues, decided without a database.

Calls are taken one after the other, each as a whole: one that is refused leaves nothing behind, and
one that comes later sees what those before it have brought about.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mainstay.errors import AlreadyExistsError, MainstayError, NotFoundError, QueueFullError
from services.jobs import overflow
from services.jobs.event import AcceptedEvent, NewCall, NewEvent, Origin
from services.jobs.function import Debounce, FunctionDefinition, OverflowPolicy
from services.jobs.job import EventId, JobId
from services.jobs.overflow import RETRY_AFTER, Excess, Fullness
from services.jobs.starting import NewJob, job_of, text_at

Keyed = tuple[str, str]
"""A function and a value of the payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Functions:
    """What there is to start."""

    by_event: Mapping[str, Sequence[FunctionDefinition]]
    by_name: Mapping[str, FunctionDefinition]

    def started_by(self, event: NewEvent) -> Sequence[FunctionDefinition]:
        """Return the functions that an event, or a request for a job, starts."""
        if not event.function:
            return self.by_event.get(event.name, ())
        found = self.by_name.get(event.function)
        return () if found is None else (found,)

    def every(self) -> Iterable[FunctionDefinition]:
        """Return all of them."""
        yield from self.by_name.values()
        for functions in self.by_event.values():
            yield from functions


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """The event that an idempotency key stands for, and its jobs."""

    event_id: EventId
    content_hash: bytes
    job_ids: tuple[JobId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A delayed job that further events are folded into; the first came `waited` seconds ago."""

    job_id: JobId
    waited: float


@dataclass(slots=True, kw_only=True)
class Questions:
    """What has to be read before calls can be taken."""

    keys: set[str] = field(default_factory=set)
    job_keys: set[Keyed] = field(default_factory=set)
    debounces: set[Keyed] = field(default_factory=set)
    bounded: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The answers; what is missing is free, not pending, empty."""

    keys: Mapping[str, KnownKey] = field(default_factory=dict)
    job_keys: Mapping[Keyed, JobId] = field(default_factory=dict)
    debounces: Mapping[Keyed, Pending] = field(default_factory=dict)
    fullness: Mapping[str, Fullness] = field(default_factory=dict)


def questions(calls: Iterable[NewCall], functions: Functions) -> Questions:
    """Return what has to be known of the calls."""
    asked = Questions()
    special = any(f.idempotency or f.debounce or f.overflow for f in functions.every())
    for call in calls:
        asked.keys |= {event.idempotency_key for event in call.events if event.idempotency_key}
        if not special:
            continue
        for event in call.events:
            for function in functions.started_by(event):
                _ask(asked, function, event)
    return asked


def _ask(asked: Questions, function: FunctionDefinition, event: NewEvent) -> None:
    if (value := _once_for(function, event)) is not None:
        asked.job_keys.add((function.name, value))
    if function.debounce is not None:
        asked.debounces.add(_debounced_with(function, event))
    if function.overflow is not None:
        asked.bounded.add(function.name)


def _once_for(function: FunctionDefinition, event: NewEvent) -> str | None:
    return text_at(event.value, function.idempotency) if function.idempotency else None


def _debounced_with(function: FunctionDefinition, event: NewEvent) -> Keyed:
    pointer = function.debounce.key if function.debounce else ""
    return function.name, (text_at(event.value, pointer) or "" if pointer else "")


class Acceptance:
    """What is to be stored for the calls that were taken.

    Attributes:
        jobs: To be stored, in order.
        folded: As delayed jobs are to be from now on.
        keys, job_keys, debounces: To be written down.
        events: That were accepted now, in order.

    """

    def __init__(self, functions: Functions, known: Known, new_job_id: Callable[[], JobId]) -> None:
        self.jobs: dict[JobId, NewJob] = {}
        self.folded: dict[JobId, NewJob] = {}
        self.keys: dict[str, KnownKey] = {}
        self.job_keys: dict[Keyed, JobId] = {}
        self.debounces: dict[Keyed, JobId] = {}
        self.events: list[NewEvent] = []
        # What was read, and what has come to it since.
        self._known_keys = dict(known.keys)
        self._known_job_keys = dict(known.job_keys)
        self._pending = dict(known.debounces)
        self._fullness = dict(known.fullness)
        self._functions = functions
        self._new_job_id = new_job_id
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []

    def take(self, call: NewCall) -> tuple[AcceptedEvent, ...]:
        """Return what becomes of a call's events.

        Raises AlreadyExistsError, NotFoundError and QueueFullError, without any effect then.
        """
        self._undo.clear()
        before = len(self.events)
        try:
            return tuple(
                self._take(call.origin, event, number) for number, event in enumerate(call.events)
            )
        except MainstayError:
            for mapping, key, previous in reversed(self._undo):
                if previous is None:
                    del mapping[key]
                else:
                    mapping[key] = previous
            del self.events[before:]
            raise

    def excess(self) -> dict[str, Excess]:
        """Return by function what has to make room, once all jobs are stored."""
        found = {}
        for function in self._functions.every():
            rule, fullness = function.overflow, self._fullness.get(function.name)
            if rule is None or fullness is None or rule.policy is not OverflowPolicy.SHED_OLDEST:
                continue
            if much := overflow.excess(rule, fullness):
                found[function.name] = much
        return found

    def _put(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((mapping, key, mapping.get(key)))
        mapping[key] = value

    def _take(self, origin: Origin, event: NewEvent, number: int) -> AcceptedEvent:
        key = event.idempotency_key
        if key and (known := self._known_keys.get(key)) is not None:
            if known.content_hash != event.content_hash:
                raise _reused(event, number, known)
            return AcceptedEvent(event_id=known.event_id, job_ids=known.job_ids, duplicate=True)
        functions = self._functions.started_by(event)
        if event.function and not functions:
            raise function_not_found(event.function)
        job_ids = tuple([self._start(origin, event, function) for function in functions])
        self.events.append(event)
        if key:
            taken = KnownKey(
                event_id=event.event_id, content_hash=event.content_hash, job_ids=job_ids
            )
            self._put(self._known_keys, key, taken)
            self._put(self.keys, key, taken)
        return AcceptedEvent(event_id=event.event_id, job_ids=job_ids, duplicate=False)

    def _start(self, origin: Origin, event: NewEvent, function: FunctionDefinition) -> JobId:
        """Return the job of a function that answers for an event: a new one, or an earlier."""
        value = _once_for(function, event)
        if value is not None:
            known = self._known_job_keys.get((function.name, value))
            if known is not None:
                return known
        if function.debounce is not None:
            job_id = self._debounce(origin, event, function, function.debounce)
        else:
            job_id = self._new_job_id()
            job = job_of(function, event, origin, job_id)
            self._put(self.jobs, job_id, self._with_room(function, job))
        if value is not None:
            self._put(self._known_job_keys, (function.name, value), job_id)
            self._put(self.job_keys, (function.name, value), job_id)
        return job_id

    def _debounce(
        self, origin: Origin, event: NewEvent, function: FunctionDefinition, rule: Debounce
    ) -> JobId:
        keyed = _debounced_with(function, event)
        pending = self._pending.get(keyed)
        if pending is None:
            job_id = self._new_job_id()
            self._put(self._pending, keyed, Pending(job_id=job_id, waited=0.0))
            self._put(self.debounces, keyed, job_id)
            delay = max(rule.period, event.delay)
        else:
            job_id = pending.job_id
            delay = max(min(rule.period, rule.max_wait - pending.waited), 0.0)
        # One that is not stored yet is folded before it is.
        jobs = self.jobs if pending is None or job_id in self.jobs else self.folded
        self._put(jobs, job_id, job_of(function, event, origin, job_id, delay=delay))
        return job_id

    def _with_room(self, function: FunctionDefinition, job: NewJob) -> NewJob:
        """Return the job as the queue takes it; raises QueueFullError when it does not."""
        rule = function.overflow
        if rule is None or job.delay > 0:
            return job
        fullness = self._fullness.get(function.name, Fullness())
        why = overflow.too_much(rule, fullness, job.size)
        if why and rule.policy is OverflowPolicy.REJECT:
            raise _full(function.name, why)
        if why and rule.policy is OverflowPolicy.SPILL:
            return replace(job, delay=rule.spill_delay)
        self._put(self._fullness, function.name, fullness.with_job(job.size))
        return job


def _reused(event: NewEvent, number: int, known: KnownKey) -> AlreadyExistsError:
    field_name = "idempotency_key" if event.function else f"events[{number}].idempotency_key"
    what = "name, version or payload" if event.name else "function or payload"
    return AlreadyExistsError(
        f"{field_name} was used for something else before ({what} differ); use a new key for "
        "something new",
        resource_type="event",
        resource_name=event.idempotency_key,
        reason="IDEMPOTENCY_KEY_REUSED",
        metadata={"event_id": str(known.event_id)},
    )


def function_not_found(name: str) -> NotFoundError:
    """Return the error that says so."""
    return NotFoundError(
        f"function {name[:100]!r} is not known; a worker that has it must connect first",
        resource_type="function",
        resource_name=name[:100],
        reason="FUNCTION_NOT_FOUND",
    )


def _full(function: str, why: str) -> QueueFullError:
    return QueueFullError(
        f"the queue of {function} is full: {why}; nothing of the call was accepted, send it again "
        "later",
        metadata={"function": function},
        retry_after=RETRY_AFTER,
    )
