"""Starting without Redis: the service answers by each rule's failure mode until it is there."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import structlog

from mainstay.errors import ConfigurationError, UnavailableError
from shared.redis.client import Redis
from shared.redis.errors import RedisReplyError

FIRST_WAIT = 0.1
LONGEST_WAIT = 1.0

log = structlog.get_logger()


class RedisInBackground:
    """A resource: starts the Redis client now, or else as soon as Redis can be reached.

    `then` is done once after that, in order, such as setting a clock. What of it fails is said and
    left: each must be somebody's task to repeat.

    A setting that Redis refuses at the first attempt stops the service, as it does everywhere. Once
    the service runs it no longer does: that would turn an outage into a longer one.
    """

    name = "redis"

    def __init__(self, redis: Redis, *, then: Sequence[Callable[[], Awaitable[None]]] = ()) -> None:
        self._redis = redis
        self._then = then
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Try once; raises ConfigurationError only."""
        try:
            await self._redis.start()
        except UnavailableError as error:
            log.warning("redis_awaited", error=error.message)
            self._starting = asyncio.create_task(self._keep_trying(), name="redis-start")
        else:
            await self._do_the_rest()

    async def close(self) -> None:
        """Stop trying, or disconnect."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await self._redis.close()

    async def _keep_trying(self) -> None:
        wait = FIRST_WAIT
        while True:
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311
            wait = min(wait * 2, LONGEST_WAIT)
            try:
                await self._redis.start()
            except UnavailableError as error:
                log.debug("redis_awaited", error=error.message)
            except ConfigurationError as error:
                log.error("redis_awaited", error=error.message)  # noqa: TRY400 - says it all
            else:
                log.info("redis_reached")
                return await self._do_the_rest()

    async def _do_the_rest(self) -> None:
        for step in self._then:
            try:
                await step()
            except (UnavailableError, RedisReplyError) as error:
                log.warning("redis_start_incomplete", error=str(error))
