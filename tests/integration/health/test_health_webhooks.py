"""Webhooks to real receivers: signed, retried, bounded, and quiet about their URLs."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.health.minutes import Held
from services.health.state import State
from services.health.webhook_options import parse_secrets
from services.health.webhook_receiver import Patience
from services.health.webhooks import Webhooks
from tests.integration.health.reports import Suite, all_of
from tests.integration.health.webhook_receiver_server import (
    DRIP,
    HANG,
    REDIRECT,
    ReceiverServer,
    failure,
    receiving,
    verifies,
)

SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
OLD_SECRET = f"whsec_{base64.b64encode(b'o' * 24).decode()}"
QUICK = Patience(timeout=0.5, give_up_after=10.0, first_backoff=0.01, capacity=3)
DEBOUNCE = 0.05
UP, DOWN = Held(State.HEALTHY), Held(State.UNHEALTHY, "Did not answer.", "r-1", ("cache",))


@asynccontextmanager
async def telling(
    *receivers: ReceiverServer, patience: Patience = QUICK, secret: str = SECRET
) -> AsyncIterator[Webhooks]:
    """Run webhooks to receivers."""
    webhooks = Webhooks(
        [receiver.url for receiver in receivers],
        parse_secrets(secret),
        debounce=DEBOUNCE,
        patience=patience,
    )
    await webhooks.start()
    task = asyncio.create_task(webhooks.run())
    try:
        yield webhooks
    finally:
        task.cancel()
        await asyncio.wait([task])
        await webhooks.close()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def count(outcome: str, metric: str = "mainstay_health_webhooks_total") -> float:
    labels = {"receiver": "127.0.0.1", "outcome": outcome}
    return REGISTRY.get_sample_value(metric, labels) or 0.0


class TestDelivery:
    async def test_is_signed_by_the_specification(self, stack: AsyncExitStack) -> None:
        """A receiver that knows nothing but the secret and the specification believes it."""
        receiver = await stack.enter_async_context(receiving())
        webhooks = await stack.enter_async_context(telling(receiver))
        began = time.time()
        webhooks.see({"cache": DOWN})
        (received,) = await receiver.wait_for(1)

        assert ("POST", "application/json") == (received.method, received.headers["content-type"])
        assert verifies(received, SECRET)
        assert not verifies(received, OLD_SECRET)
        assert abs(int(received.headers["webhook-timestamp"]) - began) < 5
        assert "health.state.changed" == json.loads(received.body)["type"]
        assert ("cache", "unhealthy", ["cache"], "Did not answer.", "r-1") == tuple(
            received.data[name] for name in ("target", "state", "because", "message", "request_id")
        )

    async def test_is_signed_with_both_secrets_while_they_change(
        self, stack: AsyncExitStack
    ) -> None:
        """Receivers may know either."""
        receiver = await stack.enter_async_context(receiving())
        both = f"{SECRET},{OLD_SECRET}"
        webhooks = await stack.enter_async_context(telling(receiver, secret=both))
        webhooks.see({"cache": DOWN})
        (received,) = await receiver.wait_for(1)

        assert verifies(received, SECRET)
        assert verifies(received, OLD_SECRET)

    async def test_follows_what_the_suite_reports(self, stack: AsyncExitStack) -> None:
        """From an observation to the receiver: the target, those that need it, the whole."""
        receiver = await stack.enter_async_context(receiving())
        webhooks = await stack.enter_async_context(telling(receiver))
        suite = Suite()
        suite.changes.listen(webhooks.changed)
        suite.probe(**all_of(State.HEALTHY))
        await asyncio.sleep(2 * DEBOUNCE)  # a state that is told has to last
        suite.probe(database=State.UNHEALTHY)
        received = await receiver.wait_for(3)

        assert {
            "database": ("unhealthy", "healthy", ["database"]),
            "redis": ("degraded", "healthy", ["database"]),
            "suite": ("degraded", "healthy", ["database"]),
        } == {
            each.data["target"]: (each.data["state"], each.data["before"], each.data["because"])
            for each in received
        }
        assert {"r-database"} == {each.data["request_id"] for each in received}


class TestFailures:
    async def test_are_tried_again_with_the_same_id(self, stack: AsyncExitStack) -> None:
        """Each attempt is signed anew; a redirect is a failure and is not followed."""
        answers = (failure(500), REDIRECT, HANG, DRIP, failure(429))
        receiver = await stack.enter_async_context(receiving(*answers))
        webhooks = await stack.enter_async_context(telling(receiver))
        before = count("delivered")
        webhooks.see({"cache": DOWN})
        received = await receiver.wait_for(6)

        assert 1 == len({each.webhook_id for each in received})
        assert all(verifies(each, SECRET) for each in received)
        assert {"/hidden-path?token=hidden-token"} == {each.path for each in received}
        await _until(lambda: count("delivered") == before + 1)

    async def test_of_one_receiver_delay_no_other(self, stack: AsyncExitStack) -> None:
        """Each has a queue of its own."""
        stuck = await stack.enter_async_context(receiving(*[HANG] * 20))
        fine = await stack.enter_async_context(receiving())
        webhooks = await stack.enter_async_context(telling(stuck, fine))
        webhooks.see({"cache": DOWN})
        await stuck.wait_for(1)
        webhooks.see({"cache": DOWN, "jobs": DOWN})
        received = await fine.wait_for(2)

        assert ["cache", "jobs"] == [each.data["target"] for each in received]

    async def test_that_do_not_end_are_given_up(self, stack: AsyncExitStack) -> None:
        """After a while, and what comes next has its turn."""
        receiver = await stack.enter_async_context(receiving(*[failure()] * 3))
        hasty = Patience(timeout=1, give_up_after=0.0, first_backoff=0.01)
        webhooks = await stack.enter_async_context(telling(receiver, patience=hasty))
        before = count("failed")
        webhooks.see({"cache": DOWN})
        await receiver.wait_for(1)
        webhooks.see({"cache": DOWN, "jobs": DOWN})
        received = await receiver.wait_for(2)

        assert ["cache", "jobs"] == [each.data["target"] for each in received]
        await _until(lambda: count("failed") == before + 2)

    async def test_are_told_to_wait_as_long_as_they_ask(self, stack: AsyncExitStack) -> None:
        """Retry-After, in seconds."""
        receiver = await stack.enter_async_context(receiving(failure(503, "Retry-After: 1")))
        webhooks = await stack.enter_async_context(telling(receiver))
        webhooks.see({"cache": DOWN})
        await receiver.wait_for(1)
        first = time.monotonic()
        await receiver.wait_for(2)

        assert time.monotonic() - first >= 0.9

    async def test_of_a_receiver_that_is_gone_are_the_last(self, stack: AsyncExitStack) -> None:
        """410 says that it wants no more."""
        receiver = await stack.enter_async_context(receiving(failure(410)))
        webhooks = await stack.enter_async_context(telling(receiver))
        dropped, failed = count("dropped"), count("failed")
        webhooks.see({"cache": DOWN})
        await _until(lambda: count("failed") == failed + 1)
        webhooks.see({"cache": DOWN, "jobs": DOWN})
        await _until(lambda: count("dropped") == dropped + 1)

        assert 1 == len(receiver.received)

    async def test_fill_a_queue_that_drops_the_oldest(self, stack: AsyncExitStack) -> None:
        """Memory is bounded, however long a receiver is away."""
        receiver = await stack.enter_async_context(receiving(HANG))
        patience = Patience(timeout=2, give_up_after=0.0, first_backoff=0.01, capacity=3)
        webhooks = await stack.enter_async_context(telling(receiver, patience=patience))
        before = count("dropped")
        webhooks.see({"first": DOWN})
        await receiver.wait_for(1)
        webhooks.see({"first": DOWN} | {f"t{number}": DOWN for number in range(5)})
        received = await receiver.wait_for(4)

        assert ["first", "t2", "t3", "t4"] == [each.data["target"] for each in received]
        assert 2 == count("dropped") - before


class TestSecrets:
    async def test_of_urls_are_written_nowhere(
        self, stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither by this code nor by the client's; also when nobody listens there."""
        caplog.set_level(logging.DEBUG)
        receiver = await stack.enter_async_context(receiving(failure(), REDIRECT))
        nobody = ReceiverServer([], port=1)
        with capture_logs() as lines:
            webhooks = await stack.enter_async_context(telling(receiver, nobody))
            failed = count("failed", "mainstay_health_webhook_attempts_total")
            webhooks.see({"cache": DOWN})
            await receiver.wait_for(3)
            await _until(lambda: count("failed", "mainstay_health_webhook_attempts_total") > failed)
        written = json.dumps(lines, default=str) + caplog.text

        assert "webhook_failed" in written
        assert "hidden" not in written


class TestNobodyToTell:
    async def test_costs_nothing(self, stack: AsyncExitStack) -> None:
        """Without a URL there is neither a queue nor a task for one."""
        webhooks = await stack.enter_async_context(telling(secret=""))
        suite = Suite()
        suite.changes.listen(webhooks.changed)
        suite.probe(**all_of(State.UNHEALTHY))

        assert {} == webhooks._debouncer._watched


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for a metric, which gives no signal."""
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
