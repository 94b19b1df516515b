"""The use case: doing no more than so many things at a time."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from mainstay.errors import NotFoundError, PreconditionError
from services.ratelimit.act import Act
from services.ratelimit.checks import refuse, request_id_fault
from services.ratelimit.decision import Decision, decided
from services.ratelimit.lease import (
    Lease,
    LeaseToken,
    lease_token,
    lease_ttl_fault,
    named_lease,
    read_lease_token,
)
from services.ratelimit.lending_ports import Acquired, Holder, LeaseName, Leases
from services.ratelimit.limiter import Question, charges_of, states_of
from services.ratelimit.policy import Policy
from services.ratelimit.ports import Charge, DecisionObserver, NowUs, Policies
from services.ratelimit.resolving import Resolver
from shared.rpc.call import Tenant


class Leased(NamedTuple):
    """What was decided, and the lease; none when denied, or where nobody counts."""

    decision: Decision
    lease: Lease | None


class Leasing:
    """Gives out the places of concurrency rules, and takes them back.

    `new_randomness` returns `lease.ID_BYTES` bytes that nobody can guess.
    """

    def __init__(
        self,
        *,
        policies: Policies,
        resolver: Resolver,
        leases: Leases,
        observer: DecisionObserver,
        now_us: NowUs,
        new_randomness: Callable[[], bytes],
    ) -> None:
        self._policies = policies
        self._resolver = resolver
        self._leases = leases
        self._observer = observer
        self._now_us = now_us
        self._new_randomness = new_randomness

    async def acquire(self, tenant: Tenant, act: Act, *, ttl: int, request_id: str = "") -> Leased:
        """Take a place for `ttl` microseconds, or the same one again for a request id.

        The act costs 1. Raises ValidationError, NotFoundError when no concurrency rule covers the
        endpoint, and RateLimitStoreError when the leases cannot be reached.
        """
        refuse({"ttl": lease_ttl_fault(ttl), "request_id": request_id_fault(request_id)})
        policy = self._policies.current
        question = await self._question(policy, tenant, act)
        charges = charges_of(tenant, question)[:1]
        if not charges:
            return Leased(self._decided(policy, tenant, question, (), None), None)
        lease = named_lease(request_id) if request_id else self._new_randomness()
        try:
            acquired = await self._leases.acquire(charges[0], lease, ttl)
        except asyncio.CancelledError:
            if not request_id:  # else whoever asks again finds it
                self._leases.abandon(LeaseName(_holder(charges[0]), lease))
            raise
        decision = self._decided(policy, tenant, question, charges, acquired)
        return Leased(decision, _lease(charges[0], lease, ttl, acquired))

    async def renew(self, tenant: Tenant, token: str, ttl: int | None = None) -> Lease:
        """Keep a lease for `ttl` microseconds from now, as long as it was asked for if None.

        Raises ValidationError, RateLimitStoreError, and PreconditionError `LEASE_LOST` when it is
        over.
        """
        named = read_lease_token(token)
        lasting = named.ttl if ttl is None else ttl
        refuse({"ttl": lease_ttl_fault(lasting)})
        expires_at = await self._leases.renew(_name(tenant, named), lasting)
        if expires_at is None:
            raise PreconditionError(
                f"the lease of {named.subject} on the rule {named.rule} is over, and its place may "
                "be another's; stop what it was for, and acquire a new one to go on",
                reason="LEASE_LOST",
                metadata={"subject": named.subject, "rule": named.rule},
            )
        return Lease(token=token, expires_at=expires_at, ttl=lasting)

    async def release(self, tenant: Tenant, token: str) -> bool:
        """Give a place back; returns whether it was still held.

        Raises ValidationError and RateLimitStoreError.
        """
        return await self._leases.release(_name(tenant, read_lease_token(token)))

    async def _question(self, policy: Policy, tenant: Tenant, act: Act) -> Question:
        standing = await self._resolver.standing(policy, tenant, act.subject, act.plan)
        match = policy.match_concurrency(tenant, act.endpoint, standing.plan)
        if match is None:
            raise NotFoundError(
                f"no concurrency rule of the rate limit policy covers {act.endpoint!r}; ask for "
                "another endpoint, or have a rule added",
                reason="RULE_NOT_FOUND",
                resource_type="concurrency rule",
                resource_name=act.endpoint,
            )
        match = self._resolver.overridden(match, tenant, act.subject)
        return Question(act, match, standing.source)

    def _decided(
        self,
        policy: Policy,
        tenant: Tenant,
        question: Question,
        charges: tuple[Charge, ...],
        acquired: Acquired | None,
    ) -> Decision:
        verdicts = () if acquired is None else (acquired.verdict,)
        decision = decided(
            question.match.rule.name,
            question.match.plan,
            question.source,
            states_of(charges, verdicts),
            decided_at=verdicts[0].now if verdicts else self._now_us(),
            policy_version=policy.version,
        )
        self._observer.record(tenant, question.act, decision)
        return decision


def _lease(charge: Charge, lease: bytes, ttl: int, acquired: Acquired) -> Lease | None:
    expires_at = acquired.expires_at
    if expires_at is None:
        return None
    token = LeaseToken(charge.rule.name, charge.subject, lease, ttl)
    left = expires_at - acquired.verdict.now
    return Lease(token=lease_token(token), expires_at=expires_at, ttl=left)


def _holder(charge: Charge) -> Holder:
    return Holder(charge.tenant, charge.rule.name, charge.subject)


def _name(tenant: Tenant, token: LeaseToken) -> LeaseName:
    return LeaseName(Holder(tenant, token.rule, token.subject), token.lease)
