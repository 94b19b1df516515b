"""Operators edit the file, and others put policies by call: whichever was changed last holds."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from cli.embedded.postgres import PostgresServer
from mainstay.errors import ConfigurationError, DatabaseError
from services.ratelimit.database import Database
from services.ratelimit.policy_metrics import policy_broken, policy_version
from services.ratelimit.policy_versions import PolicyVersion
from services.ratelimit.postgres_policies import PostgresPolicies
from tests.integration.ratelimit.policies.conftest import StartReplica
from tests.integration.ratelimit.policies.policy_replica import PolicyReplica, text_of
from tests.integration.shared.waiting import until

INSERT = """
INSERT INTO ratelimit.policy_versions (version, text, digest, source, creator, reason, request_id)
VALUES ($1, $2, repeat('0', 64), 'call', 'newer', 'test', '')
"""


def write(path: Path, text: str) -> None:
    path.write_text(text)


def broken(source: str) -> float:
    return float(policy_broken.labels(source)._value.get())


class TestStart:
    async def test_the_file_becomes_the_first_version(self, here: PolicyReplica) -> None:
        """Its creator is the file."""
        found = here.policies.found

        assert found.version is not None
        assert ("10/min", 1) == here.in_force
        assert ("file", 1.0) == (found.version.creator, policy_version._value.get())

    async def test_replicas_that_start_together_make_one_version(
        self, start_replica: StartReplica, rows: asyncpg.Connection
    ) -> None:
        """All of them have the same file."""
        replicas = await asyncio.gather(*(start_replica() for _ in range(4)))

        assert [("10/min", 1)] * 4 == [replica.in_force for replica in replicas]
        assert 1 == await rows.fetchval("SELECT count(*) FROM ratelimit.policy_versions")

    async def test_what_was_put_stays_in_force(self, start_replica: StartReplica) -> None:
        """A file that says what it said before was not changed."""
        before = await start_replica()
        await before.put("20/min")

        assert ("20/min", 2) == (await start_replica()).in_force

    async def test_another_file_than_the_last_is_in_force(
        self, start_replica: StartReplica, path: Path
    ) -> None:
        """It was changed while nobody looked."""
        before = await start_replica()
        await before.put("20/min")
        write(path, text_of("30/min"))

        assert ("30/min", 3) == (await start_replica()).in_force

    async def test_does_not_wait_for_the_database(
        self, start_replica: StartReplica, private_postgres: PostgresServer
    ) -> None:
        """The file holds until PostgreSQL is there, and then what that has."""
        before = await start_replica(postgres_url=private_postgres.url)
        await before.put("20/min")
        await private_postgres.stop()
        later = await start_replica(postgres_url=private_postgres.url, running=True, interval=0.05)
        without = later.in_force
        await private_postgres.start()
        await until(lambda: later.in_force == ("20/min", 2))

        assert ("10/min", 0) == without


class TestChange:
    async def test_of_the_file_is_a_version_on_every_replica(
        self, start_replica: StartReplica
    ) -> None:
        """Also on those whose own file has not changed yet."""
        here, there = await start_replica(), await start_replica()
        await here.edit(text_of("20/min"))
        await there.revisions.run_once()

        assert [("20/min", 2)] * 2 == [here.in_force, there.in_force]

    async def test_of_the_file_on_all_replicas_is_one_version(
        self, start_replica: StartReplica, rows: asyncpg.Connection
    ) -> None:
        """They find it one after the other, or together."""
        replicas = [await start_replica() for _ in range(3)]
        await asyncio.gather(*(replica.edit(text_of("20/min")) for replica in replicas))
        for replica in replicas:
            await replica.revisions.run_once()

        assert [("20/min", 2)] * 3 == [replica.in_force for replica in replicas]
        assert 2 == await rows.fetchval("SELECT count(*) FROM ratelimit.policy_versions")

    async def test_the_last_one_holds(self, here: PolicyReplica) -> None:
        """By call, in the file, and by call again."""
        found = []
        await here.put("20/min", request_id="a")
        found.append(here.in_force)
        await here.edit(text_of("30/min"))
        found.append(here.in_force)
        await here.put("40/min", request_id="b")
        found.append(here.in_force)

        assert [("20/min", 2), ("30/min", 3), ("40/min", 4)] == found

    async def test_is_followed_while_the_service_runs(
        self, start_replica: StartReplica, path: Path
    ) -> None:
        """On every replica within two seconds."""
        here = await start_replica(running=True)
        there = await start_replica(running=True)
        write(path, text_of("20/min"))
        async with asyncio.timeout(2):
            await until(lambda: [("20/min", 2)] * 2 == [here.in_force, there.in_force])

    async def test_without_a_database_is_in_force_too(self, start_replica: StartReplica) -> None:
        """As the file of a service that stores nothing."""
        here = await start_replica(postgres_url=None)
        await here.edit(text_of("20/min"))

        assert ("20/min", 0) == here.in_force
        assert text_of("20/min") == here.policies.found.text

    async def test_while_the_database_is_away_is_in_force_here(
        self, start_replica: StartReplica, private_postgres: PostgresServer
    ) -> None:
        """And becomes a version for all when the database is back."""
        url = private_postgres.url
        here = await start_replica(postgres_url=url)
        there = await start_replica(postgres_url=url)
        await private_postgres.stop()
        await here.edit(text_of("20/min"))
        meanwhile = here.in_force
        await private_postgres.start()
        await here.policies.run_once()
        await there.revisions.run_once()

        assert ("20/min", 0) == meanwhile
        assert [("20/min", 2)] * 2 == [here.in_force, there.in_force]

    async def test_that_was_undone_before_the_database_came_back_leaves_what_was_put(
        self, start_replica: StartReplica, private_postgres: PostgresServer
    ) -> None:
        """The file says again what it said when it was stored."""
        here = await start_replica(postgres_url=private_postgres.url)
        await here.put("20/min")
        await private_postgres.stop()
        await here.edit(text_of("30/min"))
        await here.edit(text_of("10/min"))
        meanwhile = here.in_force
        await private_postgres.start()
        await here.policies.run_once()
        await here.revisions.run_once()

        assert [("10/min", 0), ("20/min", 2)] == [meanwhile, here.in_force]


class Interrupted(PostgresPolicies):
    """Takes what a file says, but for some of the times: fails, or waits until it may."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.offers = 0
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def offer_file(self, text: str) -> PolicyVersion | None:
        self.offers += 1
        if self.offers in {1, 3, 4}:
            raise DatabaseError("gone for a moment")
        if self.offers == 2:
            self.begun.set()
            await self.may_end.wait()
        return await super().offer_file(text)


class TestChangeMeanwhile:
    async def test_is_not_forgotten(self, here: PolicyReplica) -> None:
        """The file changes again while what it said before is on its way to the database."""
        store = Interrupted(here.database)
        here.policies._store = store
        await here.edit(text_of("11/min"))
        reloading = asyncio.create_task(here.policies.reload())
        await store.begun.wait()
        await here.edit(text_of("12/min"))
        store.may_end.set()
        await reloading
        await here.policies.run_once()

        assert (5, ("12/min", 3)) == (store.offers, here.in_force)


class TestBroken:
    async def test_a_file_is_refused_whole_and_shown(self, here: PolicyReplica) -> None:
        """At the operations port, by GetPolicy, in the metric and in the log."""
        with capture_logs() as lines:
            await here.edit(text_of("20"))
        told = here.policies.found.problem

        assert ("10/min", 1) == here.in_force
        assert "line 3: limits[0].default is '20'" in told
        assert {"policy": told, "policy_version": None} == here.problems
        assert (1.0, ["policy_refused"]) == (broken("file"), [line["event"] for line in lines])

    async def test_a_file_that_is_corrected_is_fine_again(self, here: PolicyReplica) -> None:
        """And in force, if it says something else than before."""
        await here.edit(text_of("20"))
        await here.edit(text_of("30/min"))

        assert (("30/min", 2), "", 0.0) == (
            here.in_force,
            here.policies.found.problem,
            broken("file"),
        )
        assert here.problems["policy"] is None

    async def test_a_version_is_refused_whole_and_shown(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """As one that a newer service has put during a rolling update."""
        await rows.execute(INSERT, 2, "version: 2")
        await rows.execute("SELECT ratelimit.bump('policy')")
        await here.revisions.run_once()
        told = here.policies.found.problem

        assert ("10/min", 1) == here.in_force
        assert "version 2 of the rate limit policy is refused:\n  line 1: limits is missing" in told
        assert (told, 1.0) == (here.problems["policy_version"], broken("version"))

    async def test_a_version_after_a_refused_one_is_fine(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """Nothing is left of the problem."""
        await rows.execute(INSERT, 2, "version: 2")
        await rows.execute("SELECT ratelimit.bump('policy')")
        await here.revisions.run_once()
        await here.put("20/min")

        assert (("20/min", 3), "", 0.0) == (
            here.in_force,
            here.policies.found.problem,
            broken("version"),
        )

    async def test_a_file_at_the_start_is_a_reason_not_to_start(
        self, start_replica: StartReplica, path: Path
    ) -> None:
        """Until the database was reached there is nothing else to go by."""
        write(path, text_of("20"))
        with pytest.raises(ConfigurationError, match="refused"):
            await start_replica()
