"""One receiver of webhooks: a queue, and one attempt after the other."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import httpx
import orjson
import structlog

from services.health.history_metrics import webhook_attempts, webhooks
from services.health.prober import utc_now
from services.health.webhook_changes import StateChange, payload
from services.health.webhook_signing import signed_headers

LONGEST_BACKOFF = 300.0

_GONE = 410

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often to try; times are in seconds.

    Attributes:
        timeout: For one attempt, the whole of it.
        give_up_after: From the first attempt; then the change is given up.
        first_backoff: The pause after the first attempt, doubled after each that follows.
        capacity: Changes that may wait; of more, the oldest are dropped.

    """

    timeout: float = 15.0
    give_up_after: float = 1_800.0
    first_backoff: float = 1.0
    capacity: int = 100


class Receiver:
    """One URL, of which only the host is ever written down: the rest may be secret."""

    def __init__(
        self,
        url: str,
        keys: Sequence[bytes],
        *,
        patience: Patience,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self.name = urlsplit(url).hostname or ""
        self._url = url
        self._keys = keys
        self._wall = wall
        self._patience = patience
        self._queue: deque[StateChange] = deque()
        self._filled = asyncio.Event()
        self._gone = False

    def put(self, change: StateChange) -> None:
        """Take a change to tell; the oldest that waits is dropped when there are too many."""
        if self._gone:
            self._count("dropped")
            return
        while len(self._queue) >= self._patience.capacity:
            self._queue.popleft()
            self._count("dropped")
        self._queue.append(change)
        self._filled.set()

    def give_up(self) -> None:
        """Forget what waits."""
        if self._queue:
            log.warning("webhooks_undelivered", receiver=self.name, count=len(self._queue))
            self._count("dropped", len(self._queue))
            self._queue.clear()

    async def run(self, client: httpx.AsyncClient) -> None:
        """Deliver what comes, one after the other."""
        while True:
            await self._filled.wait()
            while self._queue:
                change = self._queue.popleft()
                delivered = await self._deliver(client, change)
                self._count("delivered" if delivered else "failed")
                if not delivered:
                    log.error(
                        "webhook_given_up",
                        receiver=self.name,
                        webhook_id=change.webhook_id,
                        target=change.target,
                        state=change.now.state.value,
                    )
            self._filled.clear()

    async def _deliver(self, client: httpx.AsyncClient, change: StateChange) -> bool:
        body = orjson.dumps(payload(change))
        clock = asyncio.get_running_loop().time
        give_up = clock() + self._patience.give_up_after
        backoff = self._patience.first_backoff
        while not self._gone:
            failure, asked = await self._attempt(client, change.webhook_id, body)
            if not failure:
                return True
            pause = max(backoff * random.uniform(0.5, 1.5), asked)  # noqa: S311
            backoff = min(backoff * 2, LONGEST_BACKOFF)
            lasts = not self._gone and clock() + pause < give_up
            log.warning(
                "webhook_failed",
                receiver=self.name,
                webhook_id=change.webhook_id,
                error=failure,
                retry_in_s=round(pause, 1) if lasts else None,
            )
            if not lasts:
                return False
            await asyncio.sleep(pause)
        return False

    async def _attempt(
        self, client: httpx.AsyncClient, webhook_id: str, body: bytes
    ) -> tuple[str, float]:
        """Send once; returns what went wrong, if anything, and the pause that was asked for."""
        headers = signed_headers(self._keys, webhook_id, int(self._wall().timestamp()), body)
        try:
            # The whole of it: one that sends a byte each second would never be too slow for httpx.
            async with (
                asyncio.timeout(self._patience.timeout),
                client.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                return self._judge(response)
        except TimeoutError:
            failure = f"no answer within {self._patience.timeout:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            failure = type(error).__name__  # its text may quote the URL
        webhook_attempts.labels(self.name, "failed").inc()
        return failure, 0.0

    def _judge(self, response: httpx.Response) -> tuple[str, float]:
        if response.is_success:
            webhook_attempts.labels(self.name, "accepted").inc()
            return "", 0.0
        webhook_attempts.labels(self.name, "refused").inc()
        if response.status_code == _GONE:
            # It wants no more of them, ever; until somebody changes the setting and restarts.
            self._gone = True
            log.error("webhook_receiver_gone", receiver=self.name)
            self.give_up()
        return f"answered {response.status_code}", _retry_after(response)

    def _count(self, outcome: str, count: int = 1) -> None:
        webhooks.labels(self.name, outcome).inc(count)


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds that a receiver asks to be left alone for, within reason."""
    asked = response.headers.get("retry-after", "")
    return min(float(asked), LONGEST_BACKOFF) if asked.isascii() and asked.isdigit() else 0.0
