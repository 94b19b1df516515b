"""Reads violations from PostgreSQL."""

from collections.abc import Sequence
from datetime import UTC, datetime

from services.ratelimit.database import Database
from services.ratelimit.decision import DenialReason
from services.ratelimit.violations import Offence, Place, Violation, ViolationQuery
from services.ratelimit.writing import microseconds_of, moment
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

_QUERIES = load_queries("services.ratelimit", "sql/evidence.sql")
_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


class PostgresViolations:
    """What `PostgresEvidence` wrote."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, tenant: Tenant, query: ViolationQuery, *, after: Place | None, size: int
    ) -> Sequence[tuple[Place, Violation]]:
        """Return the newest that come after a place; `*` finds those of all tenants.

        Raises DatabaseError, and PreconditionError without a database.
        """
        place = (_END_OF_TIME, 0) if after is None else (moment(after.start), after.number)

        async def work(connection: Connection) -> list[tuple[Place, Violation]]:
            await connection.execute(_QUERIES["plan_for_values"])
            rows = await connection.fetch(
                _QUERIES["list_violations"],
                tenant,
                query.subject,
                query.rule,
                moment(query.start),
                moment(query.end),
                *place,
                size,
            )
            return [_violation(*row) for row in rows]

        return await self._database.run(tenant, work)


def _violation(
    number: int,
    tenant: str,
    subject: str,
    rule: str,
    endpoint: str,
    plan: str,
    reason: str,
    shadow: bool,  # noqa: FBT001
    count: int,
    start: datetime,
    end: datetime,
    request_id: str,
    limit: str,
) -> tuple[Place, Violation]:
    offence = Offence(tenant, subject, rule, endpoint, plan, DenialReason(reason), shadow)
    first_at = microseconds_of(start)
    violation = Violation(
        offence=offence,
        count=count,
        first_at=first_at,
        last_at=microseconds_of(end),
        request_id=request_id,
        limit=limit,
    )
    return Place(first_at, number), violation
