"""What one replica knows of the policy and of overrides, with connections of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.ratelimit.audit import Actor
from services.ratelimit.database import MIGRATIONS, Database
from services.ratelimit.override_book import OverrideBook
from services.ratelimit.overriding import OverrideDraft, OverrideKey, Overriding
from services.ratelimit.policies import PoliciesInForce
from services.ratelimit.policy import NO_PLAN
from services.ratelimit.policy_reading import PolicyReading
from services.ratelimit.policy_versions import PolicyVersion, PolicyVersions
from services.ratelimit.postgres_overrides import PostgresOverrides
from services.ratelimit.postgres_policies import PostgresPolicies
from services.ratelimit.revisions import OVERRIDES, Revisions
from shared.postgres.pool import Postgres
from shared.redis.client import Redis
from shared.rpc.call import Tenant

ACME = Tenant("acme")
ANN = "user:ann"
DAY = 86_400 * 1_000_000


def text_of(limit: str, *, more: str = "") -> str:
    """Return a policy with one limit."""
    return f'version: 1\nlimits:\n  - {{name: api, endpoints: ["*"], default: {limit}{more}}}\n'


def now_us() -> int:
    """Return the time of this machine, which is that of its PostgreSQL."""
    return int(datetime.now(UTC).timestamp() * 1_000_000)


def by(principal: str, request_id: str) -> Actor:
    """Return somebody in a call of theirs."""
    return Actor(principal, request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReplica:
    """What tests reach for."""

    path: Path
    database: Database
    redis: Redis
    revisions: Revisions
    policies: PoliciesInForce
    versions: PolicyVersions
    store: PostgresPolicies
    book: OverrideBook
    overriding: Overriding
    overrides: PostgresOverrides
    problems: dict[str, str | None]

    @property
    def in_force(self) -> tuple[str, int]:
        """Return the limit that everybody has, and the version that says so."""
        policy = self.policies.current
        (limit,) = policy.match(ACME, "x", NO_PLAN).limits
        return limit.written, policy.version

    @property
    def hears(self) -> bool:
        """Return whether hints come in."""
        return self.revisions._subscription.live

    async def put(
        self, limit: str, *, expected: int | None = None, request_id: str = "r"
    ) -> PolicyVersion:
        """Put a policy in force, as a call does."""
        version, _ = await self.versions.put(
            ACME, text_of(limit), reason="test", expected=expected, actor=by("ann", request_id)
        )
        return version

    async def edit(self, text: str) -> None:
        """Change the file, and look at it as often as it takes to believe that."""
        self.path.write_text(text)
        await self.policies.run_once()
        await self.policies.run_once()

    async def override(
        self,
        limits: str,
        *,
        subject: str = ANN,
        tenant: Tenant = ACME,
        rule: str = "api",
        lasts: int = DAY,
        etag: str = "",
        request_id: str = "",
    ) -> str:
        """Put an override, as a call does; returns its etag."""
        draft = OverrideDraft(
            OverrideKey(tenant, rule, subject), limits, now_us() + lasts, "test", etag
        )
        actor = by("ann", request_id or str(draft.expires_at))
        return (await self.overriding.put(draft, actor)).etag

    def limit_of(self, subject: str = ANN, *, tenant: Tenant = ACME) -> str | None:
        """Return the limits of a subject's own, as checks find them."""
        override = self.book.find(tenant, "api", subject)
        if override is None:
            return None
        return " ".join(limit.written for limit in override.limits) or "unlimited"


@asynccontextmanager
async def policy_replica(
    redis_url: str,
    postgres_url: str | None,
    path: Path,
    *,
    running: bool = False,
    interval: float = 1.0,
) -> AsyncIterator[PolicyReplica]:
    """Start within the block; follow what changes only if `running`."""
    async with AsyncExitStack() as stack:

        async def use(resource: Any) -> Any:
            await resource.start()
            stack.push_async_callback(resource.close)
            return resource

        redis = await use(Redis(redis_url, timeout=5.0))
        postgres = postgres_url and Postgres(postgres_url, migrations=MIGRATIONS, max_size=3)
        database = await use(Database(postgres or None))
        revisions = Revisions(database, redis, redis_url, redis_timeout=5.0, interval=interval)
        store = PostgresPolicies(database)
        problems: dict[str, str | None] = {}
        policies = PoliciesInForce(
            path, database, store, revisions, report=problems.__setitem__, interval=0.05
        )
        overrides = PostgresOverrides(database)
        book = OverrideBook(overrides, policies, now_us)
        revisions.on_change(OVERRIDES, book.load)
        await use(policies)
        runs = [revisions.run, policies.run, database.run_connecting] if running else []
        tasks = [asyncio.create_task(run()) for run in runs]
        stack.push_async_callback(_end, tasks)
        yield PolicyReplica(
            path=path,
            database=database,
            redis=redis,
            revisions=revisions,
            policies=policies,
            versions=PolicyVersions(store, policies, PolicyReading()),
            store=store,
            book=book,
            overriding=Overriding(
                policies=policies, store=overrides, announcement=revisions, now_us=now_us
            ),
            overrides=overrides,
            problems=problems,
        )


async def _end(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
