"""API keys of a real PostgreSQL, held by rings as the processes of services hold them."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import asyncpg
import pytest

from cli.embedded.postgres import PostgresServer
from mainstay.errors import UnavailableError
from shared.identity.api_key import parse
from shared.identity.key_ring import MAX_WAITING, KeyRing
from shared.identity.postgres_administration import PostgresKeyAdministration
from shared.identity.postgres_keys import MIGRATIONS, identity_postgres
from shared.identity.principal import Principal
from shared.rpc.call import Tenant
from tests.integration.identity.conftest import Clock, StartRing
from tests.integration.identity.keys import Bench, find, known, reason, reason_now, unmade
from tests.integration.shared.waiting import until

INVALID, EXPIRED, AWAY = "CREDENTIALS_INVALID", "CREDENTIALS_EXPIRED", "IDENTITY_UNAVAILABLE"
LAST_USE = "SELECT last_use_time FROM identity.api_keys"


async def until_refused(ring: KeyRing, header: str) -> float:
    """Return after how many seconds a key is good no more."""
    began = time.monotonic()
    await until(lambda: reason_now(ring, header) != "")
    return time.monotonic() - began


async def noted(database: asyncpg.Connection) -> object:
    """Wait until the use of a key is noted, and return when it was."""
    async with asyncio.timeout(10):
        while not (found := await database.fetchval(LAST_USE)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # who writes it tells nobody
    return found


class TestAKey:
    async def test_is_its_principal(self, bench: Bench, start_ring: StartRing) -> None:
        """Named by its id, in its tenant, with its scopes expanded."""
        made = await bench.make("cache:*", "jobs:send")
        ring = await start_ring()

        assert known(ring, made.header) == Principal(
            name=made.key.key_id,
            tenant=Tenant("acme"),
            scopes=frozenset({"cache:read", "cache:write", "cache:admin", "jobs:send"}),
            proof="api-key",
        )

    async def test_is_good_at_once_when_it_is_new(
        self, bench: Bench, start_ring: StartRing
    ) -> None:
        """In a process that has looked before: who shows it waits for another look."""
        ring = await start_ring()
        made = await bench.make()
        before = reason_now(ring, made.header)
        began = time.monotonic()
        principal = await find(ring, made.header)

        assert (None, made.key.key_id) == (before, principal.name)
        assert time.monotonic() - began < 1

    async def test_that_is_revoked_is_refused_everywhere_within_five_seconds(
        self, bench: Bench, start_ring: StartRing
    ) -> None:
        """By two processes, which had both known it, by their own polls alone."""
        made, other = await bench.make(), await bench.make()
        rings = [await start_ring(runs=True), await start_ring(runs=True)]
        assert ["", ""] == [reason_now(ring, made.header) for ring in rings]
        await bench.revoke(made)
        seconds = await asyncio.gather(*(until_refused(ring, made.header) for ring in rings))

        assert max(seconds) < 5
        assert [INVALID, INVALID] == [await reason(ring, made.header) for ring in rings]
        assert ["", ""] == [reason_now(ring, other.header) for ring in rings]

    async def test_is_refused_from_the_moment_it_expires(
        self, bench: Bench, start_ring: StartRing, clock: Clock
    ) -> None:
        """Though no process has looked meanwhile; and only its owner is told why."""
        made = await bench.make(lifetime=timedelta(seconds=60))
        ring = await start_ring()
        wrong = f"{made.header[:-1]}{'b' if made.header[-1] == 'a' else 'a'}"
        clock.pass_by(58)
        before = reason_now(ring, made.header)
        clock.pass_by(4)

        assert ("", EXPIRED) == (before, reason_now(ring, made.header))
        assert INVALID == reason_now(ring, wrong)

    async def test_with_another_secret_is_nobodys(
        self, bench: Bench, start_ring: StartRing
    ) -> None:
        """At once, and with the words for a key that there never was."""
        made = await bench.make()
        ring = await start_ring()
        wrong = f"Bearer msk_{made.key.key_id}_{'a' * 32}"

        assert INVALID == reason_now(ring, wrong)
        assert await reason(ring, unmade()) == reason_now(ring, wrong)
        assert "" == reason_now(ring, made.header)

    async def test_grants_what_this_version_knows(
        self, bench: Bench, start_ring: StartRing
    ) -> None:
        """A scope of a later version is nothing to one that still runs."""
        made = await bench.make("cache:read", "moon:land")
        principal = known(await start_ring(), made.header)

        assert principal is not None
        assert {"cache:read"} == principal.scopes


class TestLooking:
    async def test_costs_little_however_many_keys_are_made_up(
        self, bench: Bench, start_ring: StartRing, polls: Callable[[], float]
    ) -> None:
        """Four looks a second at most, shared by all who wait."""
        ring = await start_ring()
        began, looked = time.monotonic(), polls()
        for _ in range(4):
            reasons = await asyncio.gather(*(reason(ring, unmade()) for _ in range(200)))
            assert {INVALID} == set(reasons)
        seconds = time.monotonic() - began

        assert 1 <= polls() - looked <= 4 * seconds + 2

    async def test_is_done_once_for_a_key_that_is_not_there(
        self, start_ring: StartRing, polls: Callable[[], float]
    ) -> None:
        """Whoever tries it again and again has the answer at once."""
        ring = await start_ring()
        header = unmade()
        assert INVALID == await reason(ring, header)
        looked = polls()

        assert [INVALID] * 100 == [reason_now(ring, header) for _ in range(100)]
        assert looked == polls()

    async def test_reads_the_keys_when_they_have_changed_only(
        self, bench: Bench, start_ring: StartRing, database: asyncpg.Connection
    ) -> None:
        """That a key was used is no change; that one is changed by hand is."""
        made = await bench.make()
        ring = await start_ring()
        assert "" == reason_now(ring, made.header)
        first = await database.fetchval("SELECT revision FROM identity.key_revision")
        await ring.note_uses()
        used = await database.fetchval("SELECT revision FROM identity.key_revision")
        await database.execute("UPDATE identity.api_keys SET scopes = ARRAY['jobs:send']")
        changed = await database.fetchval("SELECT revision FROM identity.key_revision")
        await ring.poll()
        principal = known(ring, made.header)

        assert (first, True) == (used, changed != used)
        assert frozenset({"jobs:send"}) == (principal and principal.scopes)

    async def test_lets_so_many_wait_and_no_more(
        self, start_ring: StartRing, private_postgres: PostgresServer
    ) -> None:
        """Whoever comes while a frozen store holds up all those is told at once to come again."""
        await MIGRATIONS.apply(private_postgres.url)
        ring = await start_ring(private_postgres.url)
        private_postgres.pause()
        waiting = [asyncio.create_task(reason(ring, unmade())) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        began = time.monotonic()
        one_more = await reason(ring, unmade())
        at_once = time.monotonic() - began
        reasons = await asyncio.gather(*waiting)
        private_postgres.resume()

        assert (AWAY, {AWAY}) == (one_more, set(reasons))
        assert at_once < 0.5


class TestAStoreThatIsAway:
    async def test_leaves_known_keys_good_for_the_grace(
        self, start_ring: StartRing, private_postgres: PostgresServer, clock: Clock
    ) -> None:
        """And then no longer: nobody can tell whether they were revoked."""
        await MIGRATIONS.apply(private_postgres.url)
        postgres = identity_postgres(private_postgres.url, migrate=False)
        await postgres.start()
        made = await Bench(PostgresKeyAdministration(postgres)).make()
        await postgres.close()
        ring = await start_ring(private_postgres.url, grace=900)
        before = reason_now(ring, made.header)
        await private_postgres.stop()
        assert not await ring.poll()
        clock.pass_by(890)
        within = [reason_now(ring, made.header), await reason(ring, unmade())]
        clock.pass_by(20)
        after = [reason_now(ring, made.header), await reason(ring, made.header)]
        await private_postgres.start()
        assert await ring.poll()

        assert ("", ["", AWAY], [None, AWAY]) == (before, within, after)
        assert ("", INVALID) == (reason_now(ring, made.header), await reason(ring, unmade()))

    async def test_takes_a_second_of_a_caller_and_no_more(
        self, start_ring: StartRing, private_postgres: PostgresServer
    ) -> None:
        """Frozen, which no connection notices."""
        await MIGRATIONS.apply(private_postgres.url)
        ring = await start_ring(private_postgres.url)
        private_postgres.pause()
        began = time.monotonic()
        refused = await reason(ring, unmade())
        seconds = time.monotonic() - began
        private_postgres.resume()

        assert (AWAY, True) == (refused, seconds < 1.5)

    async def test_is_awaited_while_the_service_serves(
        self, start_ring: StartRing, private_postgres: PostgresServer
    ) -> None:
        """A start does not wait for it; the keys are there when it is."""
        await MIGRATIONS.apply(private_postgres.url)
        postgres = identity_postgres(private_postgres.url, migrate=False)
        await postgres.start()
        made = await Bench(PostgresKeyAdministration(postgres)).make()
        await postgres.close()
        await private_postgres.stop()
        ring = await start_ring(private_postgres.url, interval=0.1, runs=True)
        before = await reason(ring, made.header)
        await private_postgres.start()
        await until(lambda: reason_now(ring, made.header) is not None)

        assert (AWAY, "") == (before, reason_now(ring, made.header))

    async def test_says_when_to_come_again(
        self, start_ring: StartRing, private_postgres: PostgresServer
    ) -> None:
        """As an error that may be tried again."""
        await MIGRATIONS.apply(private_postgres.url)
        ring = await start_ring(private_postgres.url)
        await private_postgres.stop()
        with pytest.raises(UnavailableError) as caught:
            await find(ring, unmade())

        assert (True, 1.0) == (caught.value.transient, caught.value.retry_after)


class TestRemembering:
    async def test_is_of_headers_as_they_are_sent(
        self, bench: Bench, start_ring: StartRing
    ) -> None:
        """And not of padded ones, by which one key could fill the memory."""
        made, ring = await bench.make(), await start_ring()
        padded = f"Bearer {' ' * 10_000}{made.key.text}"
        shown = parse(made.key.text)
        assert shown is not None
        for header in (made.header, padded):
            ring.known(shown, header)

        assert [True, False] == [ring.recall(each) is not None for each in (made.header, padded)]


class TestUses:
    async def test_are_noted_in_batches(
        self, bench: Bench, start_ring: StartRing, clock: Clock, database: asyncpg.Connection
    ) -> None:
        """Of all keys that were used since; by several processes, the latest counts."""
        used, unused = await bench.make(), await bench.make()
        first, second = await start_ring(), await start_ring()
        known(first, used.header)
        await first.note_uses()
        clock.pass_by(-300)
        known(second, used.header)
        clock.pass_by(300)
        await second.note_uses()
        rows = await database.fetch(
            "SELECT key_id, now() - last_use_time < interval '60 s' AS lately "
            "FROM identity.api_keys"
        )

        assert {used.key.key_id: True, unused.key.key_id: None} == dict(map(tuple, rows))

    async def test_are_noted_by_a_process_that_runs(
        self, bench: Bench, start_ring: StartRing, database: asyncpg.Connection
    ) -> None:
        """Once in a while, without anybody asking for it."""
        made = await bench.make()
        ring = await start_ring(interval=0.05, note_interval=0.1, runs=True)
        known(ring, made.header)

        assert await noted(database)

    async def test_are_noted_by_a_process_that_ends(
        self, bench: Bench, start_ring: StartRing, database: asyncpg.Connection
    ) -> None:
        """Those of its last minute."""
        made = await bench.make()
        ring = await start_ring()
        known(ring, made.header)
        await ring.close()

        assert await database.fetchval(LAST_USE)


class TestSecrets:
    async def test_are_not_in_the_database(
        self, bench: Bench, start_ring: StartRing, database: asyncpg.Connection
    ) -> None:
        """In no table of the schema, as whatever text."""
        made = await bench.make()
        known(await start_ring(), made.header)
        texts = [
            row[0]
            for table in ("api_keys", "audit_log", "key_revision")
            for row in await database.fetch(f"SELECT t::text FROM identity.{table} AS t")
        ]

        assert texts
        assert not [text for text in texts if made.key.secret in text]

    async def test_are_in_no_error(self, bench: Bench, start_ring: StartRing) -> None:
        """What is thrown, and what it comes from, shows nothing of what was sent."""
        header = unmade()
        ring = await start_ring()
        with pytest.raises(Exception, match="nobody's") as caught:
            await find(ring, header)

        assert header.removeprefix("Bearer ") not in repr(caught.value) + str(caught.value)
        assert caught.value.__cause__ is None
