"""What workers report, what makes a report unacceptable, and how it is answered."""

import math
from dataclasses import dataclass
from enum import Enum, auto

import orjson

from services.jobs.job import Failure, Progress
from services.jobs.token import Token
from services.jobs.waiting import Waited, mistake_in_wait

MAX_RESULT_BYTES = 1024 * 1024
# With a payload or a result of 1 MiB beside them, a job's steps always fit into the 4 MiB that
# every gRPC library takes as the largest message unless told otherwise.
MAX_STEPS_BYTES = 2_621_440
STEP_OVERHEAD = 64
WAIT_OVERHEAD = 256
"""What a step that waits counts for: as much as is kept of its result in any case."""
MAX_STEP_KEY = 200
MAX_PARTIAL_BYTES = 64 * 1024
MAX_SUSPENDED_KEYS = 1_000

_NOT_STORED = "store it elsewhere and return where it is"
_TOO_MUCH = f"the job's steps would take more than {MAX_STEPS_BYTES:,} bytes together"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCompleted:
    """A step has finished; `result` is JSON text, `compensable` when the function can undo it."""

    key: str
    result: str
    compensable: bool = False

    @property
    def size(self) -> int:
        """Return what it counts towards the bound on a job's steps."""
        return len(self.key.encode()) + len(self.result.encode()) + STEP_OVERHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCompensated:
    """A step was undone."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitBegun:
    """A step has begun to wait; `wait` is None when the report does not say for what."""

    key: str
    wait: Waited | None

    @property
    def size(self) -> int:
        """Return what it counts towards the bound on a job's steps before it has a result."""
        return len(self.key.encode()) + WAIT_OVERHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """Nothing is left to do before one of the steps of these keys is done."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """The function has ended because it was told to."""


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


News = (
    StepCompleted
    | StepCompensated
    | WaitBegun
    | Progress
    | Suspended
    | Stopped
    | Completed
    | Failed
    | Released
)


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
    mistake = ""
    match news:
        case None:
            mistake = "report: one kind of news must be set"
        case StepCompleted() as step:
            mistake = _step_mistake(step, steps_bytes)
        case WaitBegun() as begun:
            mistake = _wait_mistake(begun, steps_bytes)
        case Completed(result=result):
            mistake = _result_mistake(result)
        case Progress() as progress:
            mistake = _progress_mistake(progress)
        case Failed(retry_after=float() as wait) if not math.isfinite(wait):
            mistake = "failed.retry_after: must be a duration"
        case Suspended(keys=keys) if not 1 <= len(keys) <= MAX_SUSPENDED_KEYS:
            mistake = f"suspended.keys: must be 1 to {MAX_SUSPENDED_KEYS:,}"
    return mistake


def _step_mistake(step: StepCompleted, steps_bytes: int) -> str:
    if mistake := _key_mistake("step_completed", step.key):
        return mistake
    if mistake := _result_mistake(step.result):
        return mistake
    if steps_bytes + step.size > MAX_STEPS_BYTES:
        return f"step_completed.result_json: {_TOO_MUCH}; {_NOT_STORED}"
    return ""


def _wait_mistake(begun: WaitBegun, steps_bytes: int) -> str:
    if begun.wait is None:
        return "wait_begun.wait: one kind of wait must be set"
    if mistake := _key_mistake("wait_begun", begun.key) or mistake_in_wait(begun.wait):
        return mistake
    if steps_bytes + begun.size > MAX_STEPS_BYTES:
        return f"wait_begun: {_TOO_MUCH}"
    return ""


def _key_mistake(field: str, key: str) -> str:
    if 1 <= len(key) <= MAX_STEP_KEY and "\0" not in key:
        return ""
    return f"{field}.key: must be 1 to {MAX_STEP_KEY} characters, none of them NUL"


def _progress_mistake(progress: Progress) -> str:
    # Written so that NaN, which is no number from 0 to 1 either, fails too.
    if not 0 <= progress.fraction <= 1:
        return "progress.fraction: must be from 0 to 1"
    if progress.partial is None:
        return ""
    if (size := len(progress.partial.encode())) > MAX_PARTIAL_BYTES:
        return f"progress.partial_json: {size:,} bytes, more than {MAX_PARTIAL_BYTES:,}"
    return _json_mistake("progress.partial_json", progress.partial)


def _result_mistake(result: str) -> str:
    if (size := len(result.encode())) > MAX_RESULT_BYTES:
        return f"result_json: {size:,} bytes, more than {MAX_RESULT_BYTES:,}; {_NOT_STORED}"
    return _json_mistake("result_json", result)


def _json_mistake(field: str, text: str) -> str:
    # By far the most frequent result; a batch has hundreds.
    if text == "null":
        return ""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"{field}: not JSON: {error}"
    return ""
