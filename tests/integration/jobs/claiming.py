"""A store of jobs without a service around it: what is declared, ready and claimed, in bulk."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from services.jobs.caps import Rate
from services.jobs.database import MIGRATIONS, PLANNER
from services.jobs.dealing import Opening
from services.jobs.fairness import Fairness
from services.jobs.function import FunctionDefinition
from services.jobs.job import Assignment, SessionId
from services.jobs.ports import Claimed
from services.jobs.postgres_claims import PostgresClaims
from services.jobs.postgres_functions import declare_functions
from services.jobs.postgres_lanes import LaneFinder
from services.jobs.retry import Backoff
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import ALL_TENANTS, Tenant

_INSERT = """
WITH born AS (
    INSERT INTO jobs.jobs (
        job_id, tenant, function, event_id, event_name, data, bytes, key, pin, version, priority,
        state, attempt, epoch, max_attempts, initial_backoff, max_backoff, request_id, traceparent
    )
    SELECT jobs.uuid_v7(), $2, $1, jobs.uuid_v7(), 'test', '{}', 2, $4, $5, $6, $7,
        $8, $9::int, $9::int, 3, '1 s', '1 s', 'req-1', ''
    FROM generate_series(1, $3)
    RETURNING *
)
INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes, ready_time)
SELECT job_id, function, tenant, key, pin, jobs.rank(ready_time, priority) - $10::bigint * 1000000,
    bytes, ready_time - $10::int * interval '1 s'
FROM born
RETURNING job_id
"""


def function(name: str = "f", **fields: Any) -> FunctionDefinition:
    """Return a function that may be tried three times."""
    return replace(
        FunctionDefinition(
            name=name, trigger="", max_attempts=3, backoff=Backoff(initial=1.0, maximum=1.0)
        ),
        **fields,
    )


@dataclass(slots=True)
class Store:
    """A database and one replica's way to claim from it."""

    postgres: Postgres
    fairness: Fairness = field(default_factory=Fairness)
    claims: PostgresClaims = field(init=False)

    def __post_init__(self) -> None:
        self.claims = PostgresClaims(self.postgres)

    def replica(self, finder: LaneFinder | None = None) -> "Store":
        """Return another replica on the same database."""
        other = Store(self.postgres)
        other.claims = PostgresClaims(self.postgres, finder)
        return other

    async def declare(self, *functions: FunctionDefinition, tenant: str = "acme") -> None:
        """Declare functions, as a worker does that comes."""
        async with self.postgres.transaction(Tenant(tenant)) as connection:
            await declare_functions(connection, Tenant(tenant), functions)

    async def worker(
        self,
        *functions: str,
        room: int = 100,
        tenant: str = "acme",
        versions: Mapping[str, str] | None = None,
    ) -> Opening:
        """Let a worker come; by default one of the function f."""
        session_id = SessionId(uuid4())
        await self.execute(
            "INSERT INTO jobs.sessions (session_id, tenant, worker, lease_expire_time) "
            "VALUES ($1, $2, 'w', now() + interval '1 h')",
            session_id,
            tenant,
        )
        return Opening(
            session_id=session_id,
            stream=1,
            tenant=Tenant(tenant),
            functions=frozenset(functions or ("f",)),
            room=room,
            versions=versions or {},
        )

    async def ready(
        self,
        jobs: int = 1,
        *,
        function: str = "f",
        tenant: str = "acme",
        key: str = "",
        pin: str = "",
        priority: int = 0,
        begun: str = "",
        age: int = 0,
    ) -> list[UUID]:
        """Make jobs ready, `age` seconds ago; `begun` is the version that began them before."""
        state, attempt = ("retrying", 1) if begun else ("queued", 0)
        rows = await self.fetch(
            _INSERT, function, tenant, jobs, key, pin, begun, priority, state, attempt, age
        )
        return [row["job_id"] for row in rows]

    async def claim(
        self, *openings: Opening, limit: int = 500, permits: Mapping[Rate, int] | None = None
    ) -> Claimed:
        """Claim once and remember whose turn it is."""
        claimed = await self.claims.claim(
            openings, limit=limit, places=self.fairness, permits=permits or {}, promote=False
        )
        self.fairness.charge(claimed.served, claimed.waiting)
        return claimed

    async def claim_all(self, *openings: Opening, limit: int = 500) -> list[Assignment]:
        """Claim until there is no more for these openings, however often they have had room."""
        assigned: list[Assignment] = []
        while (claimed := await self.claim(*openings, limit=limit)).assignments or claimed.more:
            assigned += claimed.assignments
        return assigned

    async def finish(self, assignments: Iterable[Assignment]) -> None:
        """End jobs."""
        jobs = [job.job_id for job in assignments]
        await self.execute("DELETE FROM jobs.leases WHERE job_id = ANY ($1)", jobs)
        await self.execute("DELETE FROM jobs.jobs WHERE job_id = ANY ($1)", jobs)

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        """Return rows of all tenants."""
        async with self.postgres.transaction(ALL_TENANTS) as connection:
            return list(await connection.fetch(statement, *values))

    async def execute(self, statement: str, *values: Any) -> None:
        """Change rows of all tenants."""
        async with self.postgres.transaction(ALL_TENANTS) as connection:
            await connection.execute(statement, *values)

    async def settle(self) -> None:
        """Let the database know what it holds, as it would soon by itself."""
        connection: Connection
        async with self.postgres.transaction(ALL_TENANTS) as connection:
            await connection.execute("ANALYZE jobs.ready")


@asynccontextmanager
async def job_store(postgres_url: str) -> AsyncIterator[Store]:
    """Provide a store in an empty database."""
    postgres = Postgres(
        postgres_url,
        migrations=MIGRATIONS,
        session_settings=PLANNER,
        command_timeout=30.0,
    )
    await postgres.start()
    try:
        yield Store(postgres)
    finally:
        await postgres.close()
