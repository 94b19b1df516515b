"""Tells receivers of changes of state: HTTP POST, signed by the Standard Webhooks specification.

Each receiver has a queue and a task of its own, so that one that hangs delays no other. A change is
sent until the receiver answers with 2xx, with growing pauses, for half an hour; then it is given
up and counted. Changes reach a receiver in their order, at least once while it can be
reached: it deduplicates by `webhook-id`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import httpx
import structlog

from services.health.minutes import Held
from services.health.prober import utc_now
from services.health.recorder import states_of
from services.health.rollup import Report
from services.health.webhook_changes import Debouncer
from services.health.webhook_receiver import Patience, Receiver

log = structlog.get_logger()


class Webhooks:
    """A resource; `changed` is to be called by `Changes`.

    Without a URL it does nothing.
    """

    name = "webhooks"

    def __init__(
        self,
        urls: Sequence[str],
        keys: Sequence[bytes],
        *,
        debounce: float,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = utc_now,
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        self._debouncer = Debouncer(debounce)
        self._monotonic = monotonic
        self._wall = wall
        self._timeout = patience.timeout
        self._client: httpx.AsyncClient | None = None
        self._changed = asyncio.Event()
        self._receivers = [Receiver(url, keys, patience=patience, wall=wall) for url in urls]

    def changed(self, before: Report, after: Report) -> None:  # noqa: ARG002 - a listener
        """Take a report that reads differently from the one before."""
        if self._receivers:
            self.see(states_of(after))

    def see(self, states: Mapping[str, Held]) -> None:
        """Take the states that targets are in now."""
        self._debouncer.see(states, self._monotonic(), self._wall())
        self._changed.set()

    async def start(self) -> None:
        """Make the client; nothing is sent before `run`."""
        # It would log every URL, with what is secret in it.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            timeout=self._timeout,
            headers={"content-type": "application/json", "user-agent": "mainstay-health"},
        )

    async def close(self) -> None:
        """Close the connections; what was not delivered yet is not."""
        for receiver in self._receivers:
            receiver.give_up()
        if self._client is not None:
            await self._client.aclose()

    async def run(self) -> None:
        """Tell what there is to tell; for a background task, which must not end."""
        assert self._client is not None, "started before it runs"
        async with asyncio.TaskGroup() as tasks:
            for receiver in self._receivers:
                tasks.create_task(receiver.run(self._client), name=f"webhook {receiver.name}")
            tasks.create_task(self._tell(), name="webhooks")

    async def _tell(self) -> None:
        while True:
            self._changed.clear()
            for change in self._debouncer.due(self._monotonic(), self._wall()):
                log.info(
                    "state_change_told",
                    target=change.target,
                    state=change.now.state.value,
                    before=change.before.value,
                    webhook_id=change.webhook_id,
                )
                for receiver in self._receivers:
                    receiver.put(change)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._debouncer.wait(self._monotonic())):
                    await self._changed.wait()
