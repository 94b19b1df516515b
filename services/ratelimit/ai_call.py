"""A call to an AI provider, before and after it was made.

Money is in millionths of a US dollar; times are microseconds.
"""

import re
from dataclasses import dataclass
from uuid import UUID

from services.ratelimit.act import mistake_in
from services.ratelimit.checks import range_fault, refuse, request_id_fault, text_fault
from services.ratelimit.policy import DAY, SECOND
from services.ratelimit.prices import Tokens
from services.ratelimit.reservation import reservation_fault
from shared.rpc.call import Tenant

MAX_TOKENS = 100_000_000
MAX_MICROS = 10**15
MAX_PROVIDER = 64
MAX_MODEL = 128
MAX_OPERATION = 64
MAX_ERROR = 500
DEFAULT_TTL = 900 * SECOND

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class AiEstimate:
    """A call that is to be made.

    Attributes:
        subject: Who makes it.
        plan: The subject's plan; empty where the assigned one is meant.
        provider: Who is called.
        model: Which model.
        tokens: What it takes, and the most it may give.
        ttl: For how long the estimate can be settled.

    """

    subject: str
    plan: str
    provider: str
    model: str
    tokens: Tokens
    ttl: int = DEFAULT_TTL

    def check(self) -> None:
        """Raise ValidationError with every field that is wrong."""
        refuse(
            {
                **_model_faults(self.subject, self.provider, self.model),
                "input_tokens": range_fault(self.tokens.input, 0, MAX_TOKENS),
                "max_output_tokens": range_fault(self.tokens.output, 0, MAX_TOKENS),
                "ttl": None
                if SECOND <= self.ttl <= DAY
                else f"is {self.ttl / SECOND:g} s; give 1 s to 24 hours",
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AiCall:
    """A call that was made.

    Attributes:
        subject: Who made it.
        plan: The subject's plan; empty where the assigned one is meant.
        provider: Who was called.
        model: Which model.
        tokens: What it took and gave.
        latency: How long the provider took; None when that is not told.
        operation: What it was for; may be empty.
        error: Why the provider failed; empty when it did not.
        cost: What the provider charges; None where the price table tells.
        reservation: Names the estimate; empty when there was none.
        request_id: Makes repetitions harmless; empty when every call counts.

    """

    subject: str
    plan: str
    provider: str
    model: str
    tokens: Tokens
    latency: int | None = None
    operation: str = ""
    error: str = ""
    cost: int | None = None
    reservation: str = ""
    request_id: str = ""

    def check(self) -> None:
        """Raise ValidationError with every field that is wrong."""
        cached, given = self.tokens.cached_input, self.tokens.input
        refuse(
            {
                **_model_faults(self.subject, self.provider, self.model),
                "input_tokens": range_fault(given, 0, MAX_TOKENS),
                "output_tokens": range_fault(self.tokens.output, 0, MAX_TOKENS),
                "cached_input_tokens": None
                if cached <= given
                else f"is {cached}, above the {given} input_tokens that it is part of",
                "latency": None
                if self.latency is None or 0 <= self.latency <= DAY
                else f"is {self.latency / SECOND:g} s; give 0 to 24 hours",
                "operation": text_fault(self.operation, MAX_OPERATION, required=False),
                "error": None
                if len(self.error) <= MAX_ERROR
                else f"has {len(self.error)} characters; write at most {MAX_ERROR}",
                "cost_micros": None if self.cost is None else range_fault(self.cost, 0, MAX_MICROS),
                "reservation": reservation_fault(self.reservation) if self.reservation else None,
                "request_id": request_id_fault(self.request_id),
            }
        )

    @property
    def error_line(self) -> str:
        """Return the error in one line: what providers say comes as it likes."""
        return " ".join(_CONTROL.sub(" ", self.error).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class AiUsage:
    """A call as it is kept.

    Attributes:
        usage_id: Names it.
        tenant: Whose it is.
        plan: The subject's plan at that time; empty for none.
        call: The call.
        cost: In millionths of a US dollar; None for a model without a price.
        recorded_at: When, in microseconds since 1970 by the store's clock.

    """

    usage_id: UUID
    tenant: Tenant
    plan: str
    call: AiCall
    cost: int | None
    recorded_at: int


def model_name(provider: str, model: str) -> str:
    """Return what stands for a model where an endpoint is expected."""
    return f"{provider}/{model}"


def provider_fault(provider: str) -> str | None:
    """Return what is wrong with the name of a provider."""
    if "/" in provider:
        return "contains a slash, which ends it in the price table; leave it out"
    return text_fault(provider, MAX_PROVIDER)


def _model_faults(subject: str, provider: str, model: str) -> dict[str, str | None]:
    return {
        "subject": mistake_in(subject),
        "provider": provider_fault(provider),
        "model": text_fault(model, MAX_MODEL),
    }
