"""PostgreSQL goes away: what is known stays in force, and what was missed is made up for."""

import pytest

from cli.embedded.postgres import PostgresServer
from mainstay.errors import DatabaseError
from services.ratelimit.overriding import OverrideKey
from services.ratelimit.paging import Page
from tests.integration.ratelimit.policies.conftest import StartReplica
from tests.integration.ratelimit.policies.policy_replica import ACME, ANN, by
from tests.integration.shared.waiting import until


class TestDatabaseGone:
    async def test_what_is_known_stays_in_force(
        self, start_replica: StartReplica, private_postgres: PostgresServer
    ) -> None:
        """Both the policy and the overrides; nothing can be changed meanwhile, and that is said."""
        here = await start_replica(postgres_url=private_postgres.url, running=True, interval=0.05)
        await here.put("20/min")
        await here.override("99/min")
        await private_postgres.kill()
        key = OverrideKey(ACME, "api", ANN)
        for change in (
            here.put("30/min"),
            here.override("98/min"),
            here.overriding.end(key, reason="", actor=by("ann", "r")),
            here.versions.find(1),
            here.overriding.page(ACME, Page(10, None), subject="", rule=""),
        ):
            with pytest.raises(DatabaseError):
                await change

        assert (("20/min", 2), "99/min") == (here.in_force, here.limit_of())

    async def test_what_was_missed_is_taken_over_when_it_is_back(
        self, start_replica: StartReplica, private_postgres: PostgresServer
    ) -> None:
        """Also when Redis told of it in vain."""
        url = private_postgres.url
        there = await start_replica(postgres_url=url)
        await there.override("99/min")
        await private_postgres.kill()
        await there.revisions.run_once()
        await private_postgres.start()
        here = await start_replica(postgres_url=url)
        await here.put("20/min")
        await here.overriding.end(OverrideKey(ACME, "api", ANN), reason="", actor=by("ann", "r"))
        await here.override("50/min", subject="user:bob")
        await there.revisions.run_once()

        assert (("20/min", 2), None, "50/min") == (
            there.in_force,
            there.limit_of(),
            there.limit_of("user:bob"),
        )

    async def test_a_replica_that_started_without_it_knows_overrides_too(
        self, start_replica: StartReplica, private_postgres: PostgresServer
    ) -> None:
        """As soon as it is there."""
        url = private_postgres.url
        before = await start_replica(postgres_url=url)
        await before.override("99/min")
        await private_postgres.stop()
        later = await start_replica(postgres_url=url, running=True, interval=0.05)
        without = later.limit_of()
        await private_postgres.start()
        await until(lambda: later.limit_of() == "99/min")

        assert without is None
