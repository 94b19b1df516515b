"""What waits in an outbox, and what an attempt to deliver it leads to."""

from dataclasses import dataclass
from enum import Enum

import grpc

from mainstay.errors import AlreadyExistsError, MainstayError, ValidationError

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
MAX_ATTEMPTS = 20
"""With pauses up to five minutes, an hour or so: time to deploy what a message found missing."""
MAX_ERROR_TEXT = 2_000

_AWAY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNAUTHENTICATED,
}


class Kind(Enum):
    """What a message asks for."""

    EVENT = "event"
    """An event: every function that it triggers gets a job."""
    JOB = "job"
    """One job of the function it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """On whose behalf a message is; None leaves it to the relay."""

    tenant: str | None
    request_id: str | None
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A row of the outbox. `data` is JSON text, `delay` is in seconds."""

    id: int
    kind: Kind
    name: str
    version: int
    data: str
    idempotency_key: str
    priority: int | None
    delay: float | None
    origin: Origin
    attempts: int


class Verdict(Enum):
    """What an error of the service says about the messages of the call."""

    AWAY = "away"
    """Nothing: the service cannot be asked now, whatever it is about."""
    LATER = "later"
    """One of them cannot be accepted now."""
    NEVER = "never"
    """One of them will not be accepted as it is."""


def judge(error: MainstayError) -> Verdict:
    """Return what follows from an error for the messages of its call."""
    if error.code in _AWAY:
        return Verdict.AWAY
    if isinstance(error, ValidationError | AlreadyExistsError):
        return Verdict.NEVER
    return Verdict.LATER


def is_spent(message: Message, error: MainstayError) -> bool:
    """Tell whether a message that could not be accepted has been tried often enough.

    A queue that is full is no fault of the message, however long it takes.
    """
    full = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return not full and message.attempts + 1 >= MAX_ATTEMPTS


def pause_before_retry(attempts: int, asked: float | None) -> float:
    """Return the seconds until a message is tried again after so many attempts, from 1.

    Doubles from one second up to five minutes, or is what the service asked for if that is longer.
    """
    grown = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempts - 1, 10))
    return max(grown, asked or 0.0)


def in_words(error: MainstayError) -> str:
    """Return an error as it is kept with the message."""
    told = f"{error.reason}: {error.message}"
    # PostgreSQL keeps no NUL in a text.
    return told.replace("\0", "\ufffd")[:MAX_ERROR_TEXT]
