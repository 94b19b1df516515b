"""What workers report, what makes a report unacceptable, and how it is answered."""

import math
from dataclasses import dataclass
from enum import Enum, auto

import orjson

from services.jobs.job import Failure, Progress
from services.jobs.token import Token

MAX_RESULT_BYTES = 1024 * 1024
# With a payload or a result of 1 MiB beside them, a job's steps always fit into the 4 MiB that
# every gRPC library takes as the largest message unless told otherwise.
MAX_STEPS_BYTES = 2_621_440
STEP_OVERHEAD = 64
MAX_STEP_KEY = 200

_NOT_STORED = "store it elsewhere and return where it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCompleted:
    """A step has finished; `result` is JSON text."""

    key: str
    result: str

    @property
    def size(self) -> int:
        """Return what it counts towards the bound on a job's steps."""
        return len(self.key.encode()) + len(self.result.encode()) + STEP_OVERHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The function returned; `result` is JSON text."""

    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The function failed; `retry_after` is the wait it asks for, in seconds."""

    failure: Failure
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Released:
    """The worker gives the job back."""


News = StepCompleted | Progress | Completed | Failed | Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report; `token` is None when the bytes are not a token, `news` when it has none."""

    raw_token: bytes
    token: Token | None
    sequence: int
    news: News | None


class AckState(Enum):
    """What became of a report."""

    STORED = auto()
    DUPLICATE = auto()
    FENCED = auto()
    REJECTED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The answer to one report; `message` says why one was rejected."""

    raw_token: bytes
    sequence: int
    state: AckState
    message: str = ""


def mistake_in(news: News | None, *, steps_bytes: int) -> str:
    """Return why a report cannot be stored, or nothing; `steps_bytes` is what is stored already."""
    match news:
        case None:
            return "report: one kind of news must be set"
        case StepCompleted() as step:
            return _step_mistake(step, steps_bytes)
        case Completed(result=result):
            return _result_mistake(result)
        case Progress(fraction=fraction):
            # Written so that NaN, which is no number from 0 to 1 either, fails too.
            return "" if 0 <= fraction <= 1 else "progress.fraction: must be from 0 to 1"
        case Failed(retry_after=retry_after):
            finite = retry_after is None or math.isfinite(retry_after)
            return "" if finite else "failed.retry_after: must be a duration"
        case Released():
            return ""


def _step_mistake(step: StepCompleted, steps_bytes: int) -> str:
    if not 1 <= len(step.key) <= MAX_STEP_KEY or "\0" in step.key:
        return f"step_completed.key: must be 1 to {MAX_STEP_KEY} characters, none of them NUL"
    if mistake := _result_mistake(step.result):
        return mistake
    if steps_bytes + step.size > MAX_STEPS_BYTES:
        return (
            f"step_completed.result_json: the job's steps would take more than {MAX_STEPS_BYTES:,} "
            f"bytes together; {_NOT_STORED}"
        )
    return ""


def _result_mistake(result: str) -> str:
    if (size := len(result.encode())) > MAX_RESULT_BYTES:
        return f"result_json: {size:,} bytes, more than {MAX_RESULT_BYTES:,}; {_NOT_STORED}"
    try:
        orjson.loads(result)
    except orjson.JSONDecodeError as error:
        return f"result_json: not JSON: {error}"
    return ""
