"""Reads from PostgreSQL what was decided."""

from collections.abc import Mapping, Sequence

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

    async def sums(
        self, tenant: Tenant, *, since: int, rule: str, plan: str, at_most: int
    ) -> tuple[Tally, Sequence[Counted]]:
        """Return the sum of what was decided since a minute, and the groups with most denials.

        `since` is in microseconds since 1970, and what is summed up by the hour when it begins
        with one; an empty rule or plan means all. Raises DatabaseError, and PreconditionError
        without a database.
        """
        query = _QUERIES["sum_statistics" if since % _HOUR else "sum_statistics_by_hour"]

        async def work(connection: Connection) -> tuple[Tally, Sequence[Counted]]:
            await connection.execute(_QUERIES["plan_for_values"])
            arguments = (tenant, rule, plan, moment(since), at_most)
            total, *groups = await connection.fetch(query, *arguments)
            return _tally(total), [
                (Group(row["tenant"], row["rule"], row["plan"]), _tally(row)) for row in groups
            ]

        return await self._database.run(tenant, work)


def _tally(row: Mapping[str, int]) -> Tally:
    return Tally(
        allowed=row["allowed"],
        denied=row["denied"],
        shadow_denied=row["shadow_denied"],
        degraded=row["degraded"],
        dropped=row["dropped"],
    )
