"""The use case: forgetting what a subject consumed."""

from collections.abc import Sequence

from services.ratelimit import audit
from services.ratelimit.audit import Actor
from services.ratelimit.database import Database
from services.ratelimit.policy import NO_PLAN, Policy, Rule
from services.ratelimit.ports import CounterStore, Policies
from shared.postgres.pool import Connection
from shared.rpc.call import Tenant


class Resetting:
    """Deletes counters, and has it on record before."""

    def __init__(self, *, policies: Policies, store: CounterStore, database: Database) -> None:
        self._policies = policies
        self._store = store
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
        """Forget the subject's counters of an endpoint, of a rule, or with neither of all rules.

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
        names = [each.name for each in rules]

        async def write(connection: Connection) -> None:
            await audit.write(
                connection,
                tenant,
                actor,
                action="reset",
                target=subject,
                reason=reason,
                details={"rules": names},
            )

        if self._database.present:
            await self._database.run(tenant, write)
        else:
            audit.tell(tenant, actor, action="reset", target=subject, reason=reason)
        return await self._store.reset(tenant, rules, subject)


def _covering(policy: Policy, tenant: Tenant, endpoint: str) -> Sequence[Rule]:
    rate = policy.match(tenant, endpoint, NO_PLAN).rule
    concurrency = policy.match_concurrency(tenant, endpoint, NO_PLAN)
    return (rate,) if concurrency is None else (rate, concurrency.rule)
