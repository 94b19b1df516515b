"""The client of the rate limit service."""

from types import TracebackType
from typing import Self

from mainstay.channel import Channel
from mainstay.ratelimit.ai_call import AiCalls
from mainstay.ratelimit.concurrency import Concurrency
from mainstay.ratelimit.evidence import Evidence
from mainstay.ratelimit.local_spending import LocalSpending
from mainstay.ratelimit.overrides import Overriding
from mainstay.ratelimit.plans import Plans
from mainstay.ratelimit.policies import PolicyVersions
from mainstay.ratelimit.results import Act, Decision
from mainstay.ratelimit.rules import Rulebook

__all__ = ["Act", "Decision", "RateLimitClient"]


class RateLimitClient(
    LocalSpending,
    Concurrency,
    AiCalls,
    Rulebook,
    Plans,
    Overriding,
    PolicyVersions,
    Evidence,
):
    """Asks for the tenant that the current request or the channel names.

    A subject (`user:42`, an address) and an endpoint (a path, or a name the policy knows) are 1 to
    256 bytes of UTF-8 without control characters; a cost is 1 to 1,000,000. A plan is one that the
    policy knows; None stands for the one that was assigned to the subject. Being over a limit is an
    answer, not an error: only `enforce`, `concurrency` and `ai_call` raise.

    Every method raises `ValidationError` naming the field that is wrong. When the counters cannot
    be reached, the rule's own failure mode decides and the decision says so in `failure_mode`; what
    needs the counters themselves (`refund`, `reset`, leases, reservations) raises
    `RateLimitStoreError` within a bounded time. When the service itself cannot be reached,
    `UnavailableError` is raised, or `DeadlineError` when it does not answer in time: whether to let
    the request pass is then the caller's choice. What keeps something in PostgreSQL raises
    `DatabaseError` while that is away, and `PreconditionError` (`NO_DATABASE`) where the service
    has none. What is safe to repeat is repeated on transient errors.

    Lengths of time are `timedelta`, but those of decisions are seconds, as headers have them.
    """

    def __init__(self, channel: Channel) -> None:
        """Use `channel`, which stays the caller's to close, after the client."""
        super().__init__(channel)

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Give back what is held locally, and end what runs in the background; seconds at most."""
        try:
            await self._close_spenders()
        finally:
            await self._beside.finish()
