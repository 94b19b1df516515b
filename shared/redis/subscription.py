"""A connection that hears what is published, and knows when it may have missed something."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from mainstay.errors import ConfigurationError, MainstayError
from shared.redis.endpoint import Endpoint, HandedOver, abandon, establish
from shared.redis.errors import RedisReplyError
from shared.redis.link import FIRST_RECONNECT, LONGEST_RECONNECT
from shared.redis.slots import Topology
from shared.redis.wire import Wire

PING_EVERY = 1.0
LEARN_EVERY = 30
"""Pings after which the other nodes of a cluster are looked up again."""

log = structlog.get_logger()


class Subscription:
    """A resource: hears what is published on fixed channels, over a connection of its own.

    It reconnects by itself. Redis keeps nothing for a subscriber that is away, so after every break
    `on_gap` is called, as soon as messages come in again: whatever was to be learned from them may
    have been missed. A network that went silent counts as a break after `PING_EVERY` + `timeout`.
    `on_loss` is called when a break is noticed.

    The callbacks run in the event loop, between two replies, and must not block. If one raises,
    that is logged, and the subscription goes on.

    On a cluster any node will do, as all of them pass on what is published; when one dies the
    subscription moves to another.
    """

    name = "redis"

    def __init__(
        self,
        url: str,
        channels: Sequence[str],
        *,
        on_message: Callable[[bytes, bytes], None],
        on_gap: Callable[[], None],
        on_loss: Callable[[], None] = lambda: None,
        timeout: float = 0.25,
    ) -> None:
        self._seeds = tuple(seed.speaking_resp3() for seed in Endpoint.parse_all(url))
        self._known = {seed.address: seed for seed in self._seeds}
        self._candidates = list(reversed(self._seeds))
        self._channels = tuple(channels)
        self._on_message = on_message
        self._on_gap = on_gap
        self._on_loss = on_loss
        self._timeout = timeout
        self._endpoint = self._seeds[0]
        self._connection: HandedOver | None = None
        self._wire: Wire | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe; raises UnavailableError while no Redis can be reached."""
        await self._subscribe()
        self._keeper = asyncio.create_task(self._keep(), name="redis-subscription")

    async def close(self) -> None:
        """Hear no more."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._hang_up()

    @property
    def live(self) -> bool:
        """Return whether messages come in, as far as the last ping tells."""
        return self._wire is not None and not self._wire.ended.is_set()

    async def _subscribe(self) -> None:
        """Subscribe at the next candidate, or raise why not."""
        self._endpoint = endpoint = self._next_candidate()
        connection = endpoint.connection(timeout=self._timeout)
        wire = Wire(address=endpoint.address, timeout=self._timeout, on_push=self._hear)
        await establish(connection, wire, address=endpoint.address, timeout=self._timeout)
        try:
            await self._learn(wire)
            wire.send_unanswered(("SUBSCRIBE", *self._channels))
            # Confirmations come as pushes; a reply that comes after them all says they have come.
            await wire.send(("PING",))
        except RedisReplyError as error:
            await abandon(connection, wire)
            raise ConfigurationError(
                f"Redis at {endpoint.address} refused the subscription: {error}; let the user of "
                f"MAINSTAY_REDIS_URL subscribe to {', '.join(self._channels)}"
            ) from error
        except BaseException:
            await abandon(connection, wire)
            raise
        self._connection, self._wire = connection, wire

    def _next_candidate(self) -> Endpoint:
        """Take turns, so that a node that does not answer is asked last of all."""
        if not self._candidates:
            others = [node for node in self._known.values() if node != self._endpoint]
            self._candidates = [self._endpoint, *random.sample(others, len(others))]
        return self._candidates.pop()

    async def _learn(self, wire: Wire) -> None:
        """Look up where else to subscribe when this node dies."""
        try:
            reply = await wire.send(("CLUSTER", "SLOTS"))
        except RedisReplyError:
            return  # no cluster, or not for this user: then there are only the addresses given
        nodes = Topology.parse(reply, asked_host=self._endpoint.host).nodes
        learned = (self._endpoint.at(*node) for node in nodes)
        self._known = {node.address: node for node in (*self._seeds, *learned)}

    async def _keep(self) -> None:
        """Watch over the connection, and bring it back whenever it breaks."""
        wait = FIRST_RECONNECT
        while True:
            if self.live:
                wait = FIRST_RECONNECT
                await self._listen()
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311
            wait = min(wait * 2, LONGEST_RECONNECT)
            try:
                await self._subscribe()
            except MainstayError as error:
                log.warning(
                    "redis_resubscribing", address=self._endpoint.address, error=error.message
                )
            except Exception:
                # Without this task nothing would ever be heard again.
                log.exception("redis_resubscribing", address=self._endpoint.address)
            else:
                log.info("redis_resubscribed", address=self._endpoint.address)
                self._call(self._on_gap)

    async def _listen(self) -> None:
        """Ping until the connection breaks: without, a network gone silent looks like peace."""
        assert self._wire is not None, "only a live subscription is listened to"
        wire, pings = self._wire, 0
        while not wire.ended.is_set():
            try:
                # Not wait_for: it may swallow a cancellation that comes together with the end.
                async with asyncio.timeout(PING_EVERY):
                    await wire.ended.wait()
            except TimeoutError:
                pings += 1
                await self._ping(wire, learn=pings % LEARN_EVERY == 0)
        log.warning(
            "redis_subscription_lost", address=self._endpoint.address, error=str(wire.cause)
        )
        self._call(self._on_loss)
        await self._hang_up()

    async def _ping(self, wire: Wire, *, learn: bool) -> None:
        try:
            await (self._learn(wire) if learn else wire.send(("PING",)))
        except Exception as error:  # noqa: BLE001 - whatever the answer was, it was no PONG
            wire.end(error)

    async def _hang_up(self) -> None:
        if self._connection is not None and self._wire is not None:
            await abandon(self._connection, self._wire)

    def _hear(self, push: list[Any]) -> None:
        if push[0] == b"message":
            self._call(self._on_message, push[1], push[2])

    @staticmethod
    def _call(callback: Callable[..., None], *args: bytes) -> None:
        try:
            callback(*args)
        except Exception:
            # Whatever it was: one message that cannot be dealt with must not end all others.
            log.exception("redis_message_failed", callback=getattr(callback, "__qualname__", None))
