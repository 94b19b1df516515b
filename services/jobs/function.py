"""Functions as workers declare them."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from services.jobs.retry import Backoff

DEFAULT_MAX_ATTEMPTS = 3
DEFAULT_BACKOFF = Backoff(initial=1.0, maximum=300.0)
DEFAULT_SPILL_DELAY = 60.0
DEBOUNCE_PERIODS = 10
"""For how many periods the first event is held up at most, unless declared."""
MAX_ATTEMPTS = 100
MAX_BACKOFF = 24 * 3600.0
MAX_TURN = 7 * 24 * 3600.0
"""Longest time that a turn, or an interval of silence, may be given."""
MAX_HOLD = 30 * 24 * 3600.0
"""Longest time that a job may be held up or wait to start: as long as jobs are kept."""
MAX_VERSION = 100
MAX_PRIORITY = 100
MAX_CONCURRENCY = 1_000_000
MAX_KEY_LIMIT = 10_000
MAX_DEPTH = 1_000_000_000
MAX_QUEUE_BYTES = 2**50
MAX_POINTER = 200
MAX_NAMED = 200
"""Longest endpoint or subject of a rate limit, in bytes: less than the rate limit service takes."""

NAME = re.compile(r"[a-z0-9._/-]{1,100}")
_POINTER = re.compile(r"(/([^~/\x00-\x1f]|~[01])*)+")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f]*")
_POINTER_RULE = f"must be a JSON pointer such as /video_id, up to {MAX_POINTER} characters"


class VersionPolicy(StrEnum):
    """What becomes of a job with finished steps when the code has changed."""

    CONTINUE = "continue"
    PIN = "pin"
    FAIL = "fail"


class OverflowPolicy(StrEnum):
    """What happens when a queue is full."""

    REJECT = "reject"
    SHED_OLDEST = "shed_oldest"
    SPILL = "spill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """Events of one key become one job once nothing has come for `period`; times in seconds."""

    period: float
    key: str = ""
    max_wait: float

    def mistakes(self) -> dict[str, str]:
        """Return what is wrong: field → what would be right."""
        wrong = {}
        if not 1 <= self.period <= MAX_TURN:
            wrong["debounce.period"] = f"must be 1 s to {MAX_TURN:g} s"
        elif not self.period <= self.max_wait <= MAX_TURN * DEBOUNCE_PERIODS:
            longest = f"{MAX_TURN * DEBOUNCE_PERIODS:g} s"
            wrong["debounce.max_wait"] = f"must be the period ({self.period:g} s) to {longest}"
        if self.key and not is_pointer(self.key):
            wrong["debounce.key"] = _POINTER_RULE
        return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A budget of the rate limit service that each start draws from."""

    endpoint: str
    subject: str = ""

    @property
    def by_key(self) -> bool:
        """Return whether each key of the function has a budget of its own."""
        return self.subject.startswith("/")

    def mistakes(self, key_pointer: str) -> dict[str, str]:
        """Return what is wrong: field → what would be right."""
        wrong = {}
        if not self.endpoint or not _is_plain(self.endpoint):
            wrong["rate_limit.endpoint"] = (
                f"must be 1 to {MAX_NAMED} bytes, without control characters"
            )
        if self.by_key and not is_pointer(self.subject):
            wrong["rate_limit.subject"] = _POINTER_RULE
        elif self.by_key and self.subject != key_pointer:
            wrong["rate_limit.subject"] = (
                f"must be the pointer of keyed_concurrency.key ({key_pointer}): a job has one key"
            )
        elif not _is_plain(self.subject):
            wrong["rate_limit.subject"] = f"must be up to {MAX_NAMED} bytes, no control characters"
        return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """How full a tenant's queue may be and what happens beyond; 0 and None mean any. In seconds."""

    policy: OverflowPolicy
    max_depth: int = 0
    max_age: float | None = None
    max_bytes: int = 0
    spill_delay: float = DEFAULT_SPILL_DELAY

    def mistakes(self) -> dict[str, str]:
        """Return what is wrong: field → what would be right."""
        wrong = {}
        if not (self.max_depth or self.max_bytes or self.max_age is not None):
            wrong["overflow"] = "must have a bound: max_depth, max_age or max_bytes"
        if self.max_depth > MAX_DEPTH:
            wrong["overflow.max_depth"] = f"must be at most {MAX_DEPTH:,}"
        if self.max_bytes > MAX_QUEUE_BYTES:
            wrong["overflow.max_bytes"] = f"must be at most {MAX_QUEUE_BYTES:,}"
        if self.max_age is not None and not 0 < self.max_age <= MAX_HOLD:
            wrong["overflow.max_age"] = f"must be more than 0, up to {MAX_HOLD:g} s"
        if not 1 <= self.spill_delay <= MAX_HOLD:
            wrong["overflow.spill_delay"] = f"must be 1 s to {MAX_HOLD:g} s"
        return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDefinition:
    """What a worker can run, what starts it and how it is run. Times are in seconds.

    Attributes:
        trigger: The event that starts it; empty for none.
        version_policy: What becomes of begun jobs when workers of another version come.
        timeout: Longest turn; None for no limit.
        hang_timeout: Longest time without a sign of life; None leaves it to the service.
        start_timeout: Longest wait for the first attempt; None for no limit.
        concurrency: How many of its jobs may run; 0 for any number.
        key_pointer: The JSON pointer that `key_limit` and a keyed rate are by; empty for none.
        key_limit: How many of one tenant and key may run; 0 for any number.
        idempotency: The JSON pointer whose value makes a job the only one; empty for none.

    """

    name: str
    trigger: str
    max_attempts: int
    backoff: Backoff
    version: str = ""
    version_policy: VersionPolicy = VersionPolicy.CONTINUE
    timeout: float | None = None
    hang_timeout: float | None = None
    start_timeout: float | None = None
    priority: int = 0
    concurrency: int = 0
    key_pointer: str = ""
    key_limit: int = 0
    rate_limit: RateLimit | None = None
    debounce: Debounce | None = None
    idempotency: str = ""
    overflow: Overflow | None = None

    def mistakes(self, events: Collection[str]) -> dict[str, str]:
        """Return what is wrong: field → what would be right. `events` are the known ones."""
        wrong = {}
        if not NAME.fullmatch(self.name):
            wrong["name"] = "must be 1 to 100 of a-z 0-9 . _ / -"
        if self.trigger and self.trigger not in events:
            wrong["trigger"] = f"must be one of the events with a schema: {', '.join(events)}"
        if len(self.version) > MAX_VERSION or not _PLAIN.fullmatch(self.version):
            wrong["version"] = f"must be up to {MAX_VERSION} characters that can be seen"
        if not -MAX_PRIORITY <= self.priority <= MAX_PRIORITY:
            wrong["priority"] = f"must be -{MAX_PRIORITY} to {MAX_PRIORITY}"
        if self.idempotency and not is_pointer(self.idempotency):
            wrong["idempotency"] = _POINTER_RULE
        wrong |= self._mistakes_of_attempts() | self._mistakes_of_times() | self._mistakes_of_caps()
        wrong |= self.rate_limit.mistakes(self.key_pointer) if self.rate_limit else {}
        wrong |= self.debounce.mistakes() if self.debounce else {}
        wrong |= self.overflow.mistakes() if self.overflow else {}
        return wrong

    def _mistakes_of_attempts(self) -> dict[str, str]:
        wrong = {}
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            wrong["max_attempts"] = f"must be 1 to {MAX_ATTEMPTS}"
        if not 0 <= self.backoff.maximum <= MAX_BACKOFF:
            wrong["max_backoff"] = f"must be 0 to {MAX_BACKOFF:g} s"
        elif not 0 <= self.backoff.initial <= self.backoff.maximum:
            wrong["initial_backoff"] = f"must be 0 to max_backoff ({self.backoff.maximum:g} s)"
        return wrong

    def _mistakes_of_times(self) -> dict[str, str]:
        bounds = {
            "timeout": (self.timeout, MAX_TURN),
            "hang_timeout": (self.hang_timeout, MAX_TURN),
            "start_timeout": (self.start_timeout, MAX_HOLD),
        }
        return {
            field: f"must be more than 0, up to {longest:g} s"
            for field, (seconds, longest) in bounds.items()
            if seconds is not None and not 0 < seconds <= longest
        }

    def _mistakes_of_caps(self) -> dict[str, str]:
        wrong = {}
        if self.concurrency > MAX_CONCURRENCY:
            wrong["concurrency"] = f"must be at most {MAX_CONCURRENCY:,}"
        keyed_rate = self.rate_limit is not None and self.rate_limit.by_key
        if self.key_limit and not is_pointer(self.key_pointer):
            wrong["keyed_concurrency.key"] = _POINTER_RULE
        # The key of a rate alone needs no limit.
        if self.key_limit > MAX_KEY_LIMIT or (
            self.key_pointer and not self.key_limit and not keyed_rate
        ):
            wrong["keyed_concurrency.limit"] = f"must be 1 to {MAX_KEY_LIMIT:,}"
        return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredFunction:
    """A function and whose it is: a tenant's own, or that of `*`, for all who have none."""

    tenant: str
    definition: FunctionDefinition


def _is_plain(text: str) -> bool:
    return len(text.encode()) <= MAX_NAMED and _PLAIN.fullmatch(text) is not None


def is_pointer(text: str) -> bool:
    """Return whether a text is a JSON pointer (RFC 6901) to something within a document."""
    return len(text) <= MAX_POINTER and _POINTER.fullmatch(text) is not None
