"""Reads from PostgreSQL what was decided."""

from collections.abc import Sequence

from services.ratelimit.database import Database
from services.ratelimit.tallies import Counted, Group, Tally
from services.ratelimit.writing import moment
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

_HOUR = 3_600_000_000
_QUERIES = load_queries("services.ratelimit", "sql/evidence.sql")


class PostgresAnalytics:
    """What `PostgresEvidence` wrote."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sums(self, tenant: Tenant, *, since: int, rule: str, plan: str) -> Sequence[Counted]:
        """Return what was decided since a minute, those with most denials first.

        `since` is in microseconds since 1970, and what is summed up by the hour when it begins
        with one; an empty rule or plan means all. A group without a rule only tells what was
        dropped. Raises DatabaseError, and PreconditionError without a database.
        """
        query = _QUERIES["sum_statistics" if since % _HOUR else "sum_statistics_by_hour"]

        async def work(connection: Connection) -> list[Counted]:
            await connection.execute(_QUERIES["plan_for_values"])
            rows = await connection.fetch(query, tenant, rule, plan, moment(since))
            return [
                (
                    Group(row["tenant"], row["rule"], row["plan"]),
                    Tally(
                        allowed=row["allowed"],
                        denied=row["denied"],
                        shadow_denied=row["shadow_denied"],
                        degraded=row["degraded"],
                        dropped=row["dropped"],
                    ),
                )
                for row in rows
            ]

        return await self._database.run(tenant, work)
