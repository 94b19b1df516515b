"""One job of one function, from a transaction of the user's to the real service."""

import json

import asyncpg

from mainstay.outbox import Outbox
from tests.integration.outbox.recorder import Recorder
from tests.integration.outbox.relays import relay_once, relaying
from tests.integration.outbox.schemas import FUNCTION


async def enqueue(
    own: asyncpg.Connection, order: object, *, function: str = FUNCTION, key: str | None = None
) -> None:
    """Call enqueue as an application does."""
    await own.execute(
        "SELECT mainstay_outbox.enqueue($1, $2, idempotency_key => $3, request_id => 'req-7')",
        function,
        json.dumps({"order": order}),
        key,
    )


class TestJob:
    async def test_exists_if_its_transaction_committed(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """And starts without an event, for the relay's tenant and the request that wrote it."""
        async with relaying(outbox, jobs_address):
            transaction = own.transaction()
            await transaction.start()
            await enqueue(own, 1)
            await transaction.rollback()
            await enqueue(own, 2)
            await recorder.reaches(1)

        (job,) = recorder.jobs
        assert ([2], 1) == (recorder.orders, await recorder.count_jobs())
        assert ("", "acme", "req-7") == (job.event, job.tenant, job.request_id)

    async def test_with_a_key_of_the_caller_is_one(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """In one batch or later."""
        for _ in range(2):
            await enqueue(own, 1, key="order-1")
            await enqueue(own, 1, key="order-1")
            done = await relay_once(outbox, jobs_address)
            assert 2 == done.accepted

        assert 1 == await recorder.count_jobs()

    async def test_with_a_key_that_was_used_otherwise_is_moved_aside(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """No other attempt would end differently, and others are not held up."""
        await enqueue(own, 1, key="order-1")
        await relay_once(outbox, jobs_address)
        await enqueue(own, 2, key="order-1")
        await enqueue(own, 3)
        done = await relay_once(outbox, jobs_address)
        (troubled,) = await outbox.troubled()

        assert (1, 0, 1) == (done.accepted, done.deferred, done.failed)
        assert troubled.fail_time is not None
        assert troubled.last_error.startswith("IDEMPOTENCY_KEY_REUSED: ")
        assert 2 == await recorder.count_jobs()

    async def test_of_a_function_that_is_to_be_deployed_waits_for_it(
        self, own: asyncpg.Connection, outbox: Outbox, jobs_address: str, recorder: Recorder
    ) -> None:
        """Its error says what is missing, and it is tried again."""
        await enqueue(own, 1, function="unknown")
        await enqueue(own, 2)
        done = await relay_once(outbox, jobs_address)
        (troubled,) = await outbox.troubled()

        assert (1, 1, 0) == (done.accepted, done.deferred, done.failed)
        assert ("unknown", None) == (troubled.name, troubled.fail_time)
        assert "'unknown'" in troubled.last_error
