"""What leases and reservations need from outside."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from services.ratelimit.ports import Charge, CounterStore
from services.ratelimit.reservation import Held
from services.ratelimit.verdict import Verdict
from shared.rpc.call import Tenant


class Holder(NamedTuple):
    """Whose places: of a subject on a rule, named only, since policies change meanwhile."""

    tenant: Tenant
    rule: str
    subject: str


class LeaseName(NamedTuple):
    """Which lease of whom."""

    holder: Holder
    lease: bytes


class Acquired(NamedTuple):
    """What was decided, and when the lease ends; None where there is none.

    There is none when the rule is full, or when somebody was let pass without being counted.
    """

    verdict: Verdict
    expires_at: int | None


class Leases(Protocol):
    """Keeps who holds which places of concurrency rules, by its own clock.

    All times are microseconds. Every method raises RateLimitStoreError within a bounded time when
    the leases cannot be reached; it is then not known whether they were changed.
    """

    async def look(self, charge: Charge) -> Verdict:
        """Tell how many places a subject holds, and whether it would get as many as the cost."""
        ...

    async def acquire(self, charge: Charge, lease: bytes, ttl: int) -> Acquired:
        """Take a place if one is free; who holds this lease already keeps it as it is.

        The charge says whose place, and costs 1.
        """
        ...

    async def renew(self, name: LeaseName, ttl: int) -> int | None:
        """Let a lease end `ttl` from now; returns when that is, None if it is over."""
        ...

    async def release(self, name: LeaseName) -> bool:
        """Give the place back; returns whether it was still held."""
        ...

    def abandon(self, name: LeaseName) -> None:
        """Give the place back without waiting, for whoever has gone away; never raises."""
        ...


class LendingStore(CounterStore, Protocol):
    """A `CounterStore` that knows how little is worth having of what is asked."""

    async def lend(self, charges: Sequence[Charge], *, least: int) -> Sequence[Verdict]:
        """Decide and consume as `decide` does.

        Where failure modes decide, nobody could give back what is not spent: each charge then
        consumes no more than `least`.
        """
        ...


class Reservations(Protocol):
    """Keeps what was consumed ahead of its use until it is settled.

    Every method raises RateLimitStoreError within a bounded time when that cannot be reached.
    """

    async def hold(self, tenant: Tenant, held: Held, ttl: int) -> str:
        """Write down what was consumed, for `ttl` microseconds, and return its name."""
        ...

    async def settle(self, tenant: Tenant, reservation: str) -> Held | None:
        """Take the record away and return it, to the first who asks; None to all others.

        The name has to be one that `reservation_fault` finds nothing wrong with.
        """
        ...
