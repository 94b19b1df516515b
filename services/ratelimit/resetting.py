"""The use case: forgetting what a subject consumed."""

from collections.abc import Sequence
from typing import Protocol

from services.ratelimit import audit
from services.ratelimit.audit import Actor
from services.ratelimit.database import Database
from services.ratelimit.policy import NO_PLAN, Policy, Rule
from services.ratelimit.ports import CounterStore, Policies
from shared.postgres.pool import Connection
from shared.rpc.call import Tenant


class HeldHere(Protocol):
    """Leases that this replica granted while the counters could not be reached."""

    def forget(self, tenant: Tenant, rules: Sequence[str], subject: str) -> Sequence[str]:
        """Forget what a subject holds; returns the rules of which that was something."""
        ...


class Resetting:
    """Deletes counters and leases, and has it on record."""

    def __init__(
        self, *, policies: Policies, store: CounterStore, leases: HeldHere, database: Database
    ) -> None:
        self._policies = policies
        self._store = store
        self._leases = leases
        self._database = database

    async def reset(
        self,
        tenant: Tenant,
        subject: str,
        *,
        endpoint: str,
        rule: str,
        reason: str,
        actor: Actor,
    ) -> Sequence[str]:
        """Forget what the subject has of an endpoint, of a rule, or with neither of all rules.

        Returns the rules of which something was forgotten. Raises NotFoundError for a rule that
        there is not, RateLimitStoreError while the counters cannot be reached, and DatabaseError
        while the audit cannot be written.
        """
        policy = self._policies.current
        if rule:
            rules: Sequence[Rule] = (policy.rule(rule),)
        elif endpoint:
            rules = _covering(policy, tenant, endpoint)
        else:
            rules = policy.rules
        if not self._database.present:
            forgotten = await self._forget(tenant, rules, subject)
            audit.tell(tenant, actor, action="reset", target=subject, reason=reason)
            return forgotten

        async def work(connection: Connection) -> Sequence[str]:
            await audit.write(
                connection,
                tenant,
                actor,
                action="reset",
                target=subject,
                reason=reason,
                details={"rules": [each.name for each in rules]},
            )
            # Within the transaction: what could not be forgotten is not on record either.
            return await self._forget(tenant, rules, subject)

        return await self._database.run(tenant, work)

    async def _forget(self, tenant: Tenant, rules: Sequence[Rule], subject: str) -> Sequence[str]:
        names = [each.name for each in rules]
        # Leases first, or they would be on their way to Redis while it forgets.
        forgotten = {*self._leases.forget(tenant, names, subject)}
        forgotten.update(await self._store.reset(tenant, rules, subject))
        return [name for name in names if name in forgotten]


def _covering(policy: Policy, tenant: Tenant, endpoint: str) -> Sequence[Rule]:
    rate = policy.match(tenant, endpoint, NO_PLAN).rule
    concurrency = policy.match_concurrency(tenant, endpoint, NO_PLAN)
    return (rate,) if concurrency is None else (rate, concurrency.rule)
