"""What a worker and the service say to each other on a session's stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from mainstay.errors import ValidationError
from services.jobs.function import FunctionDefinition
from services.jobs.job import Assignment, SessionId
from services.jobs.reports import Ack, Report
from services.jobs.token import Token

MAX_FUNCTIONS = 200
MAX_WORKER_NAME = 100
MAX_LISTED = 3
MAX_REPORTS = 500
MAX_TOKENS = 10_000
"""Tokens in one frame; a worker with more jobs than this at a time is beyond this service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldToken:
    """A token as the worker has it; `token` is None when the bytes are not one."""

    raw: bytes
    token: Token | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Introduces a worker; `resume` is the session it had before, if any."""

    worker: str
    functions: tuple[FunctionDefinition, ...]
    resume: SessionId | None
    in_flight: tuple[HeldToken, ...]

    @property
    def triggers(self) -> frozenset[str]:
        """Return the events that start its functions, but for those that can be no event's name."""
        triggers = {function.trigger for function in self.functions[:MAX_FUNCTIONS]}
        return frozenset(name for name in triggers if name and "\0" not in name)

    def check(self, events: Sequence[str]) -> None:
        """Raise ValidationError that names everything wrong; `events` are the known ones."""
        wrong = {}
        if not 1 <= len(self.worker) <= MAX_WORKER_NAME or "\0" in self.worker:
            wrong["hello.worker"] = f"must be 1 to {MAX_WORKER_NAME} characters, none of them NUL"
        if not 1 <= len(self.functions) <= MAX_FUNCTIONS:
            wrong["hello.functions"] = f"must be 1 to {MAX_FUNCTIONS}"
        if len(self.in_flight) > MAX_TOKENS:
            wrong["hello.in_flight_tokens"] = f"must be at most {MAX_TOKENS:,}"
        names = [function.name for function in self.functions]
        for number, function in enumerate(self.functions[:MAX_FUNCTIONS]):
            field = f"hello.functions[{number}]"
            for part, right in function.mistakes(events).items():
                wrong[f"{field}.{part}"] = right
            if function.name in names[:number]:
                wrong[f"{field}.name"] = "is declared twice"
        if wrong:
            raise ValidationError(
                f"the worker's Hello is not valid: {_listed(wrong)}", fields=wrong
            )


def _listed(wrong: Mapping[str, str]) -> str:
    """Return the first mistakes in one line, for those who see nothing but the message."""
    first = [f"{field} {right}" for field, right in islice(wrong.items(), MAX_LISTED)]
    if len(wrong) > MAX_LISTED:
        first.append(f"and {len(wrong) - MAX_LISTED} more")
    return "; ".join(first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Asks for so many more jobs."""

    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBeat:
    """For how many seconds nothing of a job has moved."""

    token: Token
    idle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The worker lives and has these jobs; `jobs` are those that do not move."""

    tokens: tuple[HeldToken, ...]
    jobs: tuple[JobBeat, ...] = ()

    def check(self) -> None:
        """Raise ValidationError when there are too many tokens."""
        if len(self.tokens) > MAX_TOKENS:
            raise ValidationError(
                f"{len(self.tokens):,} tokens in one heartbeat, more than {MAX_TOKENS:,}",
                fields={"heartbeat.tokens": f"must be at most {MAX_TOKENS:,}"},
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportBatch:
    """How jobs fare, in order."""

    reports: tuple[Report, ...]

    def check(self) -> None:
        """Raise ValidationError when there are none or too many."""
        if not 1 <= len(self.reports) <= MAX_REPORTS:
            raise ValidationError(
                f"{len(self.reports)} reports in one batch; send 1 to {MAX_REPORTS}",
                fields={"reports.reports": f"must be 1 to {MAX_REPORTS}"},
            )


@dataclass(frozen=True, slots=True)
class Drain:
    """The worker wants no more jobs."""


Incoming = Hello | Credit | Heartbeat | ReportBatch | Drain


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """Opens a session; of the worker's tokens, `lost` are no longer its own. Times in seconds."""

    session_id: SessionId
    heartbeat_interval: float
    lease: float
    resume_window: float
    lost: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBatch:
    """Work."""

    jobs: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """Tells a worker to end a job, and why."""

    token: Token
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectiveBatch:
    """What to do about jobs that the worker has."""

    directives: tuple[Directive, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatAck:
    """Of the heartbeat's tokens, those that are no longer the worker's, and what is to be done."""

    lost: tuple[bytes, ...]
    directives: tuple[Directive, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AckBatch:
    """One answer for each report, in order."""

    acks: tuple[Ack, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoAway:
    """The service is going."""

    reason: str


Outgoing = Welcome | JobBatch | HeartbeatAck | AckBatch | DirectiveBatch | GoAway
