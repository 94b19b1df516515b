"""Steps that wait: for what, until when, and what comes of it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.jobs.function import MAX_PRIORITY
from services.jobs.job import EventId, Failure, JobId, StepKind
from services.jobs.states import JobState

MAX_DURATION = 365 * 24 * 3600.0
DEFAULT_TIMEOUT = 7 * 24 * 3600.0
MAX_NAME = 200
MAX_MATCH_BYTES = 64 * 1024
MAX_CHILD_BYTES = 1024 * 1024
MAX_LINEAGE = 10
"""How many jobs may wait for one another in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """Waits for time to pass; in seconds."""

    duration: float

    kind = StepKind.SLEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWait:
    """Waits for an event whose payload contains `match`, JSON text; None takes every payload."""

    name: str
    match: str | None = None
    timeout: float = DEFAULT_TIMEOUT

    kind = StepKind.EVENT


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalWait:
    """Waits for a signal to the job."""

    name: str
    timeout: float = DEFAULT_TIMEOUT

    kind = StepKind.SIGNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoke:
    """Starts a job of another function and waits for its end; `data` is JSON text.

    Attributes:
        priority: None for that of the function.

    """

    function: str
    data: str
    priority: int | None = None

    kind = StepKind.INVOKE


Waited = Sleep | EventWait | SignalWait | Invoke


def limit_of(wait: Waited) -> float | None:
    """Return after how many seconds a wait is over in any case; None for never."""
    match wait:
        case Sleep(duration=seconds) | EventWait(timeout=seconds) | SignalWait(timeout=seconds):
            return seconds
        case Invoke():
            return None


def mistake_in_wait(wait: Waited) -> str:
    """Return what is wrong with a wait, or nothing."""
    match wait:
        case Sleep(duration=duration):
            return _time_mistake("sleep.duration", duration)
        case EventWait(name=name, match=match, timeout=timeout):
            return (
                _name_mistake("event.name", name)
                or _match_mistake(match)
                or _time_mistake("event.timeout", timeout)
            )
        case SignalWait(name=name, timeout=timeout):
            return _name_mistake("signal.name", name) or _time_mistake("signal.timeout", timeout)
        case Invoke():
            return _name_mistake("invoke.function", wait.function) or _data_mistake(wait)


def _time_mistake(field: str, seconds: float) -> str:
    if math.isfinite(seconds) and 0 <= seconds <= MAX_DURATION:
        return ""
    return f"wait_begun.{field}: must be 0 to {MAX_DURATION:g} s"


def _name_mistake(field: str, name: str) -> str:
    if 1 <= len(name) <= MAX_NAME and "\0" not in name:
        return ""
    return f"wait_begun.{field}: must be 1 to {MAX_NAME} characters, none of them NUL"


def _match_mistake(match: str | None) -> str:
    field = "wait_begun.event.match_json"
    if match is None:
        return ""
    if (size := len(match.encode())) > MAX_MATCH_BYTES:
        return f"{field}: {size:,} bytes, more than {MAX_MATCH_BYTES:,}"
    try:
        wanted = orjson.loads(match)
    except orjson.JSONDecodeError as error:
        return f"{field}: not JSON: {error}"
    if not isinstance(wanted, dict):
        return f"{field}: must be a JSON object"
    # `jsonb`, which it is compared as, has none.
    return f"{field}: must not contain NUL" if _has_nul(wanted) else ""


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any("\0" in key or _has_nul(each) for key, each in value.items())
        case list():
            return any(map(_has_nul, value))
    return False


def _data_mistake(wait: Invoke) -> str:
    field = "wait_begun.invoke"
    if wait.priority is not None and not -MAX_PRIORITY <= wait.priority <= MAX_PRIORITY:
        return f"{field}.priority: must be -{MAX_PRIORITY} to {MAX_PRIORITY}"
    if (size := len(wait.data.encode())) > MAX_CHILD_BYTES:
        return (
            f"{field}.data_json: {size:,} bytes, more than {MAX_CHILD_BYTES:,}; "
            "store it elsewhere and send where it is"
        )
    try:
        data = orjson.loads(wait.data)
    except orjson.JSONDecodeError as error:
        return f"{field}.data_json: not JSON: {error}"
    return "" if isinstance(data, dict) else f"{field}.data_json: must be a JSON object"


def mistake_in_lineage(function: str, ancestors: tuple[str, ...]) -> str:
    """Return why a job must not start one of `function`; `ancestors` ends with its own function."""
    field = "wait_begun.invoke.function"
    if function in ancestors:
        return f"{field}: cyclic: {' → '.join([*ancestors, function])}"
    if len(ancestors) > MAX_LINEAGE:
        return f"{field}: more than {MAX_LINEAGE} jobs would wait for one another in a row"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A wait that is over: `key` names the step, `result` is JSON text.

    Attributes:
        reduced: What is kept of the result where it would be too large; None for all of it.

    """

    job_id: JobId
    key: str
    result: str
    reduced: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What ends of waits changed: jobs with a new revision, and those of them that are ready."""

    jobs: frozenset[JobId] = frozenset()
    woken: frozenset[JobId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedChild:
    """A job that has ended and that a step of another job waits for."""

    job_id: JobId
    parent: JobId
    parent_key: str
    state: JobState
    result: str | None
    failure: Failure | None


def event_done(job_id: JobId, key: str, event_id: EventId, name: str, data: str) -> Done:
    """Return the end of a wait for an event; `data` is JSON text."""
    facts = {"event_id": str(event_id), "name": name}
    return _done(job_id, key, facts, {"data": orjson.Fragment(data)})


def signal_done(job_id: JobId, key: str, data: str) -> Done:
    """Return the end of a wait for a signal; `data` is JSON text."""
    return _done(job_id, key, {}, {"data": orjson.Fragment(data)})


def ends_of(children: Iterable[EndedChild]) -> list[Done]:
    """Return what the ends of jobs are to the steps that wait for them."""
    return [_child_done(child) for child in children]


def _child_done(child: EndedChild) -> Done:
    failure = child.failure
    outcome = {
        "result": None if child.result is None else orjson.Fragment(child.result),
        "failure": failure and {"kind": failure.kind, "message": failure.message},
    }
    facts = {"job_id": str(child.job_id), "state": child.state.value}
    return _done(child.parent, child.parent_key, facts, outcome)


def _done(
    job_id: JobId, key: str, facts: Mapping[str, str], contents: Mapping[str, object]
) -> Done:
    return Done(
        job_id=job_id,
        key=key,
        result=_json({**facts, **contents}),
        reduced=_json({**facts, "too_large": True}),
    )


def _json(value: dict[str, object]) -> str:
    return orjson.dumps(value).decode()
