"""A job exists if and only if the user's transaction committed, whatever happens on the way."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from mainstay.channel import Channel
from mainstay.errors import PreconditionError, UnavailableError
from mainstay.outbox import Outbox, OutboxRelay, Round
from mainstay.outbox.message import MAX_ATTEMPTS
from tests.conftest import StartPostgres
from tests.integration.outbox.recorder import Recorder
from tests.integration.outbox.relays import (
    PATIENCE,
    HeldChannel,
    relay_once,
    relay_process,
    relaying,
    said,
)
from tests.integration.outbox.schemas import EVENT
from tests.integration.sdk_jobs.jobs_service import serving

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def send(own: asyncpg.Connection, order: object, **options: object) -> int:
    """Call send_event with what is given."""
    named = {"name": EVENT, "data": json.dumps({"order": order}), **options}
    arguments = ", ".join(f"{name} => ${place}" for place, name in enumerate(named, 1))
    sql = f"SELECT mainstay_outbox.send_event({arguments})"
    return int(await own.fetchval(sql, *named.values()))


async def left(own: asyncpg.Connection) -> int:
    """Return how many messages the outbox has."""
    return int(await own.fetchval("SELECT count(*) FROM mainstay_outbox.messages"))


async def emptied(own: asyncpg.Connection) -> None:
    """Wait until the outbox has nothing more to send: the service is told before a row goes."""
    async with asyncio.timeout(PATIENCE):
        while await left(own):
            # The lock of a row that is on its way is gone when its fate is settled.
            await own.execute("SELECT FROM mainstay_outbox.messages FOR SHARE")


class TestCommit:
    async def test_decides(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """What committed has one job; what was rolled back, as a whole or in part, has none."""
        async with relaying(outbox, jobs_address):
            await send(own, 1)
            transaction = own.transaction()
            await transaction.start()
            await send(own, 2)
            await transaction.rollback()
            async with own.transaction():
                await send(own, 3)
                part = own.transaction()
                await part.start()
                await send(own, 4)
                await part.rollback()
            await recorder.reaches(2)
            await emptied(own)

        assert ([1, 3], 2) == (recorder.orders, await recorder.count_jobs())

    async def test_is_waited_for(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """A relay that looks while the transaction is open sees nothing."""
        async with own.transaction():
            await send(own, 1)
            before = await relay_once(outbox, jobs_address)
        after = await relay_once(outbox, jobs_address)

        assert (0, 1, 1) == (before.taken, after.accepted, await recorder.count_jobs())

    async def test_says_on_whose_behalf(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """Tenant and request id travel; an id that cannot is left behind, and fails nothing."""
        await send(own, 1, tenant="other", request_id="req-7", traceparent=TRACEPARENT)
        await send(own, 2, request_id="two words", traceparent="no trace")
        done = await relay_once(outbox, jobs_address)
        await recorder.reaches(2)

        first, second = sorted(recorder.jobs, key=lambda job: str(job.data["order"]))
        assert 2 == done.accepted
        assert ("other", "req-7") == (first.tenant, first.request_id)
        assert "acme" == second.tenant
        assert "two words" != second.request_id

    async def test_with_a_key_of_the_caller(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """One key is one event, however often it is sent, in one batch or later."""
        for _ in range(2):
            await send(own, 1, idempotency_key="order-1")
            await send(own, 1, idempotency_key="order-1")
            await relay_once(outbox, jobs_address)

        assert (0, 1) == (await left(own), await recorder.count_jobs())


class TestNews:
    async def test_wakes_a_relay_at_once(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """A relay that would look again in an hour finds every commit."""
        async with relaying(outbox, jobs_address):
            for number in range(1, 4):
                await send(own, number)
                await recorder.reaches(number)

        assert [1, 2, 3] == recorder.orders

    async def test_is_one_for_a_transaction(
        self, own: asyncpg.Connection, own_url: str, outbox: Outbox
    ) -> None:
        """However many events it sends, as PostgreSQL's lock for notifications is everybody's."""
        heard: list[str] = []
        done = asyncio.Event()
        listener = await asyncpg.connect(own_url)
        await listener.add_listener("mainstay_outbox", lambda *news: heard.append(news[3]))
        await listener.add_listener("done", lambda *_news: done.set())
        async with own.transaction():
            for number in range(50):
                await send(own, number)
        await own.execute("NOTIFY done")
        await asyncio.wait_for(done.wait(), PATIENCE)
        await listener.close()

        assert [""] == heard

    async def test_lost_is_found_by_a_poll(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """Where nothing notifies, the relay looks at its interval."""
        await own.execute("ALTER TABLE mainstay_outbox.messages DISABLE TRIGGER wake_relays")
        async with relaying(outbox, jobs_address, poll_interval=0.05):
            for number in range(1, 6):
                await send(own, number)
                await recorder.reaches(number)
                await emptied(own)

        assert [1, 2, 3, 4, 5] == recorder.orders


class TestRelayIsKilled:
    async def test_between_accept_and_delete(
        self,
        own: asyncpg.Connection,
        own_url: str,
        outbox: Outbox,
        jobs_address: str,
        recorder: Recorder,
    ) -> None:
        """The next relay sends what the first had sent, and no job is there twice."""
        for number in range(5):
            await send(own, number)
        async with relay_process(own_url, jobs_address) as process:
            await said(process, "accepted")
            process.kill()
            await process.wait()
        kept = await left(own)
        async with relaying(outbox, jobs_address):
            await recorder.reaches(5)
            await emptied(own)

        assert (5, 5, [0, 1, 2, 3, 4]) == (kept, await recorder.count_jobs(), recorder.orders)

    async def test_by_the_end_of_its_connection(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """It connects again and goes on."""
        async with relaying(outbox, jobs_address):
            await send(own, 1)
            await recorder.reaches(1)
            ended = await own.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = 'mainstay-outbox' AND datname = current_database()"
            )
            await send(own, 2)
            await recorder.reaches(2)

        assert (1, [1, 2]) == (ended, recorder.orders)


class TestTwoRelays:
    async def test_take_different_messages(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """While one has a batch on its way, the other passes it over."""
        for number in range(150):
            await send(own, number)
        async with HeldChannel(jobs_address) as held:
            first = asyncio.create_task(OutboxRelay(outbox, held).run_once())
            await asyncio.wait_for(held.reached.wait(), PATIENCE)
            second = await relay_once(outbox, jobs_address)
            third = await relay_once(outbox, jobs_address)
            held.go.set()
            batch = await asyncio.wait_for(first, PATIENCE)

        assert (100, 50, 0) == (batch.accepted, second.accepted, third.taken)
        assert (0, 150) == (await left(own), await recorder.count_jobs())

    async def test_empty_an_outbox_together(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """Nothing is lost and nothing is there twice."""
        async with relaying(outbox, jobs_address), relaying(outbox, jobs_address):
            for number in range(60):
                await send(own, number, request_id=f"req-{number % 7}")
            await recorder.reaches(60)
            await emptied(own)

        assert (60, list(range(60))) == (
            await recorder.count_jobs(),
            sorted(int(str(order)) for order in recorder.orders),
        )


class TestServiceIsAway:
    async def test_changes_nothing(
        self, own: asyncpg.Connection, outbox: Outbox, unused_tcp_port: int
    ) -> None:
        """Messages stay as they are and count no attempt."""
        await send(own, 1)
        done = await relay_once(outbox, f"127.0.0.1:{unused_tcp_port}")

        assert isinstance(done.away, UnavailableError)
        assert Round(taken=1, accepted=0, deferred=0, failed=0, away=done.away) == done
        assert (1, 0) == ((await outbox.status()).pending, (await outbox.status()).deferred)

    async def test_and_comes_back(
        self, own: asyncpg.Connection, outbox: Outbox, postgres_url: str, schemas: Path
    ) -> None:
        """What was written meanwhile arrives without anybody's help."""
        async with (
            serving(postgres_url, schemas) as address,
            Recorder.running(address, postgres_url),
        ):
            pass  # its function is known from now on
        await send(own, 1)
        while_away = await relay_once(outbox, address)
        port = int(address.rpartition(":")[2])
        async with (
            relaying(outbox, address),
            serving(postgres_url, schemas, port=port),
            Recorder.running(address, postgres_url) as recorder,
        ):
            await recorder.reaches(1)
            await emptied(own)
            known = await recorder.count_jobs()

        assert while_away.away is not None
        assert ([1], 1) == (recorder.orders, known)


class TestRefused:
    async def test_does_not_hold_up_others(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """What breaks its schema is moved aside with what was said; the others have their jobs."""
        for number in range(20):
            await send(own, "none" if number in {3, 11} else number)
        done = await relay_once(outbox, jobs_address)
        again = await relay_once(outbox, jobs_address)
        status = await outbox.status()
        troubled = await outbox.troubled()

        assert (20, 18, 2, 0) == (done.taken, done.accepted, done.failed, again.taken)
        assert (0, 2, None) == (status.pending, status.failed, status.oldest_age)
        assert {4, 12} == {message.id for message in troubled}
        assert all("data/order" in message.last_error for message in troubled)
        assert 18 == await recorder.count_jobs()

    async def test_is_tried_again_when_asked_for(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """Once it has been corrected it goes, as soon as it is asked for."""
        await send(own, "none")
        await relay_once(outbox, jobs_address)
        async with relaying(outbox, jobs_address):
            await own.execute("""UPDATE mainstay_outbox.messages SET data = '{"order": 7}'""")
            retried = await outbox.retry()
            await recorder.reaches(1)
            await emptied(own)

        assert ([1], [7], []) == (retried, recorder.orders, await outbox.retry())

    async def test_for_a_key_that_was_used(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str
    ) -> None:
        """Only the second of two different events with one key is moved aside."""
        await send(own, 1, idempotency_key="order-1")
        await send(own, 2, idempotency_key="order-1")
        done = await relay_once(outbox, jobs_address)
        (troubled,) = await outbox.troubled()

        assert (1, 1, 2) == (done.accepted, done.failed, troubled.id)
        assert troubled.last_error.startswith("IDEMPOTENCY_KEY_REUSED")

    async def test_can_be_discarded(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str
    ) -> None:
        """And nothing else can."""
        await send(own, "none")
        await relay_once(outbox, jobs_address)
        pending = await send(own, 2)
        discarded = await outbox.discard([1, pending, 99])

        assert ([1], 1) == (discarded, await left(own))


class TestNotYet:
    async def test_is_tried_again_later(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """An event whose contract is yet to be deployed waits, and others do not."""
        await send(own, 1, name="order/cancelled")
        await send(own, 2)
        done = await relay_once(outbox, jobs_address)
        (troubled,) = await outbox.troubled()

        assert (1, 1, 0) == (done.accepted, done.deferred, done.failed)
        assert (1, None) == (troubled.attempts, troubled.fail_time)
        assert troubled.last_error.startswith("EVENT_SCHEMA_NOT_FOUND")
        assert (1, 1) == ((await outbox.status()).deferred, await recorder.count_jobs())

    async def test_until_it_has_been_tried_often_enough(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str
    ) -> None:
        """Then it is moved aside, where somebody finds it."""
        await send(own, 1, name="order/cancelled")
        await own.execute("UPDATE mainstay_outbox.messages SET attempts = $1", MAX_ATTEMPTS - 1)
        done = await relay_once(outbox, jobs_address)

        assert (0, 1) == (done.deferred, done.failed)


class TestDatabaseIsAway:
    async def test_and_comes_back(
        self, start_postgres: StartPostgres, jobs_address: str, recorder: Recorder
    ) -> None:
        """The relay waits for it and goes on."""
        server = await start_postgres()
        outbox = Outbox(server.url)
        await outbox.install()
        async with relaying(outbox, jobs_address):
            async with connection_to(server.url) as own:
                await send(own, 1)
                await recorder.reaches(1)
            await server.stop()
            await server.start()
            async with connection_to(server.url) as own:
                await send(own, 2)
                await recorder.reaches(2)

        assert [1, 2] == recorder.orders

    async def test_or_has_no_outbox(self, own_url: str, jobs_address: str) -> None:
        """Which no waiting heals: the relay ends and says what to do."""
        async with Channel(jobs_address) as channel:
            with pytest.raises(PreconditionError, match="mainstay jobs outbox install"):
                await asyncio.wait_for(OutboxRelay(Outbox(own_url), channel).run(), PATIENCE)


@asynccontextmanager
async def connection_to(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect within the block."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
